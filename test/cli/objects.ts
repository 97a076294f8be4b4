/**
 * Objects of the cluster for tests, with the fields that matter given and all others filled in.
 */

import { emptyContainer } from '../../src/cli/commands/service/spec-edit.js';
import type { Node, RestartCondition, Service, ServiceSpec, Task, TaskState } from '../../src/gen/types.js';
import { asId, type NetworkId, type NodeId, type ServiceId, type TaskId } from '../../src/ids.js';

const meta = { version: 5, createdAtMs: 1_799_999_880_000, updatedAtMs: 1_799_999_880_000, owner: 'uid:0' };

export interface ServiceFields {
  readonly id?: string;
  readonly name?: string;
  /** undefined: global. */
  readonly replicas?: number | undefined;
  readonly stack?: string;
  readonly condition?: RestartCondition;
  readonly attemptsMax?: number;
  readonly version?: number;
  readonly specVersion?: number;
  readonly published?: number;
}

function serviceSpec(fields: ServiceFields): ServiceSpec {
  const replicas = 'replicas' in fields ? fields.replicas : 1;
  return {
    name: fields.name ?? 'web',
    labels: {},
    stack: fields.stack ?? '',
    task: {
      containers: [{ ...emptyContainer, image: 'hello:1' }],
      limits: undefined,
      reservations: undefined,
      restart: {
        condition: fields.condition ?? 'any',
        delayMs: undefined,
        delayMaxMs: undefined,
        attemptsMax: fields.attemptsMax ?? 0,
        windowMs: 0,
      },
      placement: { constraints: [], perNodeMax: 0, spread: [] },
      networks: [],
      runtime: '',
      force: 0,
    },
    ports:
      fields.published === undefined
        ? []
        : [{ published: fields.published, target: 80, protocol: 'tcp', mode: 'ingress' }],
    endpointMode: 'vip',
    mode: replicas === undefined ? { kind: 'global' } : { kind: 'replicated', replicas },
  };
}

export function service(fields: ServiceFields): Service {
  const spec = serviceSpec(fields);
  return {
    id: asId<ServiceId>(fields.id ?? `service-${spec.name}`),
    meta: { ...meta, version: fields.version ?? 5 },
    spec,
    specVersion: fields.specVersion ?? 1,
    vips: [{ networkId: asId<NetworkId>('net'), addresses: ['10.1.0.2'] }],
    ports: spec.ports,
    removing: false,
  } as Service;
}

export interface TaskFields {
  readonly id?: string;
  readonly service?: Service;
  readonly slot?: number;
  readonly nodeId?: string;
  readonly state?: TaskState;
  readonly desired?: Task['desired'];
  readonly specVersion?: number;
  readonly message?: string;
  readonly error?: string;
  readonly errorCode?: string;
  readonly exitCode?: number;
  readonly createdAtMs?: number;
}

export function task(fields: TaskFields): Task {
  const owner = fields.service ?? service({});
  const slot = fields.slot ?? 1;
  const state = fields.state ?? 'running';
  const createdAtMs = fields.createdAtMs ?? meta.createdAtMs;
  return {
    id: asId<TaskId>(
      fields.id ?? `${owner.spec.name}-${slot}-${fields.specVersion ?? owner.specVersion}-${createdAtMs}`,
    ),
    meta: { ...meta, createdAtMs },
    serviceId: owner.id,
    serviceName: owner.spec.name,
    stack: owner.spec.stack,
    slot,
    nodeId: asId<NodeId>(fields.nodeId ?? 'n1'),
    spec: owner.spec.task,
    specVersion: fields.specVersion ?? owner.specVersion,
    desired:
      fields.desired ?? (state === 'failed' || state === 'rejected' || state === 'shutdown' ? 'shutdown' : 'running'),
    status: {
      state,
      sinceMs: meta.createdAtMs,
      message: fields.message ?? '',
      error: fields.error ?? '',
      errorCode: fields.errorCode ?? '',
      exitCode: fields.exitCode,
      outOfMemory: false,
      attempt: 0,
      health: '',
      ready: '',
      containers: [],
    },
    endpoints: state === 'pending' ? [] : [{ networkId: asId<NetworkId>('net'), addresses: [`10.1.0.${slot + 4}`] }],
    ports: [],
    startAfterMs: 0,
    failures: 0,
    superseded: false,
  } as unknown as Task;
}

export function node(fields: {
  readonly id: string;
  readonly name: string;
  readonly role?: Node['role'];
  readonly state?: Node['status']['state'];
  readonly availability?: Node['spec']['availability'];
  readonly message?: string;
}): Node {
  return {
    id: asId<NodeId>(fields.id),
    meta,
    spec: { name: fields.name, labels: {}, availability: fields.availability ?? 'active' },
    role: fields.role ?? 'worker',
    description: {
      hostname: fields.name,
      os: 'linux',
      architecture: 'amd64',
      kernel: '6.18.0',
      cpuNanos: 8e9,
      memoryBytes: 33_501_151_232,
      addresses: [`10.0.0.1${fields.id.slice(-1)}:7377`],
      dataAddresses: [],
      dataPort: 7378,
      runtime: 'crun',
      cgroup: 'hybrid',
      version: '0.1.0',
      labels: {},
      images: [],
      volumes: [],
      routes: [],
      userns: true,
      privileged: false,
    },
    status: { state: fields.state ?? 'ready', sinceMs: meta.createdAtMs, message: fields.message ?? '' },
    tunnelIndex: 1,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
  };
}
