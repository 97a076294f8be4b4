/**
 * Virtual time: a heap of events ordered by (time, sequence). One event at a time; nothing else moves.
 *
 * Keeps true: the order of events depends on the seed alone. Every event that runs goes into the trace hash.
 */
import { crc32 } from 'node:zlib';

export interface World {
  now(): number;
  /** Runs `call` after `delay` units of time. `label` goes into the trace. */
  after(delay: number, label: string, call: () => void): void;
  /** Runs the next event; false when none is left before `until`. */
  step(until: number): boolean;
  /** Adds a line to the trace hash (and to the recorder). */
  note(line: string): void;
  hash(): string;
  events(): number;
}

interface Event {
  readonly time: number;
  readonly seq: number;
  readonly label: string;
  readonly call: () => void;
}

export function createWorld(record?: (line: string) => void): World {
  const heap: Event[] = [];
  let [now, seq, crc, count] = [0, 0, 0, 0];
  const note = (line: string) => {
    crc = crc32(`${now} ${line}\n`, crc);
    record?.(`${now} ${line}`);
  };
  return {
    now: () => now,
    after(delay, label, call) {
      seq += 1;
      push(heap, { time: now + Math.max(0, Math.round(delay)), seq, label, call });
    },
    step(until) {
      const next = heap[0];
      if (!next || next.time > until) {
        now = Math.max(now, until);
        return false;
      }
      pop(heap);
      now = next.time;
      count += 1;
      if (next.label !== '') note(next.label);
      next.call();
      return true;
    },
    note,
    hash: () => crc.toString(16).padStart(8, '0'),
    events: () => count,
  };
}

function isBefore(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.seq < b.seq);
}

function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (isBefore(heap[parent]!, event)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
    if (isBefore(last, heap[child]!)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}
