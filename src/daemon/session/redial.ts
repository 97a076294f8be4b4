/**
 * When to call again after a session ended, and when an open one is dead. Pure.
 *
 * A node whose manager went away calls again after a random 0.1 to 2 s, so that a thousand nodes do not call at once. After an
 * attempt that nobody answered for a second the wait is short: the attempt itself was one, and the end of a cut should be
 * noticed within 2 s.
 *
 * Used by session.ts.
 */
import { codeOf } from '../../errors.js';

/**
 * Milliseconds until the next attempt after one that waited so long in vain; `fraction` is random in [0, 1). The end of a session
 * is no such attempt: all nodes see it at the same time.
 */
export function planRedial(error: unknown, fraction: number, waitedMs = 0): number {
  switch (codeOf(error)) {
    // Two machines with one identity must not throw each other out all day.
    case 'session-replaced':
      return Math.round(5_000 + 10_000 * fraction);
    case 'node-removed':
    case 'no-common-protocol':
      return Math.round(20_000 + 20_000 * fraction);
    // Another manager leads, or will in a moment.
    case 'not-leader':
    case 'no-leader':
      return Math.round(30 + 220 * fraction);
    case 'no-connection':
    case 'timeout':
      return Math.round(Math.max(20 + 80 * fraction, 100 + 400 * fraction - waitedMs));
    default:
      return Math.round(100 + 1_900 * fraction);
  }
}

export interface Pulse {
  /** When the last message of the manager came. */
  readonly heardMs: number;
  /** When the oldest heartbeat was sent that the manager answers and has not answered; undefined: none. */
  readonly askedMs: number | undefined;
}

/** Heartbeats with such a number are answered. */
export function isAnswered(sequence: number): boolean {
  return sequence % 5 === 0;
}

/** Whether the manager has been silent for too long since it was asked. */
export function isDead(pulse: Pulse, nowMs: number, heartbeatMs: number): boolean {
  return (
    pulse.askedMs !== undefined &&
    pulse.heardMs < pulse.askedMs &&
    nowMs - pulse.askedMs >= Math.max(heartbeatMs, 1_000)
  );
}
