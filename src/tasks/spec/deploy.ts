/**
 * The key `deploy` of a service: mode and number, resources, restart policy, placement, how it is updated.
 *
 * Not here: the key `restart` (service.ts), resources (limits.ts).
 */
import type { Reconcile, RestartCondition, UpdateFailureAction, UpdateOrder } from '../../gen/types.js';
import {
  type Field,
  type FindField,
  problem,
  readChoice,
  readInteger,
  readItems,
  readKeys,
  readPairs,
  readParsed,
  readText,
  readTexts,
} from './fields.js';
import { readResources } from './limits.js';
import type { DeployModel, RestartModel, ServiceMode, UpdateModel } from './model.js';
import { parseDurationMs, parseRatio } from './values.js';

const countMax = 100_000;
const modes: readonly ServiceMode[] = ['replicated', 'global', 'replicated-job', 'global-job'];
const reconciles: readonly Reconcile[] = ['keep-original', 'keep-replacement'];

export function readDeploy(field: Field | undefined): DeployModel {
  const find = keysOf(field, 'deploy', {
    known: [
      'mode',
      'replicas',
      'labels',
      'endpoint_mode',
      'resources',
      'restart_policy',
      'placement',
      'update_config',
      'rollback_config',
      'x-lost-after',
      'x-reconcile',
      'x-stop-after-disconnect',
      'x-max-concurrent',
    ],
    notHonoured: [],
  });
  const resources = keysOf(find('resources'), 'resources', { known: ['limits', 'reservations'], notHonoured: [] });
  const placement = keysOf(find('placement'), 'placement', {
    known: ['constraints', 'max_replicas_per_node', 'preferences'],
    notHonoured: [],
  });
  const replicasField = find('replicas');
  const replicas = readInteger(replicasField, { min: 0, max: countMax });
  return {
    mode: readChoice(find('mode'), modes),
    concurrentMax: readInteger(find('x-max-concurrent'), { min: 0, max: countMax }),
    replicas:
      replicasField === undefined || replicas === undefined
        ? undefined
        : { count: replicas, place: replicasField.tree.place },
    labels: new Map(readPairs(find('labels'))),
    endpointMode: readChoice(find('endpoint_mode'), ['vip', 'dnsrr', 'vip-sticky']),
    limits: readResources(resources('limits'), 'limits'),
    reservations: readResources(resources('reservations'), 'reservations'),
    restart: readRestart(find('restart_policy')),
    constraints: readTexts(placement('constraints')) ?? [],
    perNodeMax: readInteger(placement('max_replicas_per_node'), { min: 0, max: countMax }),
    spread: readItems(placement('preferences')).flatMap(readPreference),
    update: readUpdate(find('update_config'), 'update_config'),
    rollback: readUpdate(find('rollback_config'), 'rollback_config'),
    loss: {
      lostAfterMs: readParsed(find('x-lost-after'), parseDurationMs),
      reconcile: readChoice(find('x-reconcile'), reconciles),
      stopAfterDisconnectMs: readParsed(find('x-stop-after-disconnect'), parseDurationMs),
    },
  };
}

/** "spread" is the only kind that there is. */
function readPreference(field: Field): readonly string[] {
  const find = readKeys(field, { what: 'a preference', known: ['spread'], notHonoured: [] });
  const spread = readText(find('spread'));
  return spread === undefined ? (problem(field, 'stack-type', 'has no spread') ?? []) : [spread];
}

function keysOf(
  field: Field | undefined,
  what: string,
  keys: { readonly known: readonly string[]; readonly notHonoured: readonly string[] },
): FindField {
  return field === undefined ? () => undefined : readKeys(field, { what, ...keys });
}

const failureActions: readonly UpdateFailureAction[] = ['pause', 'continue', 'rollback'];
const orders: readonly UpdateOrder[] = ['stop-first', 'start-first'];

function readUpdate(field: Field | undefined, what: 'update_config' | 'rollback_config'): UpdateModel {
  const find = keysOf(field, what, {
    known: ['parallelism', 'delay', 'failure_action', 'monitor', 'max_failure_ratio', 'order', 'x-deadline'],
    notHonoured: [],
  });
  return {
    parallelism: readInteger(find('parallelism'), { min: 0, max: countMax }),
    delayMs: readParsed(find('delay'), parseDurationMs),
    failureAction: readChoice(
      find('failure_action'),
      failureActions.filter(action => what === 'update_config' || action !== 'rollback'),
    ),
    monitorMs: readParsed(find('monitor'), parseDurationMs),
    maxFailureRatio: readParsed(find('max_failure_ratio'), parseRatio),
    order: readChoice(find('order'), orders),
    deadlineMs: readParsed(find('x-deadline'), parseDurationMs),
  };
}

const conditions: readonly RestartCondition[] = ['any', 'on-failure', 'none'];

function readRestart(field: Field | undefined): RestartModel {
  const find = keysOf(field, 'restart_policy', {
    known: ['condition', 'delay', 'max_attempts', 'window'],
    notHonoured: [],
  });
  return {
    condition: readChoice(find('condition'), conditions),
    delayMs: readParsed(find('delay'), parseDurationMs),
    attemptsMax: readInteger(find('max_attempts'), { min: 0, max: 1_000_000 }),
    windowMs: readParsed(find('window'), parseDurationMs),
  };
}
