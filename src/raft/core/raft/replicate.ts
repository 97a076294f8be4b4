/**
 * How a leader brings the others' logs to equal its own, and when entries count as committed.
 *
 * Keeps true: a member that is probed gets one append at a time, one that follows gets them ahead within its window,
 * one that needs a snapshot gets nothing else; only entries of the leader's own term are committed by counting (paper
 * 5.4.2; all before them come along). The leader sends while its own disk still writes. Called by the leader's rules.
 *
 * Not here: what the answers mean (lead.ts).
 */
import { fifoFirst, fifoPush, fifoShift } from '../fifo.js';
import { isFull } from '../inflights.js';
import { appendEntries, commitTo, entriesFrom, lastIndex, matches, newestSnapshot, termAt } from '../log.js';
import { becomeSnapshot, isPaused, type Progress, sentEntries } from '../progress.js';
import { newestRead } from '../readonly.js';
import { payloadsSize } from '../sizes.js';
import { quorumIndex } from '../tracker.js';
import { type Entry, messageVersion, type Proposal } from '../types.js';
import { acceptAppend, send, sendAppendRequest } from './send.js';
import { emit, type Raft } from './state.js';

/** Sends to everybody what is due, and if nothing is, at least the commit index. */
export function broadcastAppend(raft: Raft): void {
  for (const progress of raft.tracker.peers) if (progress.id !== raft.id) sendAppend(raft, progress, true);
}

/**
 * Sends the next entries to one member, if its flow allows. With `evenEmpty` an append without entries is sent when
 * there are none: it carries the commit index. True if anything was sent.
 */
export function sendAppend(raft: Raft, progress: Progress, evenEmpty: boolean): boolean {
  if (isPaused(progress)) return false;
  const prevIndex = progress.next - 1;
  const prevTerm = termAt(raft.log, prevIndex);
  if (prevTerm === undefined) return sendSnapshot(raft, progress);
  // A full window lets only empty appends through: if all of it was lost, their refusal says so.
  const throttled = progress.state === 'replicate' && isFull(progress.inflights);
  const entries = throttled ? [] : entriesFrom(raft.log, progress.next, raft.config.messageBytesMax);
  if (entries === undefined) return sendSnapshot(raft, progress);
  if (entries.length === 0 && !evenEmpty) return false;
  const { committed } = raft.log;
  sendAppendRequest(raft, { to: progress.id, prevIndex, prevTerm, entries, commit: committed });
  sentEntries(progress, entries.length, payloadsSize(entries));
  progress.sentCommit = committed;
  return true;
}

/** Sends all that the window lets through. */
export function sendBacklog(raft: Raft, progress: Progress): void {
  while (sendAppend(raft, progress, false));
}

export function broadcastHeartbeat(raft: Raft): void {
  const readCount = newestRead(raft.reads);
  for (const progress of raft.tracker.peers) if (progress.id !== raft.id) sendHeartbeat(raft, progress, readCount);
}

/** Appends proposals to the leader's own log. False if that would exceed the limit on uncommitted bytes. */
export function appendOwn(raft: Raft, proposals: readonly Proposal[]): boolean {
  const bytes = payloadsSize(proposals);
  // What is empty (the first entry of a term, leaving a joint configuration) always passes, as does whatever comes first.
  if (bytes > 0 && raft.uncommittedBytes > 0 && raft.uncommittedBytes + bytes > raft.config.uncommittedBytesMax)
    return false;
  const first = lastIndex(raft.log) + 1;
  const last = first + proposals.length - 1;
  const entries = proposals.map((proposal, at) => entryOf(proposal, raft.term, first + at));
  appendEntries(raft.log, entries);
  if (bytes > 0) {
    fifoPush(raft.uncommitted, { index: last, bytes });
    raft.uncommittedBytes += bytes;
  }
  acceptAppend(raft, raft.id, last);
  emit(raft, { kind: 'replicated', index: last, count: proposals.length });
  return true;
}

/** Commits what a quorum has, if that reaches into this leader's term. True if the commit index rose. */
export function advanceCommit(raft: Raft): boolean {
  const index = quorumIndex(raft.tracker);
  if (index <= raft.log.committed || !matches(raft.log, index, raft.term)) return false;
  commitTo(raft.log, index);
  for (
    let batch = fifoFirst(raft.uncommitted);
    batch !== undefined && batch.index <= index;
    batch = fifoFirst(raft.uncommitted)
  ) {
    raft.uncommittedBytes -= batch.bytes;
    fifoShift(raft.uncommitted);
  }
  emit(raft, { kind: 'committed', index });
  return true;
}

/** Has this leader committed an entry of its own term? Before that it does not know what is committed. */
export function hasCommittedInTerm(raft: Raft): boolean {
  return termAt(raft.log, raft.log.committed) === raft.term;
}

function sendSnapshot(raft: Raft, progress: Progress): boolean {
  if (!progress.recentActive) return false;
  const snapshot = newestSnapshot(raft.log);
  if (snapshot === undefined) return false;
  becomeSnapshot(progress, snapshot.index);
  send(raft, { kind: 'snapshot', version: messageVersion, from: raft.id, to: progress.id, term: raft.term, snapshot });
  emit(raft, { kind: 'snapshot-sent', to: progress.id, index: snapshot.index });
  return true;
}

/** The commit index never goes beyond what the member is known to have: its log may differ there. */
function sendHeartbeat(raft: Raft, progress: Progress, readCount: number): void {
  const commit = Math.min(progress.match, raft.log.committed);
  send(raft, {
    kind: 'heartbeat',
    version: messageVersion,
    from: raft.id,
    to: progress.id,
    term: raft.term,
    commit,
    readCount,
  });
  progress.sentCommit = commit;
}

function entryOf(proposal: Proposal, term: number, index: number): Entry {
  const { version } = proposal;
  switch (proposal.kind) {
    case 'normal':
      return { kind: 'normal', version, term, index, data: proposal.data };
    case 'conf-change':
      return { kind: 'conf-change', version, term, index, change: proposal.change };
    case 'conf-change-v2':
      return { kind: 'conf-change-v2', version, term, index, change: proposal.change };
  }
}
