/**
 * `covey cluster recover`: the majority of the managers is lost for good, and this one goes on alone with everything that it
 * knows of the cluster.
 *
 *     survivor (member 7 of a dead group)
 *       parts of the node end; containers run on
 *       raft/<new id>/   the whole log of member 7, as the beginning of a group of one
 *       node.json        names the new id          ◄── from here on the new group counts, before it the old one
 *       parts are opened again; containers are adopted; it leads, in a term far above
 *
 * Keeps true: any line may be the last one: the folder that node.json does not name is removed at the next start; nothing is
 * touched while a majority answers, unless forced; the node runs again whatever fails.
 *
 * Called by the Local service. Not here: the new log (raft/bootstrap.ts), who answers (group/survey.ts), how members of the old
 * group that come back learn of it (peers/serve.ts, node.ts).
 */
import { CoveyError } from '../../errors.js';
import type { PlanRecoveryResponse, RecoverProgress } from '../../gen/types.js';
import type { NodeId } from '../../ids.js';
import { newPeerId } from '../../raft/membership.js';
import { openRebuild, type View, type Write } from '../../raft/store.js';
import { noteNewGroup } from '../group/history.js';
import { removeOtherMembers, storageOf } from '../group/storage.js';
import type { GroupSurvey } from '../group/survey.js';
import { saveMembership } from './files.js';
import type { Member, MembershipOptions } from './types.js';

export interface RecoverOptions extends MembershipOptions {
  /** The program of the storage thread. */
  readonly workerFile: URL;
}

/** The node as it runs now, a manager. */
export interface Survivor {
  readonly member: Member;
  readonly survey: () => Promise<GroupSurvey>;
  readonly view: () => View;
}

/** The node as it runs afterwards. */
export interface RecoveredNode {
  readonly isLeader: () => boolean;
  readonly view: () => View;
  /** Has a session with this manager. */
  readonly hasSession: (nodeId: NodeId) => boolean;
}

export interface RecoverParts {
  readonly survivor: Survivor;
  /** Ends the node's parts; containers run on. */
  readonly stop: () => Promise<void>;
  readonly start: (member: Member) => Promise<RecoveredNode>;
  readonly onProgress: (progress: RecoverProgress) => void;
}

const lookMs = 100;
/** Nodes dial again within 2 s of losing their manager; those that were away for long come when they come. */
const gatherMs = 8_000;
const leadMs = 30_000;

export async function planRecovery(survivor: Survivor): Promise<PlanRecoveryResponse> {
  const { managers, alive, lastIndex, uncommitted } = await survivor.survey();
  const view = survivor.view();
  const { clusterId, nodeName } = survivor.member.membership;
  return {
    clusterId,
    nodeName,
    managers,
    alive,
    lastIndex,
    uncommitted,
    changedAtMs: lastChangeMs(view),
    counts: {
      nodes: view.count('node'),
      services: view.count('service'),
      tasks: view.count('task'),
      networks: view.count('network'),
    },
  };
}

