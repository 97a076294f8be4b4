/**
 * What the cluster keeps about groups of managers that were before the present one, and about members that have left: so that
 * one that comes back with an old disk is told, and no id is used a second time.
 *
 * Pure. Called by members.ts and membership/recover.ts. Not here: what a member that is told does (daemon/node.ts).
 */
import type { GroupHistory } from '../../gen/types.js';
import type { PeerId } from '../../raft/core/types.js';
import type { View, Write } from '../../raft/store.js';
import { getCluster } from '../ca/issue.js';

/** More than ever come back; the oldest are forgotten. */
const removedMax = 1_000;

const noHistory: GroupHistory = { generation: 0, removed: [] };

/** Nothing while the store is empty. */
export function historyOf(view: View): GroupHistory {
  for (const cluster of view.list('cluster')) return cluster.group ?? noHistory;
  return noHistory;
}

/** The cluster with these members noted as gone. */
export function noteRemoved(view: View, gone: readonly PeerId[]): Write {
  return noteHistory(view, gone, historyOf(view).generation);
}

/** The same when the group is made anew. */
export function noteNewGroup(view: View, gone: readonly PeerId[]): Write {
  return noteHistory(view, gone, historyOf(view).generation + 1);
}

function noteHistory(view: View, gone: readonly PeerId[], generation: number): Write {
  const ids = [...historyOf(view).removed, ...gone];
  const removed = [...new Set(ids)].slice(-removedMax);
  return { kind: 'put', table: 'cluster', object: { ...getCluster(view), group: { generation, removed } } };
}
