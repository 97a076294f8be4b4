/**
 * The flags --health-… of `service create` and `service update`: what they do to a container.
 *
 * Not here: --ready-…, which says whether it takes work (ready-flags.ts); the list (options.ts).
 */
import { CoveyError } from '../../../errors.js';
import type { Healthcheck, HealthProbe } from '../../../gen/types.js';
import { parseGrpcProbe, parseHttpProbe, parseTcpProbe } from '../../../tasks/spec/probes.js';
import type { Flags } from '../../flags.js';

type Question = Pick<Healthcheck, 'test' | 'probe'>;

const none: Healthcheck = {
  test: [],
  intervalMs: 0,
  timeoutMs: 0,
  startPeriodMs: 0,
  startIntervalMs: 0,
  retries: 0,
};

export function changedHealthcheck(healthcheck: Healthcheck | undefined, flags: Flags): Healthcheck | undefined {
  const command = flags.text('health-cmd');
  const questions: readonly Question[] = [
    ...(command === undefined ? [] : [{ test: ['CMD-SHELL', command] }]),
    ...networkProbes(flags, 'health').map(ask => ({ test: [], probe: { ask } })),
    ...(flags.isOn('no-healthcheck') ? [{ test: ['NONE'] }] : []),
  ];
  if (questions.length > 1)
    throw new CoveyError(
      'bad-argument',
      'Cannot use more than one of --health-cmd, -http, -tcp, -grpc and --no-healthcheck',
    );
  const [question] = questions;
  const times = {
    intervalMs: flags.durationMs('health-interval'),
    timeoutMs: flags.durationMs('health-timeout'),
    retries: flags.integer('health-retries', { min: 0, max: 1_000_000 }),
    startPeriodMs: flags.durationMs('health-start-period'),
    startIntervalMs: flags.durationMs('health-start-interval'),
  };
  const isTimed = Object.values(times).some(value => value !== undefined);
  if (flags.isOn('no-healthcheck') && isTimed)
    throw new CoveyError('bad-argument', 'Cannot use --no-healthcheck together with --health-…');
  if (question === undefined && !isTimed) return healthcheck;
  const before = healthcheck ?? none;
  return {
    ...(question ?? { test: before.test, probe: before.probe }),
    intervalMs: times.intervalMs ?? before.intervalMs,
    timeoutMs: times.timeoutMs ?? before.timeoutMs,
    startPeriodMs: times.startPeriodMs ?? before.startPeriodMs,
    startIntervalMs: times.startIntervalMs ?? before.startIntervalMs,
    retries: times.retries ?? before.retries,
  };
}

/** Of --health-http, --ready-http and the like. */
export function networkProbes(flags: Flags, what: 'health' | 'ready'): readonly HealthProbe['ask'][] {
  return [
    flags.parsed(`${what}-http`, parseHttpProbe),
    flags.parsed(`${what}-tcp`, parseTcpProbe),
    flags.parsed(`${what}-grpc`, parseGrpcProbe),
  ].filter(probe => probe !== undefined);
}
