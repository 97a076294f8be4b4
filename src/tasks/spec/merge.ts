/**
 * Several stack files as one, as Docker merges them: services by name, their maps key by key, plain values and commands
 * replaced by the later file, lists appended; ports by published number and protocol, mounts by target, secrets and configs by
 * source, networks by name. A network, volume, secret or config of the later file replaces that of the earlier one whole.
 *
 * Two oddities of Docker are not followed: a later `false` does count, and a later health test replaces the earlier one.
 *
 * Not here: reading (objects.ts). Variables were put in before.
 */
import type { PortSpec } from '../../gen/types.js';
import type { DeployModel, FileUse, LifecycleModel, MountModel, ServiceModel, StackModel } from './model.js';

export function mergeStacks(base: StackModel, later: StackModel): StackModel {
  const services = new Map(base.services);
  for (const [name, service] of later.services) {
    const before = services.get(name);
    services.set(name, before === undefined ? service : mergeServices(before, service));
  }
  return {
    name: later.name ?? base.name,
    services,
    networks: new Map([...base.networks, ...later.networks]),
    volumes: new Map([...base.volumes, ...later.volumes]),
    secrets: new Map([...base.secrets, ...later.secrets]),
    configs: new Map([...base.configs, ...later.configs]),
  };
}

function mergeServices(base: ServiceModel, later: ServiceModel): ServiceModel {
  return {
    ...override(base, later),
    place: base.place,
    environment: new Map([...base.environment, ...later.environment]),
    labels: new Map([...base.labels, ...later.labels]),
    sysctls: new Map([...base.sysctls, ...later.sysctls]),
    ulimits: new Map([...base.ulimits, ...later.ulimits]),
    groups: [...base.groups, ...later.groups],
    capAdd: [...base.capAdd, ...later.capAdd],
    capDrop: [...base.capDrop, ...later.capDrop],
    extraHosts: [...base.extraHosts, ...later.extraHosts],
    dns: [...base.dns, ...later.dns],
    dnsSearch: [...base.dnsSearch, ...later.dnsSearch],
    dnsOptions: [...base.dnsOptions, ...later.dnsOptions],
    securityOpt: [...base.securityOpt, ...later.securityOpt],
    devices: [...base.devices, ...later.devices],
    deviceRules: [...base.deviceRules, ...later.deviceRules],
    healthcheck: mergeOptional(base.healthcheck, later.healthcheck),
    postStart: [...base.postStart, ...later.postStart],
    preStop: [...base.preStop, ...later.preStop],
    lifecycle: mergeLifecycles(base.lifecycle, later.lifecycle),
    ports: mergeByKey(base.ports, later.ports, portKey),
    mounts: mergeByKey(base.mounts, later.mounts, (one: MountModel) => one.mount.target),
    secrets: mergeByKey(base.secrets, later.secrets, (one: FileUse) => one.reference.name),
    configs: mergeByKey(base.configs, later.configs, (one: FileUse) => one.reference.name),
    networks: later.networkMode === undefined ? mergeNetworks(base, later) : new Map(),
    networkMode: later.networks.size > 0 ? undefined : (later.networkMode ?? base.networkMode),
    plainRestart: later.plainRestart ?? base.plainRestart,
    plainLimits: override(base.plainLimits, later.plainLimits),
    plainReservations: override(base.plainReservations, later.plainReservations),
    deploy: mergeDeploy(base.deploy, later.deploy),
  };
}

/** Containers by name, shared directories by target. */
function mergeLifecycles(base: LifecycleModel, later: LifecycleModel): LifecycleModel {
  return {
    ready: later.ready ?? base.ready,
    health: mergeOptional(base.health, later.health),
    members: mergeByKey(base.members, later.members, one => one.name),
    shared: mergeByKey(base.shared, later.shared, one => one.target),
  };
}

function mergeDeploy(base: DeployModel, later: DeployModel): DeployModel {
  return {
    ...override(base, later),
    labels: new Map([...base.labels, ...later.labels]),
    limits: override(base.limits, later.limits),
    reservations: override(base.reservations, later.reservations),
    restart: override(base.restart, later.restart),
    update: override(base.update, later.update),
    rollback: override(base.rollback, later.rollback),
    constraints: [...base.constraints, ...later.constraints],
    spread: [...base.spread, ...later.spread],
  };
}

function mergeNetworks(base: ServiceModel, later: ServiceModel): ServiceModel['networks'] {
  const networks = new Map(base.networks);
  for (const [name, use] of later.networks) {
    networks.set(name, { ...use, aliases: use.aliases ?? networks.get(name)?.aliases });
  }
  return networks;
}

/** What the later object says, else what the base says. */
function override<Model extends object>(base: Model, later: Model): Model {
  const said = Object.fromEntries(Object.entries(later).filter(([, value]) => value !== undefined));
  return { ...base, ...said };
}

function mergeOptional<Model extends object>(base: Model | undefined, later: Model | undefined): Model | undefined {
  if (base === undefined || later === undefined) return later ?? base;
  return override(base, later);
}

/** Items of the base whose key the later list has are replaced by all of the later list with that key. */
function mergeByKey<Item>(
  base: readonly Item[],
  later: readonly Item[],
  keyOf: (item: Item) => string,
): readonly Item[] {
  const replaced = new Set(later.map(keyOf));
  return [...base.filter(item => !replaced.has(keyOf(item))), ...later];
}

function portKey(port: PortSpec): string {
  return port.published === 0 ? `to ${port.target}/${port.protocol}` : `${port.published}/${port.protocol}`;
}
