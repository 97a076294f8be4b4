/**
 * The flags of `service create` and `service update` that say what the loss of a node means for the service's tasks.
 *
 * Not here: what follows from them (daemon/orchestrate, tasks/), other flags (options.ts, spec-flags.ts).
 */
import type { LossPolicy, Reconcile, ServiceSpec } from '../../../gen/types.js';
import type { OptionDefinition } from '../../definition.js';
import type { Flags } from '../../flags.js';
import { oneOf } from './one-of.js';

const reconciles = ['keep-original', 'keep-replacement'] as const;

export const lossOptions: readonly OptionDefinition[] = [
  {
    flags: '--lost-after <duration>',
    says: 'Run its tasks elsewhere when their node is silent for so long (default: when the node is lost)',
  },
  {
    flags: '--reconcile <policy>',
    says: 'Which task stays when a lost node returns: keep-original (default) or keep-replacement',
    completes: [...reconciles],
  },
  {
    flags: '--stop-after-disconnect <duration>',
    says: 'A node that hears no manager for so long stops its tasks by itself (0s: never, the default)',
  },
];

const none: LossPolicy = { reconcile: 'keep-original', stopAfterDisconnectMs: 0 };

export function changedLoss(spec: ServiceSpec, flags: Flags): ServiceSpec {
  const before = spec.loss ?? none;
  const lostAfterMs = flags.durationMs('lost-after');
  const reconcile = flags.parsed('reconcile', oneOf<Reconcile>(...reconciles));
  const stopAfterDisconnectMs = flags.durationMs('stop-after-disconnect');
  if ([lostAfterMs, reconcile, stopAfterDisconnectMs].every(value => value === undefined)) return spec;
  const loss: LossPolicy = {
    lostAfterMs: lostAfterMs ?? before.lostAfterMs,
    reconcile: reconcile ?? before.reconcile,
    stopAfterDisconnectMs: stopAfterDisconnectMs ?? before.stopAfterDisconnectMs,
  };
  return { ...spec, loss };
}
