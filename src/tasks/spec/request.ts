/**
 * From the merged model to the specs that the control API takes: names become full names ("shop_web"), references are checked,
 * defaults are filled in. What the file says is complete here, so this is where contradictions are found.
 *
 * Not here: whether images, nodes or subnets exist (daemon/control), changes against what runs (DeployStack itself).
 */
import type {
  ContainerSpec,
  DeployStackRequest,
  FileReference,
  LossPolicy,
  Mount,
  NetworkAttachment,
  NetworkSpec,
  RestartPolicy,
  ServiceSpec,
  StackFile,
  TaskSpec,
  UpdateConfig,
} from '../../gen/types.js';
import { resourcesOf } from './limits.js';
import type {
  DeployModel,
  Environment,
  FileModel,
  FileUse,
  HealthcheckModel,
  LossModel,
  NetworkUse,
  Reference,
  RestartModel,
  ServiceModel,
  StackModel,
  UpdateModel,
} from './model.js';
import type { Report } from './problems.js';

export type StackSpecs = Pick<DeployStackRequest, 'services' | 'networks' | 'secrets' | 'configs'>;

interface Naming {
  readonly stack: string;
  readonly model: StackModel;
  readonly report: Report;
}

export function requestOf(model: StackModel, stack: string, report: Report): StackSpecs {
  const naming: Naming = { stack, model, report };
  return {
    services: [...model.services].map(([name, service]) => serviceSpec(naming, name, service)),
    networks: networkSpecs(naming),
    secrets: fileSpecs(naming, model.secrets),
    configs: fileSpecs(naming, model.configs),
  };
}

/** The name that the cluster knows an object of the file by. */
function fullName(
  naming: Naming,
  name: string,
  object: { readonly external: boolean; readonly name: string | undefined },
): string {
  return object.name ?? (object.external ? name : `${naming.stack}_${name}`);
}

function serviceSpec(naming: Naming, name: string, service: ServiceModel): ServiceSpec {
  const { deploy } = service;
  if (service.image === undefined || service.image === '') {
    naming.report.add({ code: 'stack-type', place: service.place, message: `services.${name} has no image` });
  }
  if ((deploy.mode === 'global' || deploy.mode === 'global-job') && deploy.replicas !== undefined) {
    naming.report.add({
      code: 'stack-type',
      place: deploy.replicas.place,
      message: `services.${name}.deploy.replicas contradicts mode: ${deploy.mode}, which runs one task on every node`,
      hint: 'remove replicas',
    });
  }
  return {
    name: `${naming.stack}_${name}`,
    labels: labelsOf(deploy.labels),
    stack: naming.stack,
    task: taskSpec(naming, name, service),
    ports: service.ports,
    endpointMode: deploy.endpointMode ?? 'vip',
    mode: modeOf(deploy),
    update: updateOf(deploy.update),
    rollback: updateOf(deploy.rollback),
    loss: lossOf(deploy.loss),
  };
}

function modeOf({ mode, replicas, concurrentMax = 0 }: DeployModel): ServiceSpec['mode'] {
  const count = replicas?.count ?? 1;
  switch (mode) {
    case 'global':
      return { kind: 'global' };
    case 'global-job':
      return { kind: 'globalJob' };
    case 'replicated-job':
      return { kind: 'replicatedJob', completions: count, concurrentMax };
    default:
      return { kind: 'replicated', replicas: count };
  }
}

function lossOf(model: LossModel): LossPolicy | undefined {
  if (Object.values(model).every(value => value === undefined)) return undefined;
  const { lostAfterMs, reconcile = 'keep-original', stopAfterDisconnectMs = 0 } = model;
  return { lostAfterMs, reconcile, stopAfterDisconnectMs };
}

function updateOf(model: UpdateModel): UpdateConfig | undefined {
  if (Object.values(model).every(value => value === undefined)) return undefined;
  const { parallelism, delayMs = 0, monitorMs, failureAction = 'pause', maxFailureRatio = 0 } = model;
  const { order = 'stop-first', deadlineMs } = model;
  return { parallelism, delayMs, monitorMs, failureAction, maxFailureRatio, order, deadlineMs };
}

