/**
 * Several ways to the same thing, tried side by side but not at once: the next one begins when the one before it has had its head
 * start or has failed; the first that succeeds wins. So one that does not answer costs its head start and not its whole deadline.
 *
 * Keeps true: of what was made, all but the winner is given back before this returns; nothing runs on.
 *
 * Used where a manager is looked for (daemon/session, daemon/group). Not here: who comes first, what an attempt is.
 */
import type { Clock } from './host.js';

export interface Attempts<Way, Made extends AsyncDisposable> {
  readonly clock: Pick<Clock, 'sleep'>;
  /** Ends soon after its signal aborts. */
  readonly attempt: (way: Way, signal: AbortSignal) => Promise<Made>;
  /** How long this one is alone with those before it. */
  readonly headStartMs: (way: Way) => number;
  readonly onFailed?: (way: Way, error: unknown) => void;
}

/** Rejects with the last failure when all have failed; with undefined when there is no way. */
export async function firstOf<Way, Made extends AsyncDisposable>(
  ways: readonly Way[],
  options: Attempts<Way, Made>,
  signal: AbortSignal,
): Promise<{ readonly way: Way; readonly made: Made }> {
  const decided = new AbortController();
  const running = new Set<Promise<void>>();
  const outcome: { won?: { readonly way: Way; readonly made: Made }; failure?: unknown } = {};
  const ending = AbortSignal.any([signal, decided.signal]);
  const run = async (way: Way): Promise<void> => {
    try {
      const made = await options.attempt(way, ending);
      if (ending.aborted) return await made[Symbol.asyncDispose]();
      outcome.won = { way, made };
      decided.abort();
    } catch (error) {
      if (ending.aborted) return;
      outcome.failure = error;
      options.onFailed?.(way, error);
    }
  };
  for (const way of ways) {
    if (ending.aborted) break;
    const over = new AbortController();
    const one = run(way).finally(() => {
      running.delete(one);
      over.abort();
    });
    running.add(one);
    await headStart(options, way, AbortSignal.any([ending, over.signal]));
  }
  while (running.size > 0) await Promise.race(running);
  if (outcome.won !== undefined) return outcome.won;
  signal.throwIfAborted();
  throw outcome.failure;
}

/** Over at once when this way is. Never rejects. */
async function headStart<Way, Made extends AsyncDisposable>(
  { clock, headStartMs }: Attempts<Way, Made>,
  way: Way,
  signal: AbortSignal,
): Promise<void> {
  try {
    await clock.sleep(headStartMs(way), signal);
  } catch {
    // this one has failed, it is decided, or nobody wants it any more
  }
}
