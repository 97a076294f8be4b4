/**
 * The part of the Local service about groups of managers that are made anew: recovery by a survivor, backup and restore.
 *
 * Called by local.ts. Not here: what is done (membership/recover.ts, restore.ts), who answers (group/survey.ts).
 */
import { openChannel } from '../channel.js';
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { RecoverProgress, RestorePiece, RestoreStart } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { NodeId } from '../ids.js';
import type { Lifetime } from '../lifetime.js';
import type { ClusterParts } from './cluster-parts.js';
import { lockedError } from './keys/index.js';
import type { MemberNode } from './member-node.js';
import {
  backupBytesMax,
  type LeaveParts,
  type Member,
  type MembershipFlows,
  planRecovery,
  type RecoveredNode,
  type RestoreParts,
  type Survivor,
} from './membership/index.js';
import type { Runner } from './runner.js';

export type RecoveryCalls = Pick<
  Handlers<Services['Local']>,
  'planRecovery' | 'recoverCluster' | 'backupCluster' | 'restoreCluster'
>;

const progressMax = 64;

export interface RecoveryParts {
  readonly runner: Runner;
  readonly membership: Pick<MembershipFlows, 'recover' | 'restore'>;
  /** Ends the node's parts and undoes what they changed on the host. */
  readonly dismantle: () => Promise<readonly string[]>;
  /** Of the daemon: what was begun is ended, whether or not somebody still waits for it. */
  readonly lifetime: Lifetime;
}

export function recoveryHandlers(parts: RecoveryParts): RecoveryCalls {
  const { runner, membership } = parts;
  const begin = async (member: Member): Promise<RecoveredNode> => recoveredOf(await runner.restart(member));
  return {
    planRecovery: async () => planRecovery(survivorOf(runner.find())),
    recoverCluster: async function* ({ force }, { signal }) {
      const survivor = survivorOf(runner.find());
      yield* progressOf(parts, onProgress =>
        membership.recover({ survivor, stop: runner.stop, start: begin, onProgress }, { force, signal }),
      );
    },
    backupCluster: async function* (request) {
      const { head, pieces } = await clusterOf(runner.find(), 'Cannot make a backup here').backup(request);
      yield { body: { kind: 'head', ...head } };
      for (const data of pieces) yield { body: { kind: 'content', data } };
    },
    restoreCluster: async function* (requests, { signal }) {
      const received = await receive(requests);
      const findLeaving = (): LeaveParts | undefined => leavingOf(runner.find(), parts.dismantle);
      yield* progressOf(parts, onProgress =>
        membership.restore({ ...received, stop: runner.stop, begin, findLeaving, onProgress }, signal),
      );
    },
  };
}

/** Goes on in the daemon when the caller has gone. */
async function* progressOf(
  { lifetime }: Pick<RecoveryParts, 'lifetime'>,
  work: (onProgress: (progress: RecoverProgress) => void) => Promise<void>,
): AsyncGenerator<RecoverProgress> {
  const progress = openChannel<RecoverProgress>(progressMax);
  lifetime.run('make a group anew', async () => {
    try {
      await work(step => void progress.push(step));
      progress.close();
    } catch (error) {
      progress.fail(error);
    }
  });
  yield* progress;
}

/** All of a backup, in memory: nothing is changed before its end has come. */
async function receive(
  requests: AsyncIterable<RestorePiece>,
): Promise<Pick<RestoreParts, 'start' | 'content' | 'end'>> {
  const pieces: Uint8Array[] = [];
  let start: RestoreStart | undefined;
  let sizeBytes = 0;
  for await (const { body } of requests) {
    if (body.kind === 'start') {
      start = body;
    } else if (body.kind === 'content') {
      pieces.push(body.data);
      sizeBytes += body.data.length;
      if (sizeBytes > backupBytesMax) {
        throw new CoveyError('too-large', 'Cannot take this backup', {
          state: `it has more than ${backupBytesMax} bytes`,
        });
      }
    } else if (start !== undefined) {
      return { start, content: Buffer.concat(pieces), end: body };
    } else {
      break;
    }
  }
  throw new CoveyError('backup-damaged', 'Cannot use this backup: it ends before its end', {
    state: `${sizeBytes} bytes have come`,
  });
}

/** What leaving needs of the node that runs. */
export function leavingOf(
  node: MemberNode | undefined,
  dismantle: () => Promise<readonly string[]>,
): LeaveParts | undefined {
  if (node === undefined) return undefined;
  const { otherManagers, handOver, stopTasks } = node;
  return { identity: node.identity(), otherManagers, handOver, stopTasks, stop: dismantle };
}

function survivorOf(node: MemberNode | undefined): Survivor {
  const { survey, store } = clusterOf(node, 'Cannot recover the group of managers here');
  if (node === undefined) throw new CoveyError('bug', 'Cannot recover a node that does not run');
  return { member: { membership: node.membership, identity: node.identity() }, survey, view: store.view };
}

function clusterOf(node: MemberNode | undefined, what: string): ClusterParts {
  if (node === undefined) throw new CoveyError('not-in-cluster', `${what}: this daemon is not a node of any cluster`);
  if (node.cluster !== undefined) return node.cluster;
  if (node.lock !== undefined) throw lockedError(node.lock, `${what}: this manager is locked`);
  throw new CoveyError('not-manager', `${what}: this node is no manager`, { hint: 'run the command on a manager' });
}

function recoveredOf({ cluster, isLeader }: MemberNode): RecoveredNode {
  if (cluster === undefined) throw new CoveyError('bug', 'Cannot go on: a recovered manager runs no member');
  return {
    isLeader,
    view: cluster.store.view,
    hasSession: (nodeId: NodeId) => cluster.findDispatcher()?.isConnected(nodeId) === true,
  };
}
