/**
 * Waits of the network that end with their caller: with the reason, as an error of covey's own.
 *
 * Called by stack.ts. Not here: what is waited for.
 */
import { CoveyError } from '../errors.js';

export async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(abortReason(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

export function abortReason(signal: AbortSignal): CoveyError {
  if (signal.reason instanceof CoveyError) return signal.reason;
  return new CoveyError('cancelled', 'Cannot go on with the network: cancelled', { cause: signal.reason });
}
