/**
 * What a member looks like from outside, to whom its leadership would go, and when it need not wait for an election timeout.
 *
 * Called by: ../node.ts. Not here: changing anything but by a transfer or a call for votes.
 */
import { lastIndex } from '../core/log.js';
import type { Raft } from '../core/raft/index.js';
import { campaign, type RawNode, transferLeader } from '../core/rawnode.js';
import { type ConfState, nobody, type PeerId } from '../core/types.js';
import type { MemoryLog } from '../storage/memory-log.js';
import type { ApplyQueue } from './apply-queue.js';
import type { NodeOptions, NodeStatus } from './types.js';

/** Undefined while the member starts. */
export interface StatusParts {
  readonly raft: Raft | undefined;
  readonly apply: ApplyQueue | undefined;
  readonly log: MemoryLog;
  readonly lowSpace: boolean;
}

export function statusOf({ id, opened }: NodeOptions, { raft, apply, log, lowSpace }: StatusParts): NodeStatus {
  const peers = raft?.role === 'leader' ? raft.tracker.peers : [];
  return {
    id,
    role: raft?.role ?? 'follower',
    leader: raft?.leader ?? 0,
    term: raft?.term ?? opened.state.hardState.term,
    commit: raft?.log.committed ?? 0,
    applied: apply?.applied() ?? 0,
    firstIndex: log.firstIndex(),
    lastIndex: raft ? lastIndex(raft.log) : log.lastIndex(),
    confState: apply?.confState() ?? log.initialState().confState,
    lowSpace,
    peers: peers.map(peer => ({
      id: peer.id,
      match: peer.match,
      learner: peer.learner,
      active: peer.recentActive,
      state: peer.state,
    })),
  };
}

/** Gives leadership to the active voter that is furthest; false when there is nobody. */
export function handOver(node: RawNode): boolean {
  const { raft } = node;
  const best = raft.tracker.peers
    .filter(peer => peer.id !== raft.id && !peer.learner && peer.recentActive)
    .reduce<{ readonly id: PeerId; readonly match: number } | undefined>(
      (most, peer) => (most && most.match >= peer.match ? most : peer),
      undefined,
    );
  return best !== undefined && ['started', 'in-progress'].includes(transferLeader(node, best.id).kind);
}

/**
 * The process of that member has ended (or nobody leads). If it led, votes are asked for at once. Whoever is wrong about it does no harm: a pre-vote
 * changes nothing, members that hear from the leader refuse it, and the leader's next beat brings the asker back.
 */
export function campaignAfterEnd(node: RawNode, peer: PeerId): void {
  const { role, leader } = node.raft;
  if (leader !== peer) return;
  // Whoever asks for votes already, and gets no answer, asks again where nobody leads; a real candidate goes on waiting for its own.
  if (role === 'follower' || (role === 'pre-candidate' && peer === nobody)) campaign(node);
}

/** What has stood still since before `tick`; the disk counts first. Undefined = nothing waits, or it got on. */
export function findStuck(
  since: { readonly disk: number | undefined; readonly apply: number | undefined },
  tick: number,
): 'disk' | 'apply' | undefined {
  if (since.disk !== undefined && since.disk < tick) return 'disk';
  return since.apply !== undefined && since.apply < tick ? 'apply' : undefined;
}

export function isOnlyVoter({ voters, votersOutgoing }: ConfState, id: PeerId): boolean {
  return voters.length === 1 && voters[0] === id && votersOutgoing.length === 0;
}

/** What a leader steps down for: the only voter, who could follow nobody, for its disk alone, because what it cannot write it must not promise. */
export function mayFollow<Stuck extends string>(
  stuck: Stuck | undefined,
  confState: ConfState,
  id: PeerId,
): Stuck | undefined {
  return stuck !== 'disk' && isOnlyVoter(confState, id) ? undefined : stuck;
}
