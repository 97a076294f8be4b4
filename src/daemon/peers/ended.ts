/**
 * Notices that the process of another manager has ended, which its machine says at once, while silence has to be waited for.
 *
 *     a lane to it breaks ──► its address refuses ──► this manager's turn ──► it still refuses ──► `onEnded`
 *
 * Each manager has a turn of its own: whoever is told second finds the votes of those that were told before, and two that ask at
 * the same moment would get none.
 *
 * Called by transport.ts. Not here: what follows from it (raft/node.ts).
 */
import type { Clock, Random } from '../../host.js';
import { deadline, type Lifetime } from '../../lifetime.js';
import type { PeerId } from '../../raft/core/types.js';

export interface EndedOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly lifetime: Lifetime;
  /** Only its end is worth to be known: that of the leader. */
  readonly matters: (peer: PeerId) => boolean;
  /** How many managers are told before this one. */
  readonly turnAfter: (peer: PeerId) => number;
  /** Whether the machine of that member says that nothing listens there. */
  readonly isRefused: (peer: PeerId, signal: AbortSignal) => Promise<boolean>;
  readonly onEnded: (peer: PeerId) => void;
}

/** Longer than a round of votes takes on a busy machine. */
export const turnMs = 200;
export const momentMinMs = 10;
export const momentMaxMs = 50;
const askMs = 500;

/** Returns what to call when a lane to a member broke. */
export function watchEnds({
  clock,
  random,
  lifetime,
  matters,
  turnAfter,
  isRefused,
  onEnded,
}: EndedOptions): (peer: PeerId) => void {
  const looking = new Set<PeerId>();
  const look = async (peer: PeerId, signal: AbortSignal): Promise<boolean> => {
    using limit = deadline(clock, { ms: askMs, parent: signal, reason: () => new Error('no answer') });
    return await isRefused(peer, limit.signal);
  };
  return peer => {
    if (looking.has(peer) || !matters(peer) || lifetime.signal.aborted) return;
    looking.add(peer);
    lifetime.run(`end of member ${peer}`, async signal => {
      try {
        // Again as long as it is believed to lead: a last word of it may have been on its way.
        while (matters(peer) && (await look(peer, signal))) {
          const momentMs = momentMinMs + momentMaxMs * random.fraction();
          await clock.sleep(turnMs * turnAfter(peer) + momentMs, signal);
          if (matters(peer) && (await look(peer, signal))) onEnded(peer);
        }
      } finally {
        looking.delete(peer);
      }
    });
  };
}
