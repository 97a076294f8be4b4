/**
 * The part of the Local service about a group of managers that has lost its majority.
 *
 * Called by local.ts. Not here: what is done (membership/recover.ts), who answers (group/survey.ts).
 */
import { openChannel } from '../channel.js';
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { RecoverProgress } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { NodeId } from '../ids.js';
import type { Lifetime } from '../lifetime.js';
import type { MemberNode } from './member-node.js';
import { type MembershipFlows, planRecovery, type RecoveredNode, type Survivor } from './membership/index.js';
import type { Runner } from './runner.js';

export type RecoveryCalls = Pick<Handlers<Services['Local']>, 'planRecovery' | 'recoverCluster'>;

const progressMax = 64;

export function recoveryHandlers(parts: {
  readonly runner: Runner;
  readonly membership: Pick<MembershipFlows, 'recover'>;
  /** Of the daemon: what was begun is ended, whether or not somebody still waits for it. */
  readonly lifetime: Lifetime;
}): RecoveryCalls {
  const { runner, membership, lifetime } = parts;
  return {
    planRecovery: async () => planRecovery(survivorOf(runner.find())),
    recoverCluster: async function* ({ force }, { signal }) {
      const survivor = survivorOf(runner.find());
      const progress = openChannel<RecoverProgress>(progressMax);
      lifetime.run('recover', async () => {
        try {
          await membership.recover(
            {
              survivor,
              stop: runner.stop,
              start: async member => recoveredOf(await runner.restart(member)),
              onProgress: step => void progress.push(step),
            },
            { force, signal },
          );
          progress.close();
        } catch (error) {
          progress.fail(error);
        }
      });
      yield* progress;
    },
  };
}

function survivorOf(node: MemberNode | undefined): Survivor {
  const what = 'Cannot recover the group of managers here';
  if (node === undefined) throw new CoveyError('not-in-cluster', `${what}: this daemon is not a node of any cluster`);
  const { cluster } = node;
  if (cluster === undefined)
    throw new CoveyError('not-manager', `${what}: this node is a worker`, { hint: 'run the command on a manager' });
  return {
    member: { membership: node.membership, identity: node.identity() },
    survey: cluster.survey,
    view: cluster.store.view,
  };
}

function recoveredOf({ cluster, isLeader }: MemberNode): RecoveredNode {
  if (cluster === undefined) throw new CoveyError('bug', 'Cannot go on: a recovered manager runs no member');
  return {
    isLeader,
    view: cluster.store.view,
    hasSession: (nodeId: NodeId) => cluster.findDispatcher()?.isConnected(nodeId) === true,
  };
}
