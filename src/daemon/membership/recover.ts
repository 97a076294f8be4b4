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
import { newPeerId } from '../../raft/membership.js';
import { openRebuild, type View } from '../../raft/store.js';
import { countObjects } from '../group/backup.js';
import { removeOtherMembers, storageOf } from '../group/storage.js';
import type { GroupSurvey } from '../group/survey.js';
import { saveMembership } from './files.js';
import { planSoleManager, type RecoveredNode, sayer, untilGathered } from './new-group.js';
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

export interface RecoverParts {
  readonly survivor: Survivor;
  /** Ends the node's parts; containers run on. */
  readonly stop: () => Promise<void>;
  readonly start: (member: Member) => Promise<RecoveredNode>;
  readonly onProgress: (progress: RecoverProgress) => void;
}

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
    counts: countObjects(view),
  };
}

export async function recoverCluster(
  options: RecoverOptions,
  { survivor, stop, start, onProgress }: RecoverParts,
  { force, signal }: { readonly force: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const say = sayer(onProgress);
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
  await untilGathered({ clock: options.host.clock, say, signal }, node, formerManagers);
}

/** The log of the new group, then node.json. What it returns is on disk. */
async function makeNewGroup(options: RecoverOptions, { membership, identity }: Member): Promise<Member> {
  const { host, dataDir, wire, workerFile, log, keys } = options;
  const { clusterId, nodeId } = membership;
  // What an earlier attempt left behind.
  await removeOtherMembers(host.files, { dataDir, raftId: membership.raftId });
  const from = storageOf({ dataDir, clusterId, raftId: membership.raftId, keyring: await keys.mint() });
  const rebuild = openRebuild(wire);
  const raftId = newPeerId(host.random.bytes, id => id === membership.raftId);
  const { recoverGroup } = await import('../../raft/bootstrap.js');
  const recovered = await recoverGroup({
    from,
    to: storageOf({ dataDir, clusterId, raftId, keyring: await keys.mint() }),
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
