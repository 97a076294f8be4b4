/**
 * What a leader knows of one member's log, and how it may send to it.
 *
 *     probe      the member's log is not known: one append at a time, until one is accepted
 *     replicate  the logs match up to `match`: appends are sent ahead of their acknowledgement, within a window
 *     snapshot   a snapshot is on its way: nothing else is sent
 *
 * Keeps true: 0 <= match < next; a rejection never raises match; in `snapshot`, next is pendingSnapshot + 1.
 * Called by the leader's rules in `raft/`.
 *
 * Not here: which message is sent when (raft/replicate.ts).
 */
import { CoveyError } from '../../errors.js';
import { addInflight, createInflights, type Inflights, isFull, resetInflights } from './inflights.js';
import type { PeerId } from './types.js';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

export interface Progress {
  readonly id: PeerId;
  /** Up to here the member's log is known to equal the leader's. */
  match: number;
  /** Next entry to send; everything in (match, next) is on its way. */
  next: number;
  /** Highest commit index on its way to the member; falls when messages must be presumed lost. */
  sentCommit: number;
  state: ProgressState;
  /** Index of the snapshot on its way; 0 otherwise. An acknowledgement at any index that reconnects the logs ends the wait. */
  pendingSnapshot: number;
  /** Heard from since the last check of the quorum. Always true for the leader itself. */
  recentActive: boolean;
  /** No append until the next heartbeat is answered: a probe is out, or the window is full. */
  flowPaused: boolean;
  inflights: Inflights;
  learner: boolean;
}

export interface ProgressSeed {
  readonly id: PeerId;
  readonly next: number;
  readonly learner: boolean;
  readonly recentActive: boolean;
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
}

export function createProgress(seed: ProgressSeed): Progress {
  return {
    id: seed.id,
    match: 0,
    next: Math.max(seed.next, 1),
    sentCommit: 0,
    state: 'probe',
    pendingSnapshot: 0,
    recentActive: seed.recentActive,
    flowPaused: false,
    inflights: createInflights(seed.inflightMessagesMax, seed.inflightBytesMax),
    learner: seed.learner,
  };
}

export function becomeProbe(progress: Progress): void {
  // After a snapshot the member is presumed to have it, even if its acknowledgement was lost.
  const presumed = progress.state === 'snapshot' ? progress.pendingSnapshot : 0;
  enter(progress, 'probe');
  progress.next = Math.max(progress.match, presumed) + 1;
  progress.sentCommit = Math.min(progress.sentCommit, progress.next - 1);
}

export function becomeReplicate(progress: Progress): void {
  enter(progress, 'replicate');
  progress.next = progress.match + 1;
}

export function becomeSnapshot(progress: Progress, index: number): void {
  enter(progress, 'snapshot');
  progress.pendingSnapshot = index;
  progress.next = index + 1;
  progress.sentCommit = index;
}

/** May no append be sent now? */
export function isPaused(progress: Progress): boolean {
  return progress.state === 'snapshot' || progress.flowPaused;
}

/** `count` entries of `bytes` payload were sent, from `next` on. */
export function sentEntries(progress: Progress, count: number, bytes: number): void {
  switch (progress.state) {
    case 'replicate':
      if (count > 0) {
        progress.next += count;
        addInflight(progress.inflights, progress.next - 1, bytes);
      }
      progress.flowPaused = isFull(progress.inflights);
      return;
    case 'probe':
      if (count > 0) progress.flowPaused = true;
      return;
    case 'snapshot':
      throw new CoveyError('bug', 'Cannot send entries while a snapshot is on its way', {
        state: `peer ${progress.id}`,
      });
  }
}

/** Could telling the member this commit index make it commit more than what is on its way already? */
export function canRaiseCommit(progress: Progress, commit: number): boolean {
  return commit > progress.sentCommit && progress.sentCommit < progress.next - 1;
}

/** The member acknowledged everything up to `index`. False if that was known. */
export function acknowledge(progress: Progress, index: number): boolean {
  if (index <= progress.match) return false;
  progress.match = index;
  progress.next = Math.max(progress.next, index + 1);
  progress.flowPaused = false;
  return true;
}

/**
 * The member refused an append that followed on `rejected`; its log may match at `hint`. False if the refusal is old.
 * The hint only ever says where to try next: it is no acknowledgement (bug B7).
 */
export function reject(progress: Progress, rejected: number, hint: number): boolean {
  if (progress.state === 'replicate') {
    if (rejected <= progress.match) return false;
    progress.next = progress.match + 1;
  } else {
    if (progress.next - 1 !== rejected) return false;
    progress.next = Math.max(Math.min(rejected, hint + 1), progress.match + 1);
    progress.flowPaused = false;
  }
  progress.sentCommit = Math.min(progress.sentCommit, progress.next - 1);
  return true;
}

function enter(progress: Progress, state: ProgressState): void {
  progress.state = state;
  progress.flowPaused = false;
  progress.pendingSnapshot = 0;
  resetInflights(progress.inflights);
}
