/**
 * The window of appends that were sent to one follower and not yet acknowledged, counted in messages and in bytes.
 *
 * Keeps true: `count` and `bytes` are the sums over the window; indexes rise from its start to its end. The limit in
 * bytes is soft: the message that crosses it is still sent, the next one is not. Used by progress.ts.
 *
 * Not here: what a full window means for sending (raft/replicate.ts).
 */
import { CoveyError } from '../../errors.js';

export interface Inflights {
  readonly messagesMax: number;
  readonly bytesMax: number;
  /** Ring buffers of one capacity, a power of two that grows with need. */
  indexes: number[];
  sizes: number[];
  start: number;
  count: number;
  bytes: number;
}

export function createInflights(messagesMax: number, bytesMax: number): Inflights {
  return { messagesMax, bytesMax, indexes: [], sizes: [], start: 0, count: 0, bytes: 0 };
}

export function isFull(window: Inflights): boolean {
  return window.count >= window.messagesMax || window.bytes >= window.bytesMax;
}

/** A message whose last entry is at `index` was sent. */
export function addInflight(window: Inflights, index: number, bytes: number): void {
  if (isFull(window))
    throw new CoveyError('bug', 'Cannot add a message to a full window', {
      state: `${window.count} messages, ${window.bytes} bytes`,
    });
  if (window.count === window.indexes.length) grow(window);
  const at = (window.start + window.count) & (window.indexes.length - 1);
  window.indexes[at] = index;
  window.sizes[at] = bytes;
  window.count++;
  window.bytes += bytes;
}

/** The follower has everything up to `index`: all messages that end there or before leave the window. */
export function freeInflights(window: Inflights, index: number): void {
  const mask = window.indexes.length - 1;
  while (window.count > 0 && window.indexes[window.start]! <= index) {
    window.bytes -= window.sizes[window.start]!;
    window.start = (window.start + 1) & mask;
    window.count--;
  }
}

export function resetInflights(window: Inflights): void {
  window.start = 0;
  window.count = 0;
  window.bytes = 0;
}

function grow(window: Inflights): void {
  const size = window.indexes.length;
  const capacity = size === 0 ? 4 : size * 2;
  const turn = (ring: readonly number[]) => {
    const next = new Array<number>(capacity).fill(0);
    for (let at = 0; at < window.count; at++) next[at] = ring[(window.start + at) & (size - 1)]!;
    return next;
  };
  window.indexes = turn(window.indexes);
  window.sizes = turn(window.sizes);
  window.start = 0;
}
