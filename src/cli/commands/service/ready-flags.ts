/**
 * The flags --ready-… of `service create` and `service update`: their list, and what they do to a container.
 *
 * Not here: --health-…, which says whether it lives (health-flags.ts).
 */
import { CoveyError } from '../../../errors.js';
import type { ReadyCheck } from '../../../gen/types.js';
import { ok } from '../../../tasks/spec/values.js';
import type { OptionDefinition } from '../../definition.js';
import type { Flags } from '../../flags.js';
import { networkProbes } from './health-flags.js';

export const readyOptions: readonly OptionDefinition[] = [
  { flags: '--ready-cmd <command>', says: 'Command whose exit code says whether it takes work' },
  { flags: '--ready-http <url>', says: 'It takes work when this answers 200 to 399, such as :8080/ready' },
  { flags: '--ready-tcp <port>', says: 'It takes work when this port accepts a connection' },
  { flags: '--ready-grpc <port>', says: 'It takes work when gRPC health says so: PORT[/SERVICE]' },
  { flags: '--ready-interval <duration>', says: 'Time between two questions (default 5s)' },
  { flags: '--ready-timeout <duration>', says: 'A question that takes longer has failed (default 3s)' },
  { flags: '--ready-initial-delay <duration>', says: 'Ask nothing before this time' },
  { flags: '--ready-retries <number>', says: 'Failures in a row that make it not ready (default 3)' },
  { flags: '--ready-successes <number>', says: 'Successes in a row that make it ready (default 1)' },
  { flags: '--no-ready-check', says: 'Take it for ready as soon as it runs' },
];

const countMax = 1_000_000;

export function changedReadyCheck(check: ReadyCheck | undefined, flags: Flags): ReadyCheck | undefined {
  const probes = [
    flags.parsed('ready-cmd', text => ok<ReadyCheck['probe']>({ kind: 'exec', test: ['CMD-SHELL', text] })),
    ...networkProbes(flags, 'ready'),
  ].filter(probe => probe !== undefined);
  const counts = { min: 0, max: countMax };
  const times = {
    intervalMs: flags.durationMs('ready-interval'),
    timeoutMs: flags.durationMs('ready-timeout'),
    initialDelayMs: flags.durationMs('ready-initial-delay'),
    failures: flags.integer('ready-retries', counts),
    successes: flags.integer('ready-successes', counts),
  };
  const isTimed = Object.values(times).some(value => value !== undefined);
  const isOff = flags.isOn('no-ready-check');
  if (probes.length > 1 || (isOff && (probes.length > 0 || isTimed)))
    throw new CoveyError(
      'bad-argument',
      'Cannot use more than one of --ready-cmd, -http, -tcp, -grpc and --no-ready-check',
    );
  if (isOff) return undefined;
  const probe = probes[0] ?? check?.probe;
  if (probe === undefined && isTimed)
    throw new CoveyError('bad-argument', 'Cannot set times of a ready check that asks nothing', {
      hint: 'add --ready-http :8080/',
    });
  if (probe === undefined) return undefined;
  return {
    intervalMs: times.intervalMs ?? check?.intervalMs ?? 0,
    timeoutMs: times.timeoutMs ?? check?.timeoutMs ?? 0,
    initialDelayMs: times.initialDelayMs ?? check?.initialDelayMs ?? 0,
    failures: times.failures ?? check?.failures ?? 0,
    successes: times.successes ?? check?.successes ?? 0,
    probe,
  };
}
