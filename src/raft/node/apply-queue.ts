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

interface Waiter {
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

/** What has come, and how far it is applied. */
interface ApplyState {
  readonly waiters: Map<number, Waiter>;
  queue: StorageApply[];
  /** How many entries of the first work are applied. */
  position: number;
  applied: number;
  confState: ConfState;
  bytes: number;
  progressTick: number;
}

export function createApplyQueue(options: ApplyQueueOptions): ApplyQueue {
  const { scheduler, nowTick, applied, confState } = options;
  const state: ApplyState = {
    waiters: new Map(),
    queue: [],
    position: 0,
    applied,
    confState,
    bytes: 0,
    progressTick: 0,
  };
  return {
    push(work) {
      if (state.queue.length === 0) state.progressTick = nowTick();
      state.queue.push(work);
    },
    run() {
      const until = scheduler.nowMs() + options.sliceMs;
      while (state.queue.length > 0) if (runFirst(state, options, until)) break;
      return state.queue.length > 0;
    },
    wait(index, waiter) {
      state.waiters.get(index)?.done({ kind: 'unknown' });
      state.waiters.set(index, waiter);
    },
    giveUpWaiters(outcome) {
      const all = [...state.waiters.values()];
      state.waiters.clear();
      for (const waiter of all) waiter.done(outcome);
    },
    jumpTo: (index, newState) => jumpTo(state, options, { index, confState: newState }),
    applied: () => state.applied,
    confState: () => state.confState,
    waiting: () => state.waiters.size,
    bytesSinceSnapshot: () => state.bytes,
    snapshotTaken: () => {
      state.bytes = 0;
    },
    stuckSinceTick: () => (state.queue.length > 0 ? state.progressTick : undefined),
  };
}

/** Applies of the first work what fits into the slice; true when the slice is used up. */
function runFirst(state: ApplyState, options: ApplyQueueOptions, until: number): boolean {
  const { scheduler, lookEntries } = options;
  const { entries } = state.queue[0]!;
  const begin = state.position;
  while (state.position < entries.length) {
    applyOne(state, options, entries[state.position]!);
    state.position += 1;
    if (state.position % lookEntries === 0 && scheduler.nowMs() >= until) break;
  }
  state.progressTick = options.nowTick();
  const isAll = begin === 0 && state.position === entries.length;
  stepNode(options.node(), {
    kind: 'storage-apply-done',
    entries: isAll ? entries : entries.slice(begin, state.position),
  });
  if (state.position < entries.length) return true;
  state.queue.shift();
  state.position = 0;
  return scheduler.nowMs() >= until;
}

function applyOne(state: ApplyState, options: ApplyQueueOptions, entry: Entry): void {
  const { machine } = options;
  if (entry.index !== state.applied + 1) {
    throw new CoveyError('bug', `Cannot apply entry ${entry.index} after entry ${state.applied}`);
  }
  refuseNewer(entry);
  let result: unknown;
  if (entry.kind === 'normal') {
    if (entry.data.length > 0) result = machine.apply(entry);
  } else {
    state.confState = applyChange(options.node(), entry, state.confState);
    machine.configured?.(state.confState, entry.index, entry.change.context);
    options.onConfigured(state.confState, entry.index);
  }
  state.applied = entry.index;
  state.bytes += entrySize(entry);
  const waiter = state.waiters.get(entry.index);
  if (!waiter) return;
  state.waiters.delete(entry.index);
  waiter.done(waiter.term === entry.term ? { kind: 'committed', index: entry.index, result } : { kind: 'unknown' });
}

/** The application was replaced by a snapshot: what was queued before it is in it. */
function jumpTo(
  state: ApplyState,
  options: ApplyQueueOptions,
  to: { readonly index: number; readonly confState: ConfState | undefined },
): void {
  const skipped = state.queue;
  state.queue = [];
  for (const [place, work] of skipped.entries()) {
    const entries = place === 0 ? work.entries.slice(state.position) : work.entries;
    if (entries.length > 0) stepNode(options.node(), { kind: 'storage-apply-done', entries });
  }
  state.position = 0;
  for (const [at, waiter] of [...state.waiters]) {
    if (at > to.index) continue;
    state.waiters.delete(at);
    waiter.done({ kind: 'unknown' });
  }
  state.applied = to.index;
  state.bytes = 0;
  state.confState = to.confState ?? state.confState;
}

/** A change that contradicts the configuration is struck out; all members come to the same judgement at the same index. */
function applyChange(node: RawNode, entry: Exclude<Entry, { readonly kind: 'normal' }>, before: ConfState): ConfState {
  const plan = planChange(configOf(before), asV2(entry.change));
  return plan.kind === 'changed' ? applyConfChangeNode(node, entry.change) : before;
}

/** Nothing is ever skipped. */
export function refuseNewer(entry: Entry): void {
  if (entry.version <= entryVersion) return;
  throw new CoveyError(
    'newer-schema',
    `Cannot apply entry ${entry.index} of the log: it is of version ${entry.version}`,
    {
      state: `this covey knows versions up to ${entryVersion}; it stops here rather than skip it`,
      hint: 'update this node',
    },
  );
}
