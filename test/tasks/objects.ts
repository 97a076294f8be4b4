/**
 * Task objects for tests: specs with sensible fields, changed where a test cares.
 */
import type { ContainerSpec, Mount, MountKind, Task, TaskSpec, TaskStatus } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type NodeId, newId, type ServiceId, type TaskId } from '../../src/ids.js';
import type { ImageRunConfig } from '../../src/tasks/images.js';
import { plainMount } from '../../src/tasks/spec/mounts.js';
import { containerDefaults, taskDefaults } from '../defaults.js';

export const emptyImage: ImageRunConfig = {
  entrypoint: [],
  command: [],
  env: [],
  user: '',
  workingDir: '',
  stopSignal: '',
  volumes: [],
  healthcheck: undefined,
};

export const plainContainer: ContainerSpec = {
  ...containerDefaults(),
  image: 'test:1',
  command: ['/bin/sleep', '1000'],
};

const plainTask = taskDefaults();
const taskSpec: TaskSpec = {
  ...plainTask,
  containers: [plainContainer],
  restart: { ...plainTask.restart, condition: 'none' },
};

export const assignedStatus: TaskStatus = {
  state: 'assigned',
  sinceMs: 0,
  message: '',
  error: '',
  errorCode: '',
  outOfMemory: false,
  attempt: 1,
  health: '',
  ready: '',
  containers: [],
};

export interface TaskChanges {
  readonly container?: Partial<ContainerSpec>;
  readonly more?: readonly Partial<ContainerSpec>[];
  readonly spec?: Partial<TaskSpec>;
  readonly task?: Partial<Task>;
}

export function makeTask(changes: TaskChanges = {}): Task {
  const containers = [
    { ...plainContainer, ...changes.container },
    ...(changes.more ?? []).map(one => ({ ...plainContainer, ...one })),
  ];
  return {
    id: newId<TaskId>(linuxHost.random.bytes),
    meta: { version: 1, createdAtMs: 0, updatedAtMs: 0, owner: 'uid:0' },
    serviceId: asId<ServiceId>('s'.repeat(25)),
    serviceName: 'web',
    stack: '',
    slot: 1,
    nodeId: asId<NodeId>('n'.repeat(25)),
    spec: { ...taskSpec, containers, ...changes.spec },
    specVersion: 1,
    desired: 'running',
    status: assignedStatus,
    endpoints: [],
    ports: [],
    startAfterMs: 0,
    failures: 0,
    superseded: false,
    ...changes.task,
  };
}

export function makeMount(kind: MountKind, source: string, target: string, more: Partial<Mount> = {}): Mount {
  return { ...plainMount(kind, target), source, ...more };
}
