/**
 * Managers that were cut off from one another and have no leader ask for votes as soon as they reach each other again, instead of
 * when the next election is due by itself: up to 2 s earlier.
 *
 *     a member is reached again ──► nobody leads ──► this manager's turn ──► still nobody leads ──► `onLeaderless`
 *
 * Keeps true: managers that meet do not ask at the same moment, each has its turn. Asking where a leader is does no harm: votes are
 * asked for by a pre-vote, which members that hear from a leader refuse.
 *
 * Called by transport.ts. Not here: what follows from it (raft/node.ts), a leader that has ended (ended.ts).
 */
import type { Clock, Random } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import { momentMaxMs, momentMinMs, turnMs } from './ended.js';

export interface ReunionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly lifetime: Lifetime;
  readonly isLeaderless: () => boolean;
  /** How many managers ask before this one. */
  readonly turn: () => number;
  readonly onLeaderless: () => void;
}

/** Returns what to call when a member is reached again. */
export function watchReunions({
  clock,
  random,
  lifetime,
  isLeaderless,
  turn,
  onLeaderless,
}: ReunionOptions): () => void {
  let waits = false;
  return () => {
    if (waits || !isLeaderless() || lifetime.signal.aborted) return;
    waits = true;
    lifetime.run('reunion', async signal => {
      try {
        await clock.sleep(turnMs * turn() + momentMinMs + momentMaxMs * random.fraction(), signal);
        if (isLeaderless()) onLeaderless();
      } finally {
        waits = false;
      }
    });
  };
}
