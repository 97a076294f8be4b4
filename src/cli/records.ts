/**
 * Objects of the cluster as programs see them: flat JSON records whose field names are stable. Absent numbers are null, absent
 * texts empty, times RFC 3339.
 *
 * Called by the views of all lists and by `inspect`, which adds the spec.
 *
 * Not here: how people see them (the views in commands/).
 */
import type {
  ContainerStatus,
  Image,
  Network,
  NetworkMended,
  NetworkPolicy,
  Node,
  NodeHardware,
  PortSpec,
  Service,
  ServiceSpec,
  Task,
} from '../gen/types.js';
import type { JsonRecord } from './output/format.js';
import { renderTime } from './output/values.js';

export type NodeNames = Readonly<Record<string, string>>;

/** "web.1", or "web.rack1" for a task of a global service. */
export function taskName(task: Task, nodes: NodeNames): string {
  return `${task.serviceName}.${task.slot > 0 ? task.slot : (nodes[task.nodeId] ?? (task.nodeId || task.id.slice(0, 8)))}`;
}

/** Tasks that ended, and those that are to end soon, count no more. */
export function isLive(task: Task): boolean {
  return !endedStates.has(task.status.state);
}

const endedStates: ReadonlySet<string> = new Set(['complete', 'shutdown', 'failed', 'rejected', 'orphaned']);

export function taskRecord(task: Task, nodes: NodeNames): JsonRecord {
  const { status } = task;
  return {
    id: task.id,
    name: taskName(task, nodes),
    service: task.serviceName,
    slot: task.slot,
    node: nodes[task.nodeId] ?? task.nodeId,
    state: status.state,
    desiredState: task.desired,
    addresses: task.endpoints.flatMap(endpoint => endpoint.addresses),
    image: task.spec.containers[0]?.image ?? '',
    error: status.error,
    exitCode: status.exitCode ?? null,
    errorCode: status.errorCode,
    message: status.message,
    placeNote: task.placeNote ?? '',
    health: status.health,
    paused: status.paused ?? false,
    ready: status.ready,
    containers: status.containers.map(containerRecord),
    outOfMemory: status.outOfMemory,
    limits: status.limits?.inEffect === undefined ? {} : { ...status.limits.inEffect },
    warnings: (status.limits?.warnings ?? []).map(warning => ({
      code: warning.code,
      message: warning.message,
      since: renderTime(warning.sinceMs),
    })),
    attempt: status.attempt,
    pid: status.pid ?? null,
    ports: task.ports.map(portRecord),
    serviceId: task.serviceId,
    nodeId: task.nodeId,
    stack: task.stack,
    createdAt: renderTime(task.meta.createdAtMs),
    updatedAt: renderTime(task.meta.updatedAtMs),
    since: renderTime(status.sinceMs),
  };
}

function containerRecord(container: ContainerStatus): JsonRecord {
  return { ...container, exitCode: container.exitCode ?? null };
}

export function portRecord(port: PortSpec): JsonRecord {
  return { published: port.published, target: port.target, protocol: port.protocol, mode: port.mode };
}

export type ModeName = 'replicated' | 'global' | 'replicated-job' | 'global-job';

const modes: Readonly<Record<ServiceSpec['mode']['kind'], ModeName>> = {
  replicated: 'replicated',
  global: 'global',
  replicatedJob: 'replicated-job',
  globalJob: 'global-job',
};

export const modeNames: readonly ModeName[] = Object.values(modes);

/** As in flags and stack files. */
export function modeName({ kind }: ServiceSpec['mode']): ModeName {
  return modes[kind];
}

/** A service with how many of its tasks run and how many are wanted. */
export interface CountedService {
  readonly service: Service;
  readonly running: number;
  readonly wanted: number;
  /** Of jobs: how many of them have completed. */
  readonly completed?: number | undefined;
}

export function serviceRecord({ service, running, wanted, completed }: CountedService): JsonRecord {
  const { spec, meta } = service;
  return {
    id: service.id,
    name: spec.name,
    mode: modeName(spec.mode),
    replicas: wanted,
    running,
    completed: completed ?? null,
    image: spec.task.containers[0]?.image ?? '',
    ports: portsOf(service).map(portRecord),
    stack: spec.stack,
    labels: spec.labels,
    vips: service.vips.flatMap(vip => vip.addresses),
    removing: service.removing,
    revision: service.revision ?? 1,
    update: updateRecord(service),
    version: meta.version,
    owner: meta.owner,
    createdAt: renderTime(meta.createdAtMs),
    updatedAt: renderTime(meta.updatedAtMs),
  };
}

/** How far the last change of its tasks is; null when there was none. */
function updateRecord({ rollout }: Service): JsonRecord | null {
  if (rollout === undefined) return null;
  const { state, message, because, total, done, failed } = rollout;
  const time = (ms: number): string | null => (ms === 0 ? null : renderTime(ms));
  return {
    state,
    message,
    because,
    total,
    replaced: done,
    failed: [...failed],
    startedAt: time(rollout.startedAtMs),
    endedAt: time(rollout.endedAtMs),
    deadlineAt: time(rollout.deadlineAtMs),
  };
}

