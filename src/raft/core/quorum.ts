/**
 * Arithmetic of majorities: what is committed, who has won.
 *
 * Keeps true: a decision of a joint configuration has a majority of both halves, so two decisions always share a
 * voter. An empty half agrees to everything, which makes a plain configuration a joint one with an empty half.
 * Called by tracker.ts and readonly.ts; all functions are pure.
 *
 * Not here: how a configuration comes about (confchange.ts).
 */
import type { PeerId } from './types.js';

/** Both lists ascending and without repetition. */
export interface Voters {
  readonly incoming: readonly PeerId[];
  /** Empty unless joint. */
  readonly outgoing: readonly PeerId[];
}

export type VoteResult = 'pending' | 'lost' | 'won';

/** The highest index that a majority of both halves has acknowledged; Infinity if there are no voters. */
export function jointCommittedIndex(voters: Voters, acked: (id: PeerId) => number | undefined): number {
  const incoming = committedIndex(voters.incoming, acked);
  return voters.outgoing.length === 0 ? incoming : Math.min(incoming, committedIndex(voters.outgoing, acked));
}

/** The highest index that a majority of `voters` has acknowledged; who has said nothing counts as 0. */
export function committedIndex(voters: readonly PeerId[], acked: (id: PeerId) => number | undefined): number {
  const size = voters.length;
  if (size === 0) return Number.POSITIVE_INFINITY;
  if (size === 1) return acked(voters[0]!) ?? 0;
  if (size === 3) return medianOfThree(acked(voters[0]!) ?? 0, acked(voters[1]!) ?? 0, acked(voters[2]!) ?? 0);
  const indexes = voters.map(id => acked(id) ?? 0);
  indexes.sort((a, b) => b - a);
  return indexes[Math.floor(size / 2)]!;
}

/** Result of an election in which both halves must agree. */
export function jointVoteResult(voters: Voters, vote: (id: PeerId) => boolean | undefined): VoteResult {
  const incoming = voteResult(voters.incoming, vote);
  const outgoing = voteResult(voters.outgoing, vote);
  if (incoming === outgoing) return incoming;
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending';
}

/** Won with a majority of yes, lost when no majority of yes can come about any more. */
export function voteResult(voters: readonly PeerId[], vote: (id: PeerId) => boolean | undefined): VoteResult {
  if (voters.length === 0) return 'won';
  let yes = 0;
  let missing = 0;
  for (const id of voters) {
    const answer = vote(id);
    if (answer === undefined) missing++;
    else if (answer) yes++;
  }
  const majority = Math.floor(voters.length / 2) + 1;
  if (yes >= majority) return 'won';
  return yes + missing >= majority ? 'pending' : 'lost';
}

/** Every voter of either half once, ascending. */
export function votersOf(voters: Voters): readonly PeerId[] {
  if (voters.outgoing.length === 0) return voters.incoming;
  return [...new Set([...voters.incoming, ...voters.outgoing])].sort((a, b) => a - b);
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
