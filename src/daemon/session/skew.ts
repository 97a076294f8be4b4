/**
 * How far the clocks of this node and of the manager that it talks to are apart: measured once a session, by the manager's time in
 * its welcome, and followed by the clock that never jumps.
 *
 * Keeps true: a clock that is set while the session is open is noticed within lookEveryMs, and said to the manager (hello).
 *
 * Called by session.ts. Not here: whether a clock can be right at all (daemon/clock-sanity.ts).
 */
import type { Clock } from '../../host.js';
import { timeText } from '../clock-sanity.js';

export interface SkewNews {
  /** Positive: this node's clock is ahead. */
  readonly skewMs: number;
  /** In words with both times; undefined: near enough. */
  readonly text: string | undefined;
}

/** Further apart is told; certificates begin two hours before they are made. */
export const skewMaxMs = 30_000;
const lookEveryMs = 10_000;
const jumpMs = 5_000;

export function describeSkew(skewMs: number, nowMs: number): string | undefined {
  if (Math.abs(skewMs) <= skewMaxMs) return undefined;
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const side = skewMs > 0 ? 'ahead of' : 'behind';
  return `the clock is ${seconds} s ${side} the manager's: it says ${timeText(nowMs)}, the manager's ${timeText(nowMs - skewMs)}`;
}

/** Runs while the session is open. */
export async function followSkew(
  clock: Clock,
  options: {
    /** The manager's clock, as it said it just now. */
    readonly managerMs: number;
    readonly onNews: (news: SkewNews) => void;
    /** This node's clock was set. */
    readonly onJump: () => void;
  },
  signal: AbortSignal,
): Promise<void> {
  const offset = (): number => clock.wallMs() - clock.monotonicMs();
  const managerOffset = options.managerMs - clock.monotonicMs();
  let said = offset();
  for (;;) {
    const skewMs = offset() - managerOffset;
    options.onNews({ skewMs, text: describeSkew(skewMs, clock.wallMs()) });
    await clock.sleep(lookEveryMs, signal);
    if (Math.abs(offset() - said) < jumpMs) continue;
    said = offset();
    options.onJump();
  }
}
