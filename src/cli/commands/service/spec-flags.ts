/**
 * From flags to a service spec: `createdSpec` for `service create`, `changedSpec` for `service update`. Pure; files and
 * variables come in as functions.
 *
 * Not here: which flags there are (options.ts), values of lists (list-flags.ts).
 */
import type { ContainerSpec, EndpointMode, RestartCondition, RestartPolicy, ServiceSpec } from '../../../gen/types.js';
import { logDrivers, parseLogOption } from '../../../tasks/spec/logging.js';
import { parseUserns } from '../../../tasks/spec/security.js';
import { parseBytes, parseWords } from '../../../tasks/spec/values.js';
import { type Flags, orBadValue } from '../../flags.js';
import { changedHealthcheck } from './health-flags.js';
import { changedLimits, changedReservations } from './limit-flags.js';
import { changedLists, type FlagWorld } from './list-flags.js';
import { changedLoss } from './loss-flags.js';
import { createdMode, scaledMode, withConcurrency } from './mode-flags.js';
import { oneOf } from './one-of.js';
import { changedReadyCheck } from './ready-flags.js';
import { emptyContainer, withContainer, withTask } from './spec-edit.js';
import { changedUpdate } from './update-flags.js';

const countMax = 100_000;
const anyCount = { min: 0, max: countMax };

export interface CreateArguments {
  readonly image: string;
  readonly command: readonly string[];
}

export function createdSpec(flags: Flags, args: CreateArguments, world: FlagWorld): ServiceSpec {
  const mode = createdMode(flags);
  const spec: ServiceSpec = {
    name: flags.text('name') ?? nameFromImage(args.image),
    labels: {},
    stack: '',
    task: {
      containers: [{ ...emptyContainer, image: args.image, command: args.command }],
      limits: undefined,
      reservations: undefined,
      restart: { condition: 'any', delayMs: undefined, delayMaxMs: undefined, attemptsMax: 0, windowMs: 0 },
      placement: { constraints: [], perNodeMax: 0, spread: [] },
      networks: [],
      runtime: '',
      force: 0,
    },
    ports: [],
    endpointMode: 'vip',
    mode,
  };
  return changedLists(changedPolicies(spec, flags), flags, { ...world, adds: '' });
}

/** "registry.site:5000/team/web:2" is called web. */
export function nameFromImage(image: string): string {
  const last = image.replace(/@.*$/u, '').split('/').at(-1) ?? '';
  return last.replace(/:.*$/u, '').replaceAll(/[^a-zA-Z0-9-]+/gu, '-');
}

export function changedSpec(spec: ServiceSpec, flags: Flags, world: FlagWorld): ServiceSpec {
  const values = changedPolicies(spec, flags);
  const image = flags.text('image');
  const args = flags.parsed('args', parseWords);
  const changed = withContainer(values, container => ({
    ...container,
    image: image ?? container.image,
    command: args ?? container.command,
  }));
  const listed = changedLists(changed, flags, { ...world, adds: '-add' });
  return flags.isOn('force') ? withTask(listed, task => ({ ...task, force: task.force + 1 })) : listed;
}

function changedPolicies(spec: ServiceSpec, flags: Flags): ServiceSpec {
  return changedLoss(changedUpdate(changedValues(spec, flags), flags), flags);
}

/** Every flag that sets one field. */
function changedValues(spec: ServiceSpec, flags: Flags): ServiceSpec {
  const replicas = flags.integer('replicas', anyCount);
  const endpointMode = flags.parsed('endpoint-mode', oneOf<EndpointMode>('vip', 'vip-sticky', 'dnsrr'));
  const changed: ServiceSpec = {
    ...spec,
    mode: replicas === undefined ? withConcurrency(spec, flags) : scaledMode(spec, replicas, flags),
    endpointMode: endpointMode ?? spec.endpointMode,
  };
  const perNodeMax = flags.integer('replicas-max-per-node', anyCount);
  return withContainer(
    withTask(changed, task => ({
      ...task,
      limits: changedLimits(task.limits, flags),
      reservations: changedReservations(task.reservations, flags),
      restart: changedRestart(task.restart, flags),
      placement: perNodeMax === undefined ? task.placement : { ...task.placement, perNodeMax },
    })),
    container => changedContainer(container, flags),
  );
}

function changedRestart(restart: RestartPolicy, flags: Flags): RestartPolicy {
  return {
    ...restart,
    condition:
      flags.parsed('restart-condition', oneOf<RestartCondition>('any', 'on-failure', 'none')) ?? restart.condition,
    delayMs: flags.durationMs('restart-delay') ?? restart.delayMs,
    attemptsMax: flags.integer('restart-max-attempts', { min: 0, max: 1_000_000 }) ?? restart.attemptsMax,
    windowMs: flags.durationMs('restart-window') ?? restart.windowMs,
  };
}

function changedContainer(container: ContainerSpec, flags: Flags): ContainerSpec {
  const upper = (name: string): readonly string[] => flags.list(name).map(capability => capability.toUpperCase());
  return {
    ...container,
    entrypoint: flags.parsed('entrypoint', parseWords) ?? container.entrypoint,
    user: flags.text('user') ?? container.user,
    workingDir: flags.text('workdir') ?? container.workingDir,
    hostname: flags.text('hostname') ?? container.hostname,
    pullPolicy: flags.text('pull') ?? container.pullPolicy,
    init: flags.onOff('init') ?? container.init,
    tty: flags.onOff('tty') ?? container.tty,
    stdin: flags.onOff('interactive') ?? container.stdin,
    readOnly: flags.onOff('read-only') ?? container.readOnly,
    stopSignal: flags.text('stop-signal') ?? container.stopSignal,
    stopGraceMs: flags.durationMs('stop-grace-period') ?? container.stopGraceMs,
    shmBytes: flags.parsed('shm-size', parseBytes) ?? container.shmBytes,
    userns: flags.parsed('userns', parseUserns) ?? container.userns,
    privileged: flags.onOff('privileged') ?? container.privileged,
    oomScoreAdj: flags.integer('oom-score-adj', { min: -1000, max: 1000 }) ?? container.oomScoreAdj,
    healthcheck: changedHealthcheck(container.healthcheck, flags),
    log: changedLog(container.log, flags),
    readyCheck: changedReadyCheck(container.readyCheck, flags),
    // One list gains what the other loses, so that the later word counts.
    capAdd: united(without(container.capAdd, upper('cap-drop')), upper('cap-add')),
    capDrop: united(without(container.capDrop, upper('cap-add')), upper('cap-drop')),
  };
}

function changedLog(log: ContainerSpec['log'], flags: Flags): ContainerSpec['log'] {
  flags.parsed('log-driver', oneOf(...logDrivers));
  let changed = log;
  for (const text of flags.list('log-opt')) {
    const [name = '', ...value] = text.split('=');
    changed = orBadValue('--log-opt', text, parseLogOption(name, value.join('='), changed));
  }
  return changed;
}

function without(list: readonly string[], removed: readonly string[]): readonly string[] {
  return list.filter(item => !removed.includes(item));
}

function united(list: readonly string[], added: readonly string[]): readonly string[] {
  return [...new Set([...list, ...added])];
}
