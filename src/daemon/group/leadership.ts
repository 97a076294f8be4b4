/**
 * The leader's half of a manager: begun when this member leads and everything of earlier leaders is applied here, and gone
 * (awaited, not merely told) before it is begun again or the node ends.
 *
 *     raft: leading, term 7      ──►  scope opened, loops started
 *     raft: follower             ──►  nobody finds it any more, its signal aborts, all that runs in it is awaited
 *
 * Keeps true: there is at most one at a time; what is asked of it while it ends is answered with not-leader.
 *
 * Called by cluster-parts.ts. Not here: what a leader does (`open`), who leads (raft).
 */
import { CoveyError } from '../../errors.js';
import type { Lifetime } from '../../lifetime.js';

export interface Leadership<Parts> {
  /** What the leader runs; undefined while this manager does not lead. */
  readonly find: () => Led<Parts> | undefined;
  /** Raft says so. */
  readonly begin: (term: number) => void;
  readonly end: () => void;
  /** Resolves when it does not, and nothing of it runs any more. */
  readonly ended: () => Promise<void>;
}

export interface Led<Parts> {
  readonly term: number;
  readonly parts: Parts;
  /** Aborts when it ends. */
  readonly signal: AbortSignal;
}

export function openLeadership<Parts>(options: {
  readonly lifetime: Lifetime;
  readonly open: (term: number, lifetime: Lifetime) => Parts;
}): Leadership<Parts> {
  let wanted: number | undefined;
  let led: (Led<Parts> & { readonly scope: Lifetime }) | undefined;
  let turning: Promise<void> | undefined;
  const turn = async (): Promise<void> => {
    while (led?.term !== wanted) {
      const ending = led;
      led = undefined;
      await ending?.scope[Symbol.asyncDispose]();
      const term = wanted;
      if (term === undefined || options.lifetime.signal.aborted) continue;
      const scope = options.lifetime.child(`leading in term ${term}`);
      led = { term, scope, signal: scope.signal, parts: options.open(term, scope) };
    }
  };
  const want = (term: number | undefined): void => {
    wanted = options.lifetime.signal.aborted ? undefined : term;
    turning ??= turn().finally(() => {
      turning = undefined;
    });
  };
  options.lifetime.signal.addEventListener('abort', () => want(undefined), { once: true });
  return {
    find: () => (led === undefined || led.term !== wanted ? undefined : led),
    begin: want,
    end: () => want(undefined),
    ended: async () => {
      await turning;
    },
  };
}

/** What somebody hears who asks a manager that does not lead. */
export function notLeading(what: string): CoveyError {
  return new CoveyError('not-leader', `${what}: this manager does not lead`);
}
