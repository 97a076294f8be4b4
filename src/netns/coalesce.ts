/**
 * Many requests, few runs: a request that comes after a quiet time waits a moment for company, those that come in a burst are
 * taken together, and never do two runs overlap. A request resolves when a run that began after it has ended.
 *
 * Not here: what a run does (stack.ts).
 */
import type { Clock, Timer } from '../host.js';

export interface Coalescer {
  readonly request: () => Promise<void>;
  /** Nothing runs from here on; requests under way are rejected with the reason. */
  readonly close: (reason: Error) => void;
}

export interface CoalescerOptions {
  readonly clock: Clock;
  readonly run: () => Promise<void>;
  /** Wait of the first request after a quiet time. */
  readonly firstMs: number;
  /** Least wait between the end of a run and the next one. */
  readonly burstMs: number;
}

/** The wait after a run is this many times what the run took (but at most `pauseMaxMs`): large tables must not fill the day. */
const pauseFactor = 4;
const pauseMaxMs = 250;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function openCoalescer({ clock, run, firstMs, burstMs }: CoalescerOptions): Coalescer {
  let waiters: Waiter[] = [];
  let timer: Timer | undefined;
  let running = false;
  let endedAtMs = Number.NEGATIVE_INFINITY;
  let pauseMs = burstMs;
  let closed: Error | undefined;
  const start = async (): Promise<void> => {
    timer = undefined;
    running = true;
    const startedAtMs = clock.monotonicMs();
    const served = waiters;
    waiters = [];
    try {
      await run();
      for (const { resolve } of served) resolve();
    } catch (error) {
      for (const { reject } of served) reject(error);
    } finally {
      running = false;
      endedAtMs = clock.monotonicMs();
      pauseMs = Math.max(burstMs, Math.min(pauseMaxMs, (endedAtMs - startedAtMs) * pauseFactor));
      if (waiters.length > 0) arm();
    }
  };
  const arm = (): void => {
    if (timer !== undefined || running || closed !== undefined) return;
    const quietForMs = clock.monotonicMs() - endedAtMs;
    timer = clock.after(quietForMs >= pauseMs ? firstMs : pauseMs - quietForMs, () => void start());
  };
  return {
    request: () =>
      new Promise((resolve, reject) => {
        if (closed !== undefined) {
          reject(closed);
          return;
        }
        waiters.push({ resolve, reject });
        arm();
      }),
    close: reason => {
      closed = reason;
      timer?.cancel();
      for (const { reject } of waiters.splice(0)) reject(reason);
    },
  };
}
