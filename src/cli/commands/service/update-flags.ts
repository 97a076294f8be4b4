/**
 * The flags --update-… and --rollback-… of `service create` and `service update`: their list, and what they do to a spec.
 *
 * Not here: other flags (options.ts, spec-flags.ts), going back and pausing (revisions.ts).
 */
import type { ServiceSpec, UpdateConfig } from '../../../gen/types.js';
import { parseRatio } from '../../../tasks/spec/values.js';
import type { OptionDefinition } from '../../definition.js';
import type { Flags } from '../../flags.js';
import { oneOf } from './one-of.js';

const updateActions = ['pause', 'continue', 'rollback'] as const;
const rollbackActions = ['pause', 'continue'] as const;
const orders = ['stop-first', 'start-first'] as const;

export const updateConfigOptions: readonly OptionDefinition[] = [
  ...optionsOf('update', 'An update', updateActions),
  ...optionsOf('rollback', 'A rollback', rollbackActions),
];

function optionsOf(prefix: string, what: string, actions: readonly string[]): readonly OptionDefinition[] {
  return [
    { flags: `--${prefix}-parallelism <number>`, says: `${what} replaces so many tasks at a time (default 1, 0: all)` },
    { flags: `--${prefix}-delay <duration>`, says: `${what} waits so long after each task (default 0s)` },
    {
      flags: `--${prefix}-order <order>`,
      says: `${what} stops the old task first (default) or starts the new one first`,
      completes: [...orders],
    },
    {
      flags: `--${prefix}-monitor <duration>`,
      says: 'A task that fails so soon after it began to run counts as failed (default 5s)',
    },
    {
      flags: `--${prefix}-failure-action <action>`,
      says: `What too many failures do: ${actions.join(', ')} (default pause)`,
      completes: [...actions],
    },
    {
      flags: `--${prefix}-max-failure-ratio <ratio>`,
      says: 'Share of failed tasks that is put up with, from 0 (default) to 1',
    },
    {
      flags: `--${prefix}-deadline <duration>`,
      says: 'Longest time without progress, then what is awaited counts as failed (default 10m)',
    },
  ];
}

export function changedUpdate(spec: ServiceSpec, flags: Flags): ServiceSpec {
  const update = changedConfig(spec.update, flags, { prefix: 'update', actions: updateActions });
  const rollback = changedConfig(spec.rollback, flags, { prefix: 'rollback', actions: rollbackActions });
  return { ...spec, update, rollback };
}

const none: UpdateConfig = { delayMs: 0, failureAction: 'pause', maxFailureRatio: 0, order: 'stop-first' };

function changedConfig(
  config: UpdateConfig | undefined,
  flags: Flags,
  { prefix, actions }: { readonly prefix: string; readonly actions: readonly UpdateConfig['failureAction'][] },
): UpdateConfig | undefined {
  const given = Object.entries({
    parallelism: flags.integer(`${prefix}-parallelism`, { min: 0, max: 100_000 }),
    delayMs: flags.durationMs(`${prefix}-delay`),
    monitorMs: flags.durationMs(`${prefix}-monitor`),
    failureAction: flags.parsed(`${prefix}-failure-action`, oneOf(...actions)),
    maxFailureRatio: flags.parsed(`${prefix}-max-failure-ratio`, parseRatio),
    order: flags.parsed(`${prefix}-order`, oneOf(...orders)),
    deadlineMs: flags.durationMs(`${prefix}-deadline`),
  }).filter(([, value]) => value !== undefined);
  return given.length === 0 ? config : { ...none, ...config, ...Object.fromEntries(given) };
}
