/**
 * Whether the clock of this machine can be right. A machine whose battery is dead wakes in 1970, or at the time at which it was
 * made; by such a clock no certificate is valid yet, and nothing that depends on a date may be decided.
 *
 * Keeps true: nothing that covey knows to be past lies in the future of a clock that is believed: when this program was written,
 * the beginning of the node's own certificate, and the time that a manager confirmed last.
 *
 * `judgeClock` is the rule. Used by the renewal of certificates, and by session/ for what a manager's clock says. Not here: how far
 * clocks are apart while both can be right (session/skew.ts).
 */
import type { Clock, Files } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { Telemetry } from '../telemetry.js';
import { writtenAtMs } from '../version.js';

export interface ClockFacts {
  readonly nowMs: number;
  /** The node's certificate begins then. */
  readonly certifiedMs: number;
  /** A manager agreed that it was then; 0: none did yet. */
  readonly confirmedMs: number;
}

/** Why the clock can't be right, or undefined. */
export function judgeClock({ nowMs, certifiedMs, confirmedMs }: ClockFacts): string | undefined {
  const past = [
    { ms: writtenAtMs, what: 'this program was written' },
    { ms: certifiedMs, what: 'the certificate of this node begins' },
    { ms: confirmedMs - slackMs, what: 'a manager confirmed the time last' },
  ].sort((a, b) => b.ms - a.ms)[0];
  if (past === undefined || nowMs >= past.ms) return undefined;
  return `the clock says ${timeText(nowMs)}, and ${past.what} ${timeText(past.ms)}`;
}

export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

export interface ClockSanity {
  readonly isSane: () => boolean;
  /** A manager's clock agrees with this one now. */
  readonly confirm: () => void;
}

/** Clocks are set back by small steps, too. */
const slackMs = 3_600_000;
const lookEveryMs = 10_000;
const noteEveryMs = 3_600_000;

export async function openClockSanity(options: {
  readonly clock: Clock;
  readonly files: Pick<Files, 'findText' | 'replace'>;
  /** Where the confirmed time is remembered. */
  readonly path: string;
  readonly certifiedMs: () => number;
  readonly telemetry: Pick<Telemetry, 'raise' | 'lower' | 'log'>;
  readonly lifetime: Lifetime;
}): Promise<ClockSanity> {
  const { clock, files, path, telemetry, lifetime } = options;
  const remembered = Number(await files.findText(path));
  let confirmedMs = Number.isSafeInteger(remembered) ? remembered : 0;
  let notedMs = confirmedMs;
  const judge = (): string | undefined =>
    judgeClock({ nowMs: clock.wallMs(), certifiedMs: options.certifiedMs(), confirmedMs });
  const look = (): void => {
    const why = judge();
    if (why === undefined) telemetry.lower('clock-not-set');
    else {
      const message = `${why}: nothing is judged by it, certificates are neither renewed nor taken for expired`;
      telemetry.raise({ code: 'clock-not-set', message, hint: 'set the clock: chronyc makestep' });
    }
  };
  const note = async (): Promise<void> => {
    // Also one that is earlier: a clock that was far ahead must not make every right one wrong.
    if (Math.abs(confirmedMs - notedMs) < noteEveryMs) return;
    notedMs = confirmedMs;
    try {
      await files.replace(path, `${Math.round(confirmedMs)}\n`, { mode: 0o600 });
    } catch (error) {
      telemetry.log.warn('confirmed time not written', { error });
    }
  };
  look();
  lifetime.run('look at the clock', async signal => {
    for (;;) {
      await clock.sleep(lookEveryMs, signal);
      look();
      await note();
    }
  });
  return {
    isSane: () => judge() === undefined,
    confirm: () => {
      confirmedMs = clock.wallMs();
      look();
    },
  };
}
