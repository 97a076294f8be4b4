/**
 * Waiting that ends: a promise that may never settle (a write to a stream that was cancelled) raced with a signal, without
 * leaving listeners behind.
 *
 * Not here: deadlines (lifetime.ts).
 */
import { asCoveyError } from './errors.js';

/** The promise's outcome, or a rejection with the signal's reason, whichever is first. */
export function abortable<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(asCoveyError(signal.reason));
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
  });
}
