/**
 * How many tasks a service has, from flags: `--mode`, `--replicas`, `--max-concurrent`.
 *
 * Pure. Called by spec-flags.ts and actions.ts. Not here: all other flags.
 */
import { CoveyError } from '../../../errors.js';
import type { ServiceSpec } from '../../../gen/types.js';
import type { Flags } from '../../flags.js';
import { type ModeName, modeName, modeNames } from '../../records.js';
import { oneOf } from './one-of.js';

type Mode = ServiceSpec['mode'];
const concurrentLimits = { min: 0, max: 100_000 };

/** With one task where nothing else is said; the number comes from the flags that set fields. */
export function createdMode(flags: Flags): Mode {
  const name = flags.parsed('mode', oneOf<ModeName>(...modeNames)) ?? 'replicated';
  if (name === 'global' || name === 'global-job') {
    const flag = ['replicas', 'max-concurrent'].find(each => flags.has(each));
    if (flag !== undefined) throw refused(flag, `--mode ${name}`, 'it runs one task on every node');
    return name === 'global' ? { kind: 'global' } : { kind: 'globalJob' };
  }
  if (name === 'replicated-job') return { kind: 'replicatedJob', completions: 1, concurrentMax: 0 };
  return { kind: 'replicated', replicas: 1 };
}

/** With another number of tasks, or of completions. */
export function scaledMode({ name, mode }: ServiceSpec, count: number, flags?: Flags): Mode {
  if (mode.kind === 'replicated') return withConcurrency({ name, mode: { ...mode, replicas: count } }, flags);
  if (mode.kind === 'replicatedJob') return withConcurrency({ name, mode: { ...mode, completions: count } }, flags);
  throw refused('replicas', `"${name}"`, `it is ${modeName(mode)}: one task on every node`);
}

export function withConcurrency({ name, mode }: Pick<ServiceSpec, 'name' | 'mode'>, flags?: Flags): Mode {
  const concurrentMax = flags?.integer('max-concurrent', concurrentLimits);
  if (concurrentMax === undefined) return mode;
  if (mode.kind === 'replicatedJob') return { ...mode, concurrentMax };
  throw refused('max-concurrent', `"${name}"`, `it is ${modeName(mode)}, and no replicated-job`);
}

function refused(flag: string, what: string, state: string): CoveyError {
  return new CoveyError('bad-argument', `Cannot use --${flag} with ${what}`, { state });
}
