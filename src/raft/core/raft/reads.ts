/**
 * Linearizable reads without a log entry (thesis 6.4): which index a read must wait for.
 *
 *     leader                                   followers
 *     note the commit index
 *     heartbeat with the read's number   ──►   answer with the number
 *     a quorum has answered: still leader
 *     tell the asker the index                 (the asker reads once it has applied it)
 *
 * Keeps true: nothing is answered before the leader has committed an entry of its own term (bug B2), nor on the word
 * of answers to older heartbeats (bug B1). A leader that loses its role forgets the reads: the asker asks again.
 * Called by lead.ts, follow.ts and membership.ts.
 *
 * Not here: counting (../readonly.ts), waiting for the index (the driver).
 */
import { addRead, newestRead, type PendingRead, recordReadAck, takeConfirmed } from '../readonly.js';
import { isSingleton } from '../tracker.js';
import { messageVersion, type PeerId } from '../types.js';
import { broadcastHeartbeat, hasCommittedInTerm } from './replicate.js';
import { send } from './send.js';
import type { EarlyRead, Raft } from './state.js';

/** More reads than this wait nowhere; whoever is turned away asks again. */
const earlyReadsMax = 65_536;

/** A read arrives at the leader. */
export function leaderRead(raft: Raft, read: EarlyRead): void {
  // A single voter waits too: after a restart it may not know yet how far it had committed before.
  if (!hasCommittedInTerm(raft)) {
    if (raft.earlyReads.length < earlyReadsMax) raft.earlyReads.push(read);
    return;
  }
  startRead(raft, read);
}

/** The first entry of the term may have been committed: the reads that waited for that begin. */
export function releaseEarlyReads(raft: Raft): void {
  if (raft.earlyReads.length === 0 || !hasCommittedInTerm(raft)) return;
  const reads = raft.earlyReads;
  raft.earlyReads = [];
  for (const read of reads) startRead(raft, read);
}

/** `from` answered a heartbeat. */
export function recordReadBeat(raft: Raft, from: PeerId, readCount: number): void {
  if (readCount === 0 || raft.config.leaseReads) return;
  recordReadAck(raft.reads, from, readCount);
  finishReads(raft);
}

/** Answers what is confirmed; a smaller configuration may confirm more at once (bug B44). */
export function finishReads(raft: Raft): void {
  for (const read of takeConfirmed(raft.reads, raft.tracker.config.voters)) answerRead(raft, read);
}

function startRead(raft: Raft, read: EarlyRead): void {
  const pending = { ...read, index: raft.log.committed };
  if (raft.config.leaseReads || isSingleton(raft.tracker)) {
    answerRead(raft, pending);
    return;
  }
  addRead(raft.reads, pending);
  recordReadAck(raft.reads, raft.id, newestRead(raft.reads));
  broadcastHeartbeat(raft);
}

function answerRead(raft: Raft, { from, request, index }: PendingRead): void {
  if (from === raft.id) raft.readStates.push({ request, index });
  else
    send(raft, {
      kind: 'read-index-reply',
      version: messageVersion,
      from: raft.id,
      to: from,
      term: raft.term,
      request,
      index,
    });
}
