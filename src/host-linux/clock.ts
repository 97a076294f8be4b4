/**
 * The real clock and randomness.
 *
 * Timers never keep the process alive: the daemon lives by its servers and its lifetime, not by a timer. `performance` is not
 * imported: Node makes it at its first use, which most commands never come to.
 */
import { randomBytes } from 'node:crypto';
import { asCoveyError } from '../errors.js';
import type { Clock, Random } from '../host.js';

export const linuxClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(asCoveyError(signal.reason));
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(asCoveyError(signal.reason));
      };
      signal.addEventListener('abort', onAbort, { once: true });
    }),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

export const linuxRandom: Random = {
  bytes: sizeBytes => randomBytes(sizeBytes),
  fraction: () => randomBytes(4).readUInt32LE(0) / 2 ** 32,
};
