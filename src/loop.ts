/**
 * A reconcile loop over keys: `touch(key)` says "look at this key again"; the loop calls `reconcile(key)` for one key at a
 * time each (several keys side by side up to a limit), never twice at once for one key, and again if it was touched
 * meanwhile. A failure puts that key, and only that key, on a growing back-off.
 *
 * Level-triggered: touching too often, late or for nothing is harmless.
 *
 * Not here: what is wanted and seen (the reconciler reads that itself).
 */
import type { Clock, Timer } from './host.js';
import { isCancellation, type Lifetime } from './lifetime.js';

export interface LoopOptions<Key> {
  readonly name: string;
  readonly clock: Clock;
  readonly lifetime: Lifetime;
  readonly reconcile: (key: Key, signal: AbortSignal) => Promise<void>;
  readonly onFailure: (key: Key, error: unknown, retryInMs: number) => void;
  /** Keys worked on at once. Default 1. */
  readonly concurrency?: number;
  /** First and longest wait after failures. Default 100 and 30,000. */
  readonly backoffMs?: number;
  readonly backoffMaxMs?: number;
}

export interface Loop<Key> {
  readonly touch: (key: Key) => void;
  /** Touches after a wait; an earlier touch does not cancel it. */
  readonly touchAfter: (key: Key, ms: number) => void;
  /** Resolves when no key waits or is worked on (keys on back-off do not count). */
  readonly idle: () => Promise<void>;
}

export function openLoop<Key>(options: LoopOptions<Key>): Loop<Key> {
  const waiting = new Set<Key>();
  const running = new Set<Key>();
  /** Touched while they were worked on: apart from those that wait, so that nobody walks past them. */
  const again = new Set<Key>();
  const failures = new Map<Key, number>();
  const timers = new Set<Timer>();
  const idlers: (() => void)[] = [];
  const { lifetime, clock } = options;
  const concurrency = options.concurrency ?? 1;

  const touchAfter = (key: Key, ms: number): void => {
    const timer = clock.after(ms, () => {
      timers.delete(timer);
      touch(key);
    });
    timers.add(timer);
  };
  const work = async (key: Key, signal: AbortSignal): Promise<void> => {
    try {
      await options.reconcile(key, signal);
      failures.delete(key);
    } catch (error) {
      if (signal.aborted && isCancellation(error)) return;
      const count = (failures.get(key) ?? 0) + 1;
      failures.set(key, count);
      const retryInMs = Math.min(
        options.backoffMaxMs ?? 30_000,
        (options.backoffMs ?? 100) * 2 ** Math.min(count - 1, 20),
      );
      options.onFailure(key, error, retryInMs);
      touchAfter(key, retryInMs);
    } finally {
      running.delete(key);
      if (again.delete(key)) waiting.add(key);
      pump();
    }
  };
  const pump = (): void => {
    if (lifetime.signal.aborted) return;
    for (const key of waiting) {
      if (running.size >= concurrency) return;
      waiting.delete(key);
      running.add(key);
      lifetime.run(options.name, signal => work(key, signal));
    }
    if (running.size === 0 && waiting.size === 0) for (const resolve of idlers.splice(0)) resolve();
  };
  const touch = (key: Key): void => {
    (running.has(key) ? again : waiting).add(key);
    pump();
  };
  lifetime.defer(`${options.name}/timers`, () => {
    for (const timer of timers) timer.cancel();
    for (const resolve of idlers.splice(0)) resolve();
  });
  return {
    touch,
    touchAfter,
    idle: () =>
      running.size === 0 && waiting.size === 0
        ? Promise.resolve()
        : new Promise(resolve => {
            idlers.push(resolve);
          }),
  };
}
