/**
 * Reads that wait for proof that their leader still leads: batches counted by the core itself.
 *
 * Each read gets the next number; heartbeats carry the number of the newest read, answers bring it back, and a read
 * is confirmed once a quorum has answered with its number or a later one. An answer to a beat sent before the read
 * came in carries a lower number and proves nothing (bug B1: contexts chosen by users can repeat).
 *
 * Keeps true: reads are confirmed in the order they came; confirmed + waiting = all that were added. Called by
 * raft/reads.ts, anew for each term.
 *
 * Not here: what is sent (raft/reads.ts).
 */
import { createFifo, type Fifo, fifoLength, fifoPush, fifoShift } from './fifo.js';
import { jointCommittedIndex, type Voters } from './quorum.js';
import type { PeerId } from './types.js';

export interface PendingRead {
  /** Who asked. */
  readonly from: PeerId;
  readonly request: number;
  /** The commit index when the read came in. */
  readonly index: number;
}

export interface ReadQueue {
  readonly acks: Map<PeerId, number>;
  readonly waiting: Fifo<PendingRead>;
  confirmed: number;
}

export function createReadQueue(): ReadQueue {
  return { acks: new Map(), waiting: createFifo(), confirmed: 0 };
}

/** Number of the newest read that waits; 0 if none does. Heartbeats carry it. */
export function newestRead(queue: ReadQueue): number {
  const waiting = fifoLength(queue.waiting);
  return waiting === 0 ? 0 : queue.confirmed + waiting;
}

export function addRead(queue: ReadQueue, read: PendingRead): void {
  fifoPush(queue.waiting, read);
}

/** `from` answered a heartbeat that carried `count`. */
export function recordReadAck(queue: ReadQueue, from: PeerId, count: number): void {
  if (count > (queue.acks.get(from) ?? 0)) queue.acks.set(from, count);
}

/** Takes out the reads that a quorum of these voters has confirmed, oldest first. */
export function takeConfirmed(queue: ReadQueue, voters: Voters): readonly PendingRead[] {
  if (fifoLength(queue.waiting) === 0) return [];
  const proven = jointCommittedIndex(voters, id => queue.acks.get(id));
  const reads: PendingRead[] = [];
  while (queue.confirmed < proven) {
    const read = fifoShift(queue.waiting);
    if (read === undefined) break;
    queue.confirmed++;
    reads.push(read);
  }
  return reads;
}
