/**
 * Elections: starting one, answering a request for a vote, counting the answers.
 *
 * Keeps true: one vote a term, and only for a log at least as complete as one's own (paper 5.2, 5.4.1); whoever has a
 * committed change of the configuration that it has not applied does not campaign (bug B4); a pre-vote changes nothing
 * at the member asked. One's own vote is counted like any other: when it is on disk. Called by tick, step and rawnode.
 *
 * Not here: which messages are too old to be looked at (step.ts).
 */
import { commitTo, isUpToDate, lastIndex, lastTerm, matches, slice, termAt } from '../log.js';
import { votersOf } from '../quorum.js';
import type { CampaignKind } from '../trace.js';
import { recordVote, tallyVotes } from '../tracker.js';
import { messageVersion, nobody, type VoteReply, type VoteRequest } from '../types.js';
import { broadcastAppend } from './replicate.js';
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from './roles.js';
import { replyToVote, send } from './send.js';
import { emit, isPromotable, type Raft } from './state.js';

/** Committed entries are searched for changes of the configuration in pages of this size. */
const scanBytesMax = 1_048_576;

/** The election timeout has passed, or the operator or the old leader asks. */
export function hup(raft: Raft, reason: CampaignKind): void {
  if (raft.role === 'leader') {
    emit(raft, { kind: 'campaign-refused', because: 'already-leader' });
    return;
  }
  if (!isPromotable(raft)) {
    emit(raft, { kind: 'campaign-refused', because: 'not-promotable' });
    return;
  }
  if (hasConfChange(raft, raft.log.applied + 1, raft.log.committed + 1)) {
    emit(raft, { kind: 'campaign-refused', because: 'unapplied-conf-change' });
    return;
  }
  campaign(raft, reason);
}

export function handleVoteRequest(raft: Raft, request: VoteRequest): void {
  const real = request.kind === 'vote';
  const free =
    raft.vote === request.from ||
    (raft.vote === nobody && raft.leader === nobody) ||
    (!real && request.term > raft.term);
  // Learners vote too: a member may have been promoted without knowing it yet (bug B20).
  const granted = free && isUpToDate(raft.log, request.lastIndex, request.lastTerm);
  emit(raft, {
    kind: granted ? 'vote-cast' : 'vote-refused',
    to: request.from,
    phase: request.kind,
    lastIndex: request.lastIndex,
    lastTerm: request.lastTerm,
  });
  answer(raft, request, granted);
  if (granted && real) {
    raft.electionElapsed = 0;
    raft.vote = request.from;
  }
  if (!granted) learnCommit(raft, request.commit, request.commitTerm);
}

/** A request that this node will not even consider; only a pre-vote of an older term is told so, lest it be stuck. */
export function refuseOldPreVote(raft: Raft, request: VoteRequest): void {
  emit(raft, {
    kind: 'vote-refused',
    to: request.from,
    phase: request.kind,
    lastIndex: request.lastIndex,
    lastTerm: request.lastTerm,
  });
  answer(raft, request, false);
}

/** While a leader is heard from, nobody else is helped to become one (thesis 9.6 and 4.2.3), unless it asks for that itself. */
export function ignoresVotes(raft: Raft, request: VoteRequest): boolean {
  const { checkQuorum, electionTicks } = raft.config;
  return checkQuorum && raft.leader !== nobody && raft.electionElapsed < electionTicks && !request.transfer;
}

/** A candidate gets an answer to its own kind of question. */
export function handleVoteReply(raft: Raft, reply: VoteReply): void {
  recordVote(raft.tracker, reply.from, !reply.reject);
  const { grants, rejections, result } = tallyVotes(raft.tracker);
  emit(raft, {
    kind: 'vote-counted',
    from: reply.from,
    phase: reply.kind === 'vote-reply' ? 'vote' : 'pre-vote',
    granted: !reply.reject,
    grants,
    rejections,
  });
  switch (result) {
    case 'won':
      if (raft.role === 'pre-candidate') {
        campaign(raft, 'election');
        return;
      }
      // Others' votes alone do not do: if this node led before its own vote is on disk, it could lose term and vote in
      // a crash, win the same term again, and put other entries at indexes that it had sent out in that term.
      if (raft.tracker.votes.get(raft.id) !== true) break;
      becomeLeader(raft);
      broadcastAppend(raft);
      return;
    case 'lost':
      // The answer to a pre-vote carries a term in the future: stay in this one.
      becomeFollower(raft, raft.term, nobody);
      break;
    case 'pending':
      break;
  }
  learnCommit(raft, reply.commit, reply.commitTerm);
}

function campaign(raft: Raft, reason: CampaignKind): void {
  emit(raft, { kind: 'election-started', reason });
  const real = reason !== 'pre-vote';
  if (real) becomeCandidate(raft);
  else becomePreCandidate(raft);
  const term = real ? raft.term : raft.term + 1;
  const question = {
    kind: real ? ('vote' as const) : ('pre-vote' as const),
    version: messageVersion,
    from: raft.id,
    term,
    lastIndex: lastIndex(raft.log),
    lastTerm: lastTerm(raft.log),
    transfer: reason === 'transfer',
    ...commitInfo(raft),
  };
  for (const to of votersOf(raft.tracker.config.voters)) {
    if (to === raft.id) {
      replyToVote(raft, {
        kind: real ? 'vote-reply' : 'pre-vote-reply',
        to,
        term,
        reject: false,
        commit: 0,
        commitTerm: 0,
      });
    } else {
      send(raft, { ...question, to });
    }
  }
}

/** A grant carries the term that was asked for, a refusal this node's own. */
function answer(raft: Raft, request: VoteRequest, granted: boolean): void {
  replyToVote(raft, {
    kind: request.kind === 'vote' ? 'vote-reply' : 'pre-vote-reply',
    to: request.from,
    term: granted ? request.term : raft.term,
    reject: !granted,
    ...commitInfo(raft),
  });
}

/**
 * What this node knows to be committed, for the other side of an election. Configurations take effect when applied, so
 * after a crash inside a change some members may still need voters who are gone while others could do without; they
 * have the entry but do not know that it is committed. An election tells them (bug B21).
 */
function commitInfo(raft: Raft): { readonly commit: number; readonly commitTerm: number } {
  if (!raft.config.commitByVote) return { commit: 0, commitTerm: 0 };
  return { commit: raft.log.committed, commitTerm: termAt(raft.log, raft.log.committed) ?? 0 };
}

/** The other side has committed this entry: if it is in this log too, all up to it is committed here as well. */
function learnCommit(raft: Raft, commit: number, commitTerm: number): void {
  if (commitTerm === 0 || raft.role === 'leader' || commit <= raft.log.committed) return;
  if (!matches(raft.log, commit, commitTerm)) return;
  const known = raft.log.committed;
  commitTo(raft.log, commit);
  emit(raft, { kind: 'committed', index: commit });
  if (raft.role !== 'follower' && hasConfChange(raft, known + 1, commit + 1)) becomeFollower(raft, raft.term, nobody);
}

/** Is there a change of the configuration among the entries of [low, high)? */
function hasConfChange(raft: Raft, low: number, high: number): boolean {
  let at = low;
  while (at < high) {
    const page = slice(raft.log, at, high, scanBytesMax);
    // Compacted away means applied: storage compacts nothing else.
    if (page === undefined || page.length === 0) return false;
    if (page.some(entry => entry.kind !== 'normal')) return true;
    at += page.length;
  }
  return false;
}