/** With the published numbers that were given, as far as they were. */
export function portsOf(service: Service): readonly PortSpec[] {
  return service.ports.length > 0 ? service.ports : service.spec.ports;
}

export interface CountedNode {
  readonly node: Node;
  readonly leader: boolean;
  readonly tasks: number;
  /** The node of the daemon that answered. */
  readonly own: boolean;
  /** As Docker has it; empty for workers. */
  readonly reachability: '' | 'leader' | 'reachable' | 'unreachable';
  /** 0: the manager that answered cannot say. */
  readonly lastHeardMs: number;
}

export function nodeRecord({ node, leader, tasks, own, reachability, lastHeardMs }: CountedNode): JsonRecord {
  const { description, spec, status, meta } = node;
  return {
    id: node.id,
    name: spec.name,
    role: node.role,
    state: status.state,
    availability: spec.availability,
    drainUntil: spec.drainUntilMs === undefined ? null : renderTime(spec.drainUntilMs),
    link: spec.link ?? 'lan',
    address: hostOf(description.addresses[0] ?? ''),
    leader,
    reachability,
    lastHeardAt: lastHeardMs === 0 ? null : renderTime(lastHeardMs),
    self: own,
    tasks,
    message: status.message,
    clockSkewSeconds: (status.clockSkewMs ?? 0) / 1000,
    labels: spec.labels,
    hostname: description.hostname,
    os: description.os,
    architecture: description.architecture,
    kernel: description.kernel,
    cpus: description.cpuNanos / 1e9,
    memoryBytes: description.memoryBytes,
    hardware: hardwareRecord(description.hardware),
    addresses: description.addresses,
    dataAddresses: description.dataAddresses,
    dataPort: description.dataPort,
    routes: description.routes,
    networkMended: mendedRecord(description.networkMended),
    runtime: description.runtime,
    cgroup: description.cgroup,
    coveyVersion: description.version,
    version: meta.version,
    certificateExpiresAt: renderTime(node.certificateExpiresAtMs),
    createdAt: renderTime(meta.createdAtMs),
    since: renderTime(status.sinceMs),
    silentSince: status.silentSinceMs === undefined ? null : renderTime(status.silentSinceMs),
  };
}

/** null when nobody has destroyed anything since its daemon started. */
function mendedRecord(mended: NetworkMended | undefined): JsonRecord | null {
  return mended === undefined ? null : { times: mended.times, lastAt: renderTime(mended.lastAtMs), last: mended.last };
}

/** null until the node has found out. */
function hardwareRecord(hardware: NodeHardware | undefined): JsonRecord | null {
  if (hardware === undefined) return null;
  const { cpuModel, cpuSockets, cpuCores, disks, interfaces, gpus } = hardware;
  return { cpuModel, cpuSockets, cpuCores, disks, interfaces, gpus };
}

/** The host of "10.0.0.11:7377" and of "[fd00::1]:7377". */
export function hostOf(address: string): string {
  return address.replace(/:\d+$/u, '').replace(/^\[(.*)\]$/u, '$1');
}

/** One image under one of its names. */
export interface NamedImage {
  readonly name: string;
  readonly image: Image;
}

export function imageRecord({ name, image }: NamedImage): JsonRecord {
  return {
    name,
    digest: image.digest,
    size: image.sizeBytes,
    architecture: image.architecture,
    os: image.os,
    layers: image.layers.length,
    uses: image.uses,
    origins: image.origins,
    createdAt: renderTime(image.createdAtMs),
  };
}

export interface CountedNetwork {
  readonly network: Network;
  readonly used: number;
}

function policyRecord({ closed, allow, metadata }: NetworkPolicy): JsonRecord {
  const rules = allow.map(({ from, to, ports }) => ({
    from,
    to,
    ports: ports.map(({ protocol, first, last }) => `${first === last ? first : `${first}-${last}`}/${protocol}`),
  }));
  return { default: closed ? 'deny' : 'allow', allow: rules, metadata: metadata ? 'allow' : 'deny' };
}

/** That tasks and services can have: all but the first two of a prefix and the last. */
export function addressesOf(subnets: readonly string[]): number {
  return subnets.reduce((sum, subnet) => sum + Math.max(0, 2 ** (32 - Number(subnet.split('/')[1])) - 3), 0);
}

export function networkRecord({ network, used }: CountedNetwork): JsonRecord {
  const { spec, meta } = network;
  return {
    id: network.id,
    name: spec.name,
    driver: spec.driver,
    subnets: network.subnets,
    internal: spec.internal,
    attachable: spec.attachable,
    ...(spec.policy === undefined ? {} : { policy: policyRecord(spec.policy) }),
    used,
    total: addressesOf(network.subnets),
    stack: spec.stack,
    labels: spec.labels,
    version: meta.version,
    owner: meta.owner,
    createdAt: renderTime(meta.createdAtMs),
  };
}
