/**
 * Objects with everything filled in, for tests that care about one or two of their fields.
 *
 * Not here: tests, and what runs (plane-fixtures.ts).
 */
import type {
  Cluster,
  ContainerSpec,
  Network,
  NetworkSpec,
  Node,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
} from '../../src/gen/types.js';
import { asId, type ClusterId, type NetworkId, type NodeId, type ServiceId, type TaskId } from '../../src/ids.js';
import { containerDefaults, taskDefaults } from '../defaults.js';

/** Of a service whose tasks were never changed. */
export const noUpdate = { rollout: undefined, update: undefined, rollback: undefined };

export const meta = { version: 1, createdAtMs: 1_000, updatedAtMs: 1_000, owner: 'uid:0' };

export function container(over: Partial<ContainerSpec> = {}): ContainerSpec {
  return { ...containerDefaults(), image: 'hello:1', ...over };
}

export function taskSpec(over: Partial<TaskSpec> = {}): TaskSpec {
  return { ...taskDefaults(), containers: [container()], ...over };
}

export function serviceSpec(over: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name: 'web',
    labels: {},
    stack: '',
    task: taskSpec(),
    ports: [],
    endpointMode: 'vip',
    mode: { kind: 'replicated', replicas: 1 },
    ...over,
  };
}

export function service(over: Partial<Service> = {}): Service {
  return {
    id: asId<ServiceId>('service-web'),
    meta,
    spec: serviceSpec(),
    specVersion: 1,
    vips: [],
    ports: [],
    removing: false,
    ...over,
  };
}

export function networkSpec(over: Partial<NetworkSpec> = {}): NetworkSpec {
  return {
    name: 'net',
    labels: {},
    stack: '',
    driver: 'overlay',
    subnets: [],
    internal: false,
    attachable: false,
    ...over,
  };
}

export function network(over: Partial<Network> = {}): Network {
  return { id: asId<NetworkId>('network-net'), meta, spec: networkSpec(), subnets: ['10.1.0.0/24'], ...over };
}

export const clusterObject: Cluster = {
  id: asId<ClusterId>('c'),
  meta,
  spec: {
    pool: '10.201.0.0/16',
    poolPieceBits: 20,
    taskHistoryMax: 5,
    certificateDays: 90,
    heartbeatMs: 1_000,
    lostAfterMs: 10_000,
    dataPort: 7378,
  },
  rootCertificate: new Uint8Array(0),
  rootKey: new Uint8Array(0),
  vniOverlay: 1,
  vniIngress: 2,
  tunnelIndexLast: 1,
};

export function node(name: string, over: Partial<Node> = {}): Node {
  return {
    id: asId<NodeId>(name),
    meta,
    spec: { name, labels: {}, availability: 'active' },
    role: 'worker',
    description: {
      hostname: name,
      os: 'linux',
      architecture: 'amd64',
      kernel: '6.18',
      cpuNanos: 4e9,
      memoryBytes: 8 * 2 ** 30,
      addresses: [`10.0.0.1:7377`],
      dataAddresses: [],
      dataPort: 7_378,
      runtime: 'crun',
      cgroup: 'v2',
      version: '0',
      labels: {},
      images: [],
      volumes: [],
      routes: [],
      userns: true,
      privileged: false,
    },
    status: { state: 'ready', sinceMs: 0, message: '' },
    tunnelIndex: 1,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
    ...over,
  };
}

export function status(state: TaskState, over: Partial<TaskStatus> = {}): TaskStatus {
  return {
    state,
    sinceMs: 0,
    message: '',
    error: '',
    errorCode: '',
    outOfMemory: false,
    attempt: 0,
    health: '',
    ready: '',
    containers: [],
    ...over,
  };
}

export function task(
  id: string,
  over: Partial<Omit<Task, 'status'>> & { readonly state?: TaskState; readonly status?: TaskStatus } = {},
): Task {
  const { state = 'running', ...rest } = over;
  return {
    id: asId<TaskId>(id),
    meta,
    serviceId: asId<ServiceId>('service-web'),
    serviceName: 'web',
    stack: '',
    slot: 1,
    nodeId: asId<NodeId>(['new', 'pending'].includes(state) ? '' : 'a'),
    spec: taskSpec(),
    specVersion: 1,
    desired: 'running',
    status: status(state),
    endpoints: [],
    ports: [],
    startAfterMs: 0,
    failures: 0,
    superseded: false,
    ...rest,
  };
}
