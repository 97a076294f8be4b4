/**
 * A clock that stands still until a test advances it. Timers fire in order of time, then of creation; between two of them
 * all promises that are ready run.
 */

import { asCoveyError } from '../src/errors.js';
import type { Clock } from '../src/host.js';

export interface FakeClock extends Clock {
  /** Moves time on, firing what is due on the way. */
  readonly advance: (ms: number) => Promise<void>;
  /** Shifts the time of day alone. */
  readonly jump: (ms: number) => void;
  /** Time goes on while nothing runs, as in a virtual machine that is paused: what is due meanwhile fires at the next advance. */
  readonly pause: (ms: number) => void;
  readonly pending: () => number;
}

interface Due {
  readonly atMs: number;
  readonly sequence: number;
  readonly call: () => void;
}

export function makeFakeClock(wallStartMs = 1_700_000_000_000): FakeClock {
  let nowMs = 0;
  let wallOffsetMs = wallStartMs;
  let sequence = 0;
  const due = new Set<Due>();
  const after = (ms: number, call: () => void) => {
    const entry: Due = { atMs: nowMs + ms, sequence: sequence++, call };
    due.add(entry);
    return { cancel: () => void due.delete(entry) };
  };
  const next = (untilMs: number): Due | undefined =>
    [...due].filter(entry => entry.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence)[0];
  return {
    monotonicMs: () => nowMs,
    wallMs: () => nowMs + wallOffsetMs,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(asCoveyError(signal.reason));
        const timer = after(ms, resolve);
        signal.addEventListener('abort', () => {
          timer.cancel();
          reject(asCoveyError(signal.reason));
        });
      }),
    advance: async ms => {
      const untilMs = nowMs + ms;
      await settle();
      for (let entry = next(untilMs); entry !== undefined; entry = next(untilMs)) {
        due.delete(entry);
        nowMs = Math.max(nowMs, entry.atMs);
        entry.call();
        await settle();
      }
      nowMs = untilMs;
    },
    jump: ms => {
      wallOffsetMs += ms;
    },
    pause: ms => {
      nowMs += ms;
    },
    pending: () => due.size,
  };
}

/** Lets everything that waits only for promises run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(resolve => setImmediate(resolve));
}
