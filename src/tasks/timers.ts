/**
 * Timers of one task that end together.
 *
 * Used by controller.ts.
 */
import type { Clock, Timer } from '../host.js';

export interface Timers {
  readonly after: (ms: number, call: () => void) => void;
  readonly clear: () => void;
}

/** `afterwards` is called after each call. */
export function openTimers(clock: Pick<Clock, 'after'>, afterwards: () => void): Timers {
  const timers = new Set<Timer>();
  return {
    after: (ms, call) => {
      const timer = clock.after(ms, () => {
        timers.delete(timer);
        call();
        afterwards();
      });
      timers.add(timer);
    },
    clear: () => {
      for (const timer of timers) timer.cancel();
      timers.clear();
    },
  };
}
