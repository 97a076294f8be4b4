/**
 * The hardware of this machine, learnt once, a moment after the start, so that no start waits for it.
 *
 * Called by node.ts. Not here: finding it out (host-linux/machine.ts).
 */
import { messageOf } from '../errors.js';
import type { Clock, HardwareFacts, Machine } from '../host.js';
import type { Logger } from '../telemetry.js';

export interface Hardware {
  readonly current: () => HardwareFacts | undefined;
  /** `learnt` is called when it is known. */
  readonly learn: (signal: AbortSignal, learnt: () => Promise<void>) => Promise<void>;
}

/** Until then a daemon that starts has better things to do. */
const learnAfterMs = 3_000;

export function openHardware(parts: {
  readonly machine: Pick<Machine, 'hardware'>;
  readonly clock: Clock;
  readonly log: Logger;
}): Hardware {
  let known: HardwareFacts | undefined;
  return {
    current: () => known,
    learn: async (signal, learnt) => {
      await parts.clock.sleep(learnAfterMs, signal);
      try {
        known = await parts.machine.hardware();
        await learnt();
      } catch (error) {
        parts.log.warn('cannot find out about the hardware', { error: messageOf(error) });
      }
    },
  };
}
