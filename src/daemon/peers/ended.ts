/**
 * Notices that the process of another manager has ended, which its machine says at once, while silence has to be waited for.
 *
 *     a lane to it breaks ──► its address refuses ──► a random moment ──► it still refuses ──► `onEnded`
 *
 * The moment is another one at each manager: whoever is told second finds the votes of those that were told before.
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
  /** Whether the machine of that member says that nothing listens there. */
  readonly isRefused: (peer: PeerId, signal: AbortSignal) => Promise<boolean>;
  readonly onEnded: (peer: PeerId) => void;
}

const momentMinMs = 10;
const momentMaxMs = 150;
const askMs = 500;

/** Returns what to call when a lane to a member broke. */
export function watchEnds({
  clock,
  random,
  lifetime,
  matters,
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
          await clock.sleep(momentMinMs + momentMaxMs * random.fraction(), signal);
          if (matters(peer) && (await look(peer, signal))) onEnded(peer);
        }
      } finally {
        looking.delete(peer);
      }
    });
  };
}