function taskSpec(naming: Naming, name: string, service: ServiceModel): TaskSpec {
  const { deploy } = service;
  return {
    containers: containersOf(naming, service),
    limits: resourcesOf(deploy.limits, service.plainLimits),
    reservations: resourcesOf(deploy.reservations, service.plainReservations),
    restart: restartOf(deploy.restart, service.plainRestart),
    placement: { constraints: deploy.constraints, perNodeMax: deploy.perNodeMax ?? 0, spread: deploy.spread },
    networks: attachmentsOf(naming, name, service),
    runtime: service.runtime ?? '',
    force: 0,
  };
}

/** The main container, then those under `x-covey`; all have the shared directories. */
function containersOf(naming: Naming, service: ServiceModel): readonly ContainerSpec[] {
  const { ready, health, members, shared } = service.lifecycle;
  const withShared = (one: ServiceModel): ServiceModel => ({
    ...one,
    mounts: [...one.mounts, ...shared.map(mount => ({ mount, volume: undefined }))],
  });
  return [
    { ...containerSpec(naming, withShared(service), health), readyCheck: ready },
    ...members.map(({ service: inner, health: live, ready: readyCheck, name, role, restart }) => ({
      ...containerSpec(naming, withShared(inner), live),
      ...{ name, role, restart, readyCheck },
    })),
  ];
}

