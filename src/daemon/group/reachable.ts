/**
 * Which managers answer, as the one that is asked can tell. The leader hears all of the group. A follower talks to the leader
 * only, and takes the others for what the leader says of their nodes. Without a leader each asks all for their votes.
 *
 * Pure. Called by cluster-parts.ts for lists of nodes. Not here: counting for whoever waits for a leader (cluster-parts.ts).
 */
import type { NodeId } from '../../ids.js';
import type { View } from '../../raft/store.js';
import type { Group } from './group.js';

export function reachableManagers(asked: {
  readonly own: NodeId;
  readonly group: Pick<Group, 'managers' | 'reached'> & { readonly log: Pick<Group['log'], 'status'> };
  readonly view: Pick<View, 'find'>;
}): readonly NodeId[] {
  const { own, group, view } = asked;
  const { role, leader, peers } = group.log.status();
  const reached = group.reached();
  const active = new Set(peers.filter(peer => peer.active).map(peer => peer.id));
  return group.managers().flatMap(({ nodeId, raftId }) => {
    if (nodeId === own) return [nodeId];
    if (role === 'leader') return active.has(raftId) ? [nodeId] : [];
    const isHeard = reached.has(raftId) || raftId === leader;
    return isHeard || (leader !== 0 && view.find('node', nodeId)?.status.state === 'ready') ? [nodeId] : [];
  });
}
