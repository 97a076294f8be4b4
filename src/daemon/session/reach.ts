/**
 * Which addresses of managers this node has tried in vain, and since when: for doctor, on the day on which nobody answers.
 *
 * Told by dial.ts. Not here: trying (dial.ts), the session (session.ts).
 */
import type { Clock } from '../../host.js';

export interface Unreached {
  readonly address: string;
  readonly nodeId: string;
  /** Wall time of the first try in vain after the last that was none. */
  readonly sinceMs: number;
  readonly problem: unknown;
}

export interface Reach {
  readonly reached: (address: string) => void;
  readonly failed: (target: { readonly address: string; readonly nodeId: string }, problem: unknown) => void;
  readonly unreached: () => readonly Unreached[];
}

/** Addresses that are remembered; the one that was tried longest ago goes first. */
const addressesMax = 64;

export function openReach(clock: Pick<Clock, 'wallMs'>): Reach {
  const known = new Map<string, Unreached>();
  return {
    reached: address => void known.delete(address),
    failed: ({ address, nodeId }, problem) => {
      const sinceMs = known.get(address)?.sinceMs ?? clock.wallMs();
      known.delete(address);
      known.set(address, { address, nodeId, sinceMs, problem });
      for (const oldest of known.keys()) if (known.size > addressesMax) known.delete(oldest);
    },
    unreached: () => [...known.values()],
  };
}
