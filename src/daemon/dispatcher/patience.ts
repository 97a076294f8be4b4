/**
 * How often a node is heard of, and after which silence it is noted, or lost.
 *
 *     lan       as the cluster's heartbeat and lost_after say (1 s, 10 s)
 *     wan       5 s, 30 s
 *     metered   30 s, 2 min
 *
 * Three changes to that. A service with a shorter lost_after has a silence of its nodes noted then, and their heartbeats come
 * three times in that time. All nodes together send no more than 1,000 heartbeats a second, however many they are. A silence
 * of less than two and a half periods is none.
 *
 * Pure. Called by the dispatcher. Not here: the timers (presence.ts), what a silence means for tasks (orchestrate/loss.ts).
 */
import type { ClusterSpec, Node, NodeLink } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { isLive } from '../orchestrate/slot.js';

export interface Patience {
  readonly heartbeatMs: number;
  /** A silence of this length is written down, for services that do not wait until the node is lost. */
  readonly silentMs: number;
  readonly lostMs: number;
}

type Times = Pick<ClusterSpec, 'heartbeatMs' | 'lostAfterMs'>;

const linkTimes: Readonly<Record<Exclude<NodeLink, 'lan'>, Times>> = {
  wan: { heartbeatMs: 5_000, lostAfterMs: 30_000 },
  metered: { heartbeatMs: 30_000, lostAfterMs: 120_000 },
};

/** Of all nodes together. */
const heartbeatsPerSecond = 1_000;
const periodsMin = 2.5;

export function planPatience(options: {
  readonly link: NodeLink;
  readonly cluster: Times;
  readonly nodeCount: number;
  /** The shortest lost_after of the services with a task there. */
  readonly shortestMs: number | undefined;
}): Patience {
  const { link, cluster, nodeCount, shortestMs = Number.POSITIVE_INFINITY } = options;
  const times: Times = link === 'lan' ? cluster : linkTimes[link];
  const asked = Math.min(times.heartbeatMs, Math.floor(shortestMs / 3));
  const heartbeatMs = Math.max(asked, Math.ceil((nodeCount * 1_000) / heartbeatsPerSecond));
  const lostMs = Math.max(times.lostAfterMs, heartbeatMs * periodsMin);
  return { heartbeatMs, lostMs, silentMs: Math.min(lostMs, Math.max(shortestMs, heartbeatMs * periodsMin)) };
}

/** The shortest lost_after by node; few services have one. */
function findShortest(view: View): ReadonlyMap<string, number> {
  const shortest = new Map<string, number>();
  for (const service of view.list('service')) {
    const ms = service.spec.loss?.lostAfterMs;
    if (ms === undefined) continue;
    for (const task of view.tasksOfService(service.id)) {
      if (isLive(task) && task.nodeId !== '') {
        shortest.set(task.nodeId, Math.min(ms, shortest.get(task.nodeId) ?? ms));
      }
    }
  }
  return shortest;
}

/** For all nodes as the state is now. */
export function patienceOf(view: View, cluster: Times): (node: Node) => Patience {
  const shortest = findShortest(view);
  const nodeCount = view.count('node');
  return node => planPatience({ link: node.spec.link ?? 'lan', cluster, nodeCount, shortestMs: shortest.get(node.id) });
}
