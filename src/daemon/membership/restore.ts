/**
 * `covey cluster restore`: this machine becomes the only manager of the cluster that a backup holds, in the place of one of the
 * managers of then: nodes that remember that one's address and id find it without being told.
 *
 * Keeps true: all of the backup is here and right before anything changes; the key of the root is in the store before node.json
 * says that this node is a member; a restore that was cut short leaves a mark, and the next one starts over.
 *
 * Called by the Local service. Not here: the file (cli/backup-file.ts), taking it (group/backup.ts), what comes after
 * (new-group.ts).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { Node, NodeDescription, RecoverProgress, RestoreEnd, RestoreStart } from '../../gen/types.js';
import { newPeerId } from '../../raft/membership.js';
import { openRebuild, type View, type Write } from '../../raft/store.js';
import { schemaVersion, version } from '../../version.js';
import { roleUnits, tlsNameOf } from '../ca/identity.js';
import { getCluster } from '../ca/issue.js';
import { identityOf, toPem } from '../ca/pem.js';
import { removeOtherMembers, storageOf } from '../group/storage.js';
import { markInit, removeMembership, saveIdentity, saveMembership } from './files.js';
import { clearUnfinished } from './init.js';
import { planSoleManager, type RecoveredNode, type Say, sayer, untilGathered } from './new-group.js';
import type { RecoverOptions } from './recover.js';
import type { Establish, Member } from './types.js';

export type RestoreOptions = RecoverOptions & Pick<Establish, 'describe'>;

export interface RestoreParts {
  readonly start: RestoreStart;
  readonly content: Uint8Array;
  readonly end: RestoreEnd;
  /** What this machine is now. */
  readonly present: Member | undefined;
  /** Gives that up, containers and all. */
  readonly leave: (signal: AbortSignal) => Promise<void>;
  /** Ends its parts; containers run on. */
  readonly stop: () => Promise<void>;
  readonly begin: (member: Member) => Promise<RecoveredNode>;
  readonly onProgress: (progress: RecoverProgress) => void;
}

/** Bytes of a backup that are taken; a thousand times a busy cluster. */
export const backupBytesMax = 1 << 30;

interface Restoring extends RestoreParts {
  readonly options: RestoreOptions;
  readonly say: Say;
  readonly signal: AbortSignal;
}

type Rebuild = ReturnType<typeof openRebuild>;

export async function restoreCluster(options: RestoreOptions, parts: RestoreParts, signal: AbortSignal): Promise<void> {
  const restoring: Restoring = { ...parts, options, say: sayer(parts.onProgress), signal };
  const { say, start, present } = restoring;
  say('looking');
  checkContent(parts);
  const rebuild = openRebuild(options.wire);
  rebuild.machine.restore(parts.content);
  const cluster = getCluster(rebuild.view());
  if (cluster.id !== start.head.clusterId) throw damaged('its head and its content name two clusters');
  if (present !== undefined && !start.force) throw alreadyNode(present);
  const formerManagers = [...rebuild.view().list('node')].filter(({ role }) => role === 'manager');
  const isSame = present?.membership.clusterId === cluster.id;
  if (present !== undefined && !isSame) {
    say('stopping');
    await restoring.leave(signal);
  }
  const { node, nodeName } = isSame ? await overOwn(restoring, rebuild, present) : await onFresh(restoring, rebuild);
  const former = formerManagers.map(({ spec }) => spec.name).filter(name => name !== nodeName);
  await untilGathered({ clock: options.host.clock, say, signal }, node, former);
}

interface Restored {
  readonly node: RecoveredNode;
  readonly nodeName: string;
}

/** A machine without a cluster takes the place of a manager of then, under a new key. */
async function onFresh({ options, start, say, begin }: Restoring, rebuild: Rebuild): Promise<Restored> {
  const { host, dataDir } = options;
  const place = { files: host.files, dataDir, keys: options.keys };
  const { advertiseAddress, dataPathAddress } = start;
  const description = await options.describe({ advertiseAddress, dataPathAddress });
  const old = chooseNode(rebuild.view(), { asNode: start.asNode, description, madeBy: start.head.nodeId });
  await clearUnfinished(place);
  await markInit(place);
  try {
    say('writing');
    const { identity, validUntilMs } = await makeIdentity(options, rebuild.view(), old);
    await saveIdentity(place, identity);
    const raftId = await writeGroup(options, rebuild, {
      term: start.head.term,
      node: { ...old, description, certificateExpiresAtMs: validUntilMs },
    });
    const membership = {
      clusterId: identity.clusterId,
      nodeId: old.id,
      nodeName: old.spec.name,
      role: 'manager' as const,
      raftId,
      advertiseAddress,
      dataPathAddress,
      labels: old.spec.labels,
      joinedAtMs: host.clock.wallMs(),
    };
    await saveMembership(place, membership);
    say('starting');
    return { node: await begin({ identity, membership }), nodeName: old.spec.name };
  } catch (error) {
    await removeMembership(place);
    throw error;
  }
}

