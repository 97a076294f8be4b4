/**
 * Repeats what may pass: cut connections, 429 and 5xx, slow answers. The delays double with a random part, a registry's
 * Retry-After is obeyed, and without any progress for the whole of the patience the last reason is the answer.
 *
 * Not here: what is asked (client.ts, blob.ts).
 */
import { CoveyError, codeOf, deepest, messageOf } from '../../../errors.js';
import type { Clock, Random } from '../../../host.js';

export interface PatienceLimits {
  /** Without a byte of progress. */
  readonly giveUpMs: number;
  readonly delayFirstMs: number;
  readonly delayMaxMs: number;
  /** In any such time of a body at least `windowMinBytes` have to come. */
  readonly windowMs: number;
  readonly windowMinBytes: number;
}

export const patienceLimits: PatienceLimits = {
  giveUpMs: 120_000,
  delayFirstMs: 500,
  delayMaxMs: 30_000,
  windowMs: 30_000,
  windowMinBytes: 16_384,
};

export interface PatienceParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: PatienceLimits;
  /** Told before each wait: "…; again in 4 s". */
  readonly onWait: (text: string) => void;
}

export interface Patience {
  /** Something came: the delays begin anew. */
  readonly progress: () => void;
  /** Waits before the next attempt, or throws the error: it is lasting, or the patience is over. */
  readonly wait: (error: unknown, signal: AbortSignal) => Promise<void>;
}

export function openPatience({ clock, random, limits, onWait }: PatienceParts): Patience {
  let attempts = 0;
  let sinceMs = clock.monotonicMs();
  return {
    progress: () => {
      attempts = 0;
      sinceMs = clock.monotonicMs();
    },
    wait: async (error, signal) => {
      signal.throwIfAborted();
      if (codeOf(error) !== 'registry-unreachable') throw error;
      const asked = retryAfterMs(deepest(error, 'state') ?? '', clock.wallMs());
      const waitMs = planDelay({ attempts, asked, fraction: random.fraction() }, limits);
      const spentMs = clock.monotonicMs() - sinceMs;
      if (spentMs + waitMs > limits.giveUpMs) throw gaveUp(error, { attempts: attempts + 1, spentMs, asked });
      attempts += 1;
      onWait(`${messageOf(error)} (${deepest(error, 'state') ?? ''}); again in ${Math.ceil(waitMs / 1_000)} s`);
      await clock.sleep(waitMs, signal);
    },
  };
}

/** Does the work, again and again while what fails may pass. */
export async function patiently<Value>(
  parts: PatienceParts,
  signal: AbortSignal,
  work: () => Promise<Value>,
): Promise<Value> {
  const patience = openPatience(parts);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      await patience.wait(error, signal);
    }
  }
}

export function planDelay(
  now: { readonly attempts: number; readonly asked: number | undefined; readonly fraction: number },
  limits: Pick<PatienceLimits, 'delayFirstMs' | 'delayMaxMs'>,
): number {
  const step = Math.min(limits.delayMaxMs, limits.delayFirstMs * 2 ** Math.min(now.attempts, 20));
  const jittered = step / 2 + (step / 2) * now.fraction;
  // Never before it was asked for, and not all at once then.
  return now.asked === undefined ? jittered : Math.max(jittered, now.asked + (limits.delayFirstMs / 2) * now.fraction);
}

/** Seconds or a date, as the error's state repeats it. */
function retryAfterMs(state: string, wallMs: number): number | undefined {
  const text = /retry-after (\d+|[A-Z][a-z]{2}, [^:]+:\d\d:\d\d GMT)/.exec(state)?.[1];
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1_000;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - wallMs);
}

function gaveUp(
  cause: unknown,
  spent: { readonly attempts: number; readonly spentMs: number; readonly asked: number | undefined },
): CoveyError {
  const asked = spent.asked === undefined ? '' : `; it asks to wait ${Math.ceil(spent.asked / 1_000)} s`;
  return new CoveyError('registry-unreachable', `Cannot go on with the pull: ${messageOf(cause)}`, {
    state: `${deepest(cause, 'state') ?? 'no answer'}; ${spent.attempts} attempts in ${Math.round(spent.spentMs / 1_000)} s${asked}`,
    hint: 'repeat when the registry answers again',
  });
}