export async function recoverCluster(
  options: RecoverOptions,
  { survivor, stop, start, onProgress }: RecoverParts,
  { force, signal }: { readonly force: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const say = (step: RecoverProgress['step'], over: Partial<RecoverProgress> = {}): void =>
    onProgress({ step, nodesBack: 0, nodes: 0, missing: [], formerManagers: [], ...over });
  say('looking');
  const { alive, managers } = await survivor.survey();
  if (alive !== '' && !force) throw stillAlive(alive);
  signal.throwIfAborted();
  const formerManagers = managers.filter(({ own }) => !own).map(({ name }) => name);
  say('stopping');
  await stop();
  let member = survivor.member;
  let node: RecoveredNode;
  try {
    say('writing');
    member = await makeNewGroup(options, member);
  } finally {
    // As what the disk says: the old member when anything went wrong, and whether or not somebody still waits.
    say('starting');
    node = await start(member);
  }
  await untilLeading(options, node, signal);
  say('leading');
  const others = [...node.view().list('node')].filter(({ spec }) => !formerManagers.includes(spec.name));
  const missing = (): readonly string[] => others.filter(({ id }) => !node.hasSession(id)).map(({ spec }) => spec.name);
  const endMs = options.host.clock.monotonicMs() + gatherMs;
  let told = -1;
  while (missing().length > 0 && options.host.clock.monotonicMs() < endMs) {
    const nodesBack = others.length - missing().length;
    if (nodesBack !== told) say('gathering', { nodesBack, nodes: others.length });
    told = nodesBack;
    await options.host.clock.sleep(lookMs, signal);
  }
  const away = missing();
  say('done', { nodesBack: others.length - away.length, nodes: others.length, missing: away, formerManagers });
}

/** The log of the new group, then node.json. What it returns is on disk. */
async function makeNewGroup(options: RecoverOptions, { membership, identity }: Member): Promise<Member> {
  const { host, dataDir, wire, workerFile, log } = options;
  const { clusterId, nodeId } = membership;
  // What an earlier attempt left behind.
  await removeOtherMembers(host.files, { dataDir, raftId: membership.raftId });
  const from = storageOf({ dataDir, clusterId, raftId: membership.raftId });
  const rebuild = openRebuild(wire);
  const raftId = newPeerId(host.random.bytes, id => id === membership.raftId);
  const { recoverGroup } = await import('../../raft/bootstrap.js');
  const recovered = await recoverGroup({
    from,
    to: storageOf({ dataDir, clusterId, raftId }),
    workerFile,
    machine: rebuild.machine,
    lastEntry: () => rebuild.entryOf(planSoleManager(rebuild.view(), { nodeId, raftId }), host.clock.wallMs()),
  });
  rebuild.checkApplied();
  const next = { ...membership, raftId };
  await host.files.syncDirectory(`${dataDir}/raft`);
  await saveMembership({ files: host.files, dataDir }, next);
  log.warn('the group of managers was made anew from what this one had', { ...recovered });
  return { identity, membership: next };
}

/** Who manages from now on: this node alone. The others are workers as soon as they come back. */
export function planSoleManager(
  view: View,
  sole: { readonly nodeId: string; readonly raftId: number },
): readonly Write[] {
  const managers = [...view.list('node')].filter(node => node.role === 'manager' || node.id === sole.nodeId);
  return [
    noteNewGroup(
      view,
      managers.map(({ raftId }) => raftId).filter(raftId => raftId !== 0),
    ),
    ...managers.map((node): Write => {
      const isSole = node.id === sole.nodeId;
      const role = isSole ? ('manager' as const) : ('worker' as const);
      const object = { ...node, role, raftId: isSole ? sole.raftId : 0, demoting: false };
      return { kind: 'put', table: 'node', object };
    }),
  ];
}

function stillAlive(alive: string): CoveyError {
  return new CoveyError('quorum-alive', 'Cannot make the group of managers anew', {
    state: alive,
    hint: 'covey node rm --force takes single managers out; covey cluster recover --force does it all the same',
  });
}

/** When the newest object was changed. */
function lastChangeMs(view: View): number {
  let latest = 0;
  for (const table of ['cluster', 'node', 'service', 'task', 'network'] as const)
    for (const { meta } of view.list(table)) latest = Math.max(latest, meta.updatedAtMs);
  return latest;
}

async function untilLeading({ host }: RecoverOptions, node: RecoveredNode, signal: AbortSignal): Promise<void> {
  const endMs = host.clock.monotonicMs() + leadMs;
  while (!node.isLeader()) {
    if (host.clock.monotonicMs() > endMs) {
      throw new CoveyError('timeout', 'Cannot wait longer for the new group to choose its only member', {
        state: `${leadMs / 1000} s are over; the new group is on disk and counts`,
        hint: 'covey info; the log of the daemon',
      });
    }
    await host.clock.sleep(lookMs, signal);
  }
}