function containerSpec(naming: Naming, service: ServiceModel, health: HealthcheckModel | undefined): ContainerSpec {
  if (health !== undefined && service.healthcheck !== undefined) {
    naming.report.add({
      code: 'stack-type',
      place: service.place,
      message: 'it has a healthcheck and x-covey health; it can have only one of them',
    });
  }
  const check = health ?? service.healthcheck;
  const mounts = service.mounts.map(({ mount, volume }) =>
    volume === undefined ? mount : volumeMount(naming, mount, volume),
  );
  const seen = new Set<string>();
  for (const { target } of mounts) {
    if (seen.has(target)) {
      naming.report.add({
        code: 'stack-type',
        place: service.place,
        message: `two mounts have the target "${target}"`,
      });
    }
    seen.add(target);
  }
  return {
    name: '',
    image: service.image ?? '',
    entrypoint: service.entrypoint ?? [],
    command: service.command ?? [],
    env: [...service.environment].flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`])),
    workingDir: service.workingDir ?? '',
    user: service.user ?? '',
    groups: service.groups,
    hostname: service.hostname ?? '',
    labels: labelsOf(service.labels),
    mounts,
    stopSignal: service.stopSignal ?? '',
    stopGraceMs: service.stopGraceMs,
    init: service.init ?? false,
    tty: service.tty ?? false,
    stdin: service.stdin ?? false,
    capAdd: service.capAdd,
    capDrop: service.capDrop,
    readOnly: service.readOnly ?? false,
    ulimits: [...service.ulimits.values()],
    sysctls: labelsOf(service.sysctls),
    healthcheck: check === undefined ? undefined : { ...emptyHealthcheck, ...check },
    log: service.log,
    secrets: fileReferences(naming, service.secrets, 'secret'),
    configs: fileReferences(naming, service.configs, 'config'),
    shmBytes: service.shmBytes ?? 0,
    oomScoreAdj: service.oomScoreAdj,
    extraHosts: service.extraHosts,
    dns: service.dns,
    dnsSearch: service.dnsSearch,
    dnsOptions: service.dnsOptions,
    role: 'main',
    restart: 'always',
    postStart: service.postStart,
    preStop: service.preStop,
    privileged: service.privileged ?? false,
    userns: service.userns ?? '',
    securityOpt: service.securityOpt,
    devices: service.devices,
    deviceCgroupRules: service.deviceRules,
    pullPolicy: service.pullPolicy ?? '',
  };
}

const emptyHealthcheck = { test: [], intervalMs: 0, timeoutMs: 0, startPeriodMs: 0, startIntervalMs: 0, retries: 0 };

function labelsOf(pairs: Environment): Readonly<Record<string, string>> {
  return Object.fromEntries([...pairs].map(([name, value]) => [name, value ?? '']));
}

function restartOf(policy: RestartModel, plain: RestartModel | undefined): RestartPolicy {
  const source = Object.values(policy).every(value => value === undefined) ? (plain ?? policy) : policy;
  return {
    condition: source.condition ?? 'any',
    delayMs: source.delayMs,
    delayMaxMs: undefined,
    attemptsMax: source.attemptsMax ?? 0,
    windowMs: source.windowMs ?? 0,
  };
}

function undefinedReference(
  naming: Naming,
  reference: Reference,
  what: 'network' | 'volume' | 'secret' | 'config',
): void {
  naming.report.add({
    code: 'stack-reference',
    place: reference.place,
    message: `${reference.path} names the ${what} "${reference.name}", which the file does not define`,
    hint: `define ${what}s.${reference.name} at the top level`,
  });
}

/** With all that its node needs to make the volume when it is missing there. */
function volumeMount(naming: Naming, mount: Mount, volume: Reference): Mount {
  const found = naming.model.volumes.get(volume.name);
  if (found === undefined) undefinedReference(naming, volume, 'volume');
  return {
    ...mount,
    source: fullName(naming, volume.name, found ?? { external: false, name: undefined }),
    volumeOptions: { ...labelsOf(found?.options ?? new Map()), ...mount.volumeOptions },
    volumeLabels: { ...labelsOf(found?.labels ?? new Map()), ...mount.volumeLabels },
  };
}

function fileReferences(naming: Naming, uses: readonly FileUse[], what: 'secret' | 'config'): readonly FileReference[] {
  const defined = what === 'secret' ? naming.model.secrets : naming.model.configs;
  return uses.map(use => {
    const { name } = use.reference;
    const found = defined.get(name);
    if (found === undefined) undefinedReference(naming, use.reference, what);
    return {
      source: fullName(naming, name, found ?? { external: false, name: undefined }),
      target: use.target ?? (what === 'config' ? `/${name}` : name),
      uid: use.uid ?? 0,
      gid: use.gid ?? 0,
      mode: use.mode,
    };
  });
}

const defaultNetwork = 'default';

/** A service without networks is on the network "default" of its stack; everywhere it is known by its short name too. */
function attachmentsOf(naming: Naming, name: string, service: ServiceModel): readonly NetworkAttachment[] {
  if (service.networkMode !== undefined) return [{ network: service.networkMode, aliases: [] }];
  const uses: readonly (readonly [string, NetworkUse | undefined])[] =
    service.networks.size === 0 ? [[defaultNetwork, undefined]] : [...service.networks];
  return uses.map(([network, use]) => {
    const found = naming.model.networks.get(network);
    if (found === undefined && network !== defaultNetwork && use !== undefined)
      undefinedReference(naming, use.reference, 'network');
    const aliases = [name, ...(use?.aliases ?? [])];
    return {
      network: fullName(naming, network, found ?? { external: false, name: undefined }),
      aliases: [...new Set(aliases)],
    };
  });
}

/** The networks that the file defines, and "default" when a service is on it. External ones exist already. */
function networkSpecs(naming: Naming): readonly NetworkSpec[] {
  const { model, stack } = naming;
  const usesDefault = [...model.services.values()].some(
    one => one.networkMode === undefined && (one.networks.size === 0 || one.networks.has(defaultNetwork)),
  );
  const implicit: NetworkSpec[] =
    usesDefault && !model.networks.has(defaultNetwork)
      ? [
          {
            name: `${stack}_${defaultNetwork}`,
            labels: {},
            stack,
            driver: 'overlay',
            subnets: [],
            internal: false,
            attachable: false,
          },
        ]
      : [];
  const named = [...model.networks].flatMap(([name, network]): NetworkSpec[] =>
    network.external
      ? []
      : [
          {
            name: fullName(naming, name, network),
            labels: labelsOf(network.labels),
            stack,
            driver: network.driver,
            subnets: network.subnets,
            internal: network.internal,
            attachable: network.attachable,
          },
        ],
  );
  return [...implicit, ...named];
}

function fileSpecs(naming: Naming, files: ReadonlyMap<string, FileModel>): readonly StackFile[] {
  return [...files].flatMap(([name, file]) =>
    file.external || file.data === undefined
      ? []
      : [{ name: fullName(naming, name, file), labels: labelsOf(file.labels), data: file.data }],
  );
}