/** A node of the very cluster goes back to what it was then; its identity stays. */
async function overOwn(
  { options, start, say, stop, begin }: Restoring,
  rebuild: Rebuild,
  present: Member,
): Promise<Restored> {
  const { host, dataDir } = options;
  const { membership, identity } = present;
  const node = rebuild.view().find('node', membership.nodeId);
  if (node === undefined) {
    throw new CoveyError('not-found', `Cannot restore the cluster on "${membership.nodeName}"`, {
      state: 'this node came to the cluster after the backup was made',
      hint: 'restore on a node that is in it, or covey leave --force first',
    });
  }
  if (identity.role !== 'manager') {
    throw new CoveyError('not-manager', `Cannot restore the cluster on "${membership.nodeName}": it is a worker`, {
      hint: 'restore on a manager, or covey leave --force first',
    });
  }
  say('stopping');
  await stop();
  let member = present;
  try {
    say('writing');
    await removeOtherMembers(host.files, { dataDir, raftId: membership.raftId });
    const raftId = await writeGroup(options, rebuild, { term: start.head.term, node });
    member = { identity, membership: { ...membership, raftId } };
    await saveMembership({ files: host.files, dataDir }, member.membership);
  } catch (error) {
    await begin({ identity, membership });
    throw error;
  }
  say('starting');
  return { node: await begin(member), nodeName: membership.nodeName };
}

/** The log of a group of one that begins with what the backup holds; the id of its member. */
async function writeGroup(
  { host, dataDir, workerFile, keys }: RestoreOptions,
  { machine, view, entryOf, checkApplied }: Rebuild,
  { term, node }: { readonly term: number; readonly node: Node },
): Promise<number> {
  const { bootstrapGroup } = await import('../../raft/bootstrap.js');
  const raftId = newPeerId(host.random.bytes, id => [...view().list('node')].some(one => one.raftId === id));
  const index = view().version + 1;
  const nowMs = host.clock.wallMs();
  machine.apply(index, entryOf(planRestored(view(), { ...node, raftId }), nowMs));
  checkApplied();
  const clusterId = getCluster(view()).id;
  await host.files.makeDirectory(`${dataDir}/raft`, { mode: 0o700 });
  await bootstrapGroup(storageOf({ dataDir, clusterId, raftId, keyring: await keys.mint() }), workerFile, {
    index,
    term: planTerm(term, nowMs),
    confState: { voters: [raftId], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
    content: machine.snapshot(),
  });
  await host.files.syncDirectory(`${dataDir}/raft`);
  return raftId;
}

function planRestored(view: View, node: Node): readonly Write[] {
  const [history, ...nodes] = planSoleManager(view, { nodeId: node.id, raftId: node.raftId });
  const others = nodes.filter(write => write.kind === 'put' && write.object.id !== node.id);
  const own: Write = { kind: 'put', table: 'node', object: { ...node, role: 'manager', demoting: false } };
  return [...(history === undefined ? [] : [history]), own, ...others];
}

/**
 * A term that no node has obeyed yet. After the backup was made others may have led, and it may be restored more than once: so it
 * follows the clock, with room for 65,536 elections a second. It stays below 2^53 for more than a thousand years.
 */
export function planTerm(term: number, nowMs: number): number {
  return Math.max(term + 2 ** 20, Math.floor(nowMs / 1_000) * 2 ** 16);
}

/** The manager of then whose place this machine takes. */
export function chooseNode(
  view: View,
  wanted: { readonly asNode: string; readonly description: NodeDescription; readonly madeBy: string },
): Node {
  const nodes = [...view.list('node')];
  const managers = nodes.filter(({ role }) => role === 'manager');
  const { asNode, description, madeBy } = wanted;
  if (asNode !== '') {
    const named = nodes.find(({ id, spec }) => spec.name === asNode || id === asNode);
    if (named !== undefined) return named;
    throw new CoveyError('not-found', `Cannot take the place of node "${asNode}"`, {
      state: `the backup has no such node; its managers are ${managers.map(({ spec }) => spec.name).join(', ')}`,
    });
  }
  const found =
    managers.find(node => node.description.addresses.some(address => description.addresses.includes(address))) ??
    managers.find(({ spec }) => spec.name === description.hostname) ??
    managers.find(({ id }) => id === madeBy) ??
    managers[0];
  if (found === undefined) throw damaged('it holds no manager');
  return found;
}

async function makeIdentity(options: RestoreOptions, view: View, node: Node) {
  const { issueCertificate, makeRequest } = await import('../ca/x509.js');
  const cluster = getCluster(view);
  const nowMs = options.host.clock.wallMs();
  const validUntilMs = nowMs + cluster.spec.certificateDays * 86_400_000;
  const { request, key } = await makeRequest();
  const certificate = await issueCertificate({
    root: { certificate: cluster.rootCertificate, key: cluster.rootKey },
    request,
    nodeId: node.id,
    clusterId: cluster.id,
    unit: roleUnits.manager,
    dnsName: tlsNameOf(node.id),
    nowMs,
    validUntilMs,
    randomBytes: options.host.random.bytes,
  });
  const identity = identityOf({
    certificate: toPem(certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(cluster.rootCertificate, 'CERTIFICATE'),
  });
  return { identity, validUntilMs };
}

function checkContent({ start: { head }, content, end }: RestoreParts): void {
  if (head.schemaVersion > schemaVersion) {
    throw new CoveyError('newer-schema', 'Cannot restore this backup: a newer covey made it', {
      state: `covey ${head.version} with store version ${head.schemaVersion}; this is covey ${version} with store version ${schemaVersion}`,
      hint: 'update this node',
    });
  }
  if (content.length !== end.totalBytes) throw damaged(`${content.length} of ${end.totalBytes} bytes have come`);
  if (!createHash('sha256').update(content).digest().equals(end.digest)) throw damaged('its checksum differs');
}

function damaged(state: string): CoveyError {
  return new CoveyError('backup-damaged', 'Cannot use this backup', {
    state,
    hint: 'nothing was changed; use another',
  });
}

function alreadyNode({ membership }: Member): CoveyError {
  return new CoveyError('already-in-cluster', 'Cannot restore a cluster here', {
    state: `this daemon is node "${membership.nodeName}" of cluster ${membership.clusterId}`,
    hint: 'covey leave first; or covey cluster restore --force',
  });
}
