/**
 * Committed entries on their way into the application, in order, in slices of a few milliseconds.
 *
 * Keeps true: each index is applied once per incarnation; who proposed an entry here learns its result when it is
 * applied, or `unknown` when leadership was lost; a snapshot from the leader takes the place of everything queued
 * before it (bug B41).
 *
 * Called by: ../node.ts. Not here: what applying means (the Machine).
 */
import { CoveyError } from '../../errors.js';
import { asV2, configOf, planChange } from '../core/confchange.js';
import { applyConfChangeNode, type RawNode, stepNode } from '../core/rawnode.js';
import { entrySize } from '../core/sizes.js';
import { type ConfState, type Entry, entryVersion, type StorageApply } from '../core/types.js';
import type { Machine, NodeProposeOutcome, Scheduler } from './types.js';

export interface Waiter {
  readonly term: number;
  readonly done: (outcome: NodeProposeOutcome) => void;
}

export interface ApplyQueue {
  readonly push: (work: StorageApply) => void;
  /** Applies for one slice; true while more is queued. */
  readonly run: () => boolean;
  /** Someone waits for the entry at this index to be applied with this term. */
  readonly wait: (index: number, waiter: Waiter) => void;
  /** Leadership was lost: nobody knows what becomes of them. */
  readonly giveUpWaiters: (outcome: NodeProposeOutcome) => void;
  /** The application now stands at this snapshot. */
  readonly jumpTo: (index: number, confState: ConfState | undefined) => void;
  readonly applied: () => number;
  readonly confState: () => ConfState;
  readonly waiting: () => number;
  /** Bytes of log applied since the last snapshot. */
  readonly bytesSinceSnapshot: () => number;
  readonly snapshotTaken: () => void;
  /** When the application last got on, in ticks; undefined = nothing is queued. */
  readonly stuckSinceTick: () => number | undefined;
}

export interface ApplyQueueOptions {
  readonly node: () => RawNode;
  readonly machine: Machine;
  readonly scheduler: Scheduler;
  readonly sliceMs: number;
  readonly lookEntries: number;
  readonly nowTick: () => number;
  readonly applied: number;
  readonly confState: ConfState;
  readonly onConfigured: (confState: ConfState, index: number) => void;
}

export function createApplyQueue(options: ApplyQueueOptions): ApplyQueue {
  const { machine, scheduler } = options;
  const waiters = new Map<number, Waiter>();
  let queue: StorageApply[] = [];
  /** How many entries of the first work are applied. */
  let position = 0;
  let { applied, confState } = options;
  let bytes = 0;
  let progressTick = 0;
  const applyOne = (entry: Entry) => {
    if (entry.index !== applied + 1)
      throw new CoveyError('bug', `Cannot apply entry ${entry.index} after entry ${applied}`);
    if (entry.version > entryVersion) throw newerEntry(entry);
    let result: unknown;
    if (entry.kind === 'normal') {
      if (entry.data.length > 0) result = machine.apply(entry);
    } else {
      confState = applyChange(options.node(), entry, confState);
      machine.configured?.(confState, entry.index, entry.change.context);
      options.onConfigured(confState, entry.index);
    }
    applied = entry.index;
    bytes += entrySize(entry);
    const waiter = waiters.get(entry.index);
    if (!waiter) return;
    waiters.delete(entry.index);
    waiter.done(waiter.term === entry.term ? { kind: 'committed', index: entry.index, result } : { kind: 'unknown' });
  };
  /** Applies of the first work what fits into the slice; true when the slice is used up. */
  const runFirst = (until: number): boolean => {
    const { entries } = queue[0]!;
    const begin = position;
    while (position < entries.length) {
      applyOne(entries[position]!);
      position += 1;
      if (position % options.lookEntries === 0 && scheduler.nowMs() >= until) break;
    }
    progressTick = options.nowTick();
    stepNode(options.node(), {
      kind: 'storage-apply-done',
      entries: begin === 0 && position === entries.length ? entries : entries.slice(begin, position),
    });
    if (position < entries.length) return true;
    queue.shift();
    position = 0;
    return scheduler.nowMs() >= until;
  };
  return {
    push(work) {
      if (queue.length === 0) progressTick = options.nowTick();
      queue.push(work);
    },
    run() {
      const until = scheduler.nowMs() + options.sliceMs;
      while (queue.length > 0) if (runFirst(until)) break;
      return queue.length > 0;
    },
    wait: (index, waiter) => {
      waiters.get(index)?.done({ kind: 'unknown' });
      waiters.set(index, waiter);
    },
    giveUpWaiters(outcome) {
      const all = [...waiters.values()];
      waiters.clear();
      for (const waiter of all) waiter.done(outcome);
    },
    jumpTo(index, state) {
      const skipped = queue;
      queue = [];
      for (const [place, work] of skipped.entries()) {
        const entries = place === 0 ? work.entries.slice(position) : work.entries;
        if (entries.length > 0) stepNode(options.node(), { kind: 'storage-apply-done', entries });
      }
      position = 0;
      for (const [at, waiter] of [...waiters]) {
        if (at > index) continue;
        waiters.delete(at);
        waiter.done({ kind: 'unknown' });
      }
      applied = index;
      bytes = 0;
      if (state) confState = state;
    },
    applied: () => applied,
    confState: () => confState,
    waiting: () => waiters.size,
    bytesSinceSnapshot: () => bytes,
    snapshotTaken: () => {
      bytes = 0;
    },
    stuckSinceTick: () => (queue.length > 0 ? progressTick : undefined),
  };
}

/** A change that contradicts the configuration is struck out; all members come to the same judgement at the same index. */
function applyChange(node: RawNode, entry: Exclude<Entry, { readonly kind: 'normal' }>, before: ConfState): ConfState {
  const plan = planChange(configOf(before), asV2(entry.change));
  return plan.kind === 'changed' ? applyConfChangeNode(node, entry.change) : before;
}

function newerEntry(entry: Entry): CoveyError {
  return new CoveyError(
    'newer-schema',
    `Cannot apply entry ${entry.index} of the log: it is of version ${entry.version}`,
    {
      state: `this covey knows versions up to ${entryVersion}; it stops here rather than skip it`,
      hint: 'update this node',
    },
  );
}
