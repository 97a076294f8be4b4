/**
 * Small changes of a service spec: its task, and the main container of that. Specs are never changed in place.
 *
 * Not here: what flags ask for (spec-flags.ts, list-flags.ts).
 */
import type { ContainerSpec, ServiceSpec, TaskSpec } from '../../../gen/types.js';

export const emptyContainer: ContainerSpec = {
  name: '',
  image: '',
  entrypoint: [],
  command: [],
  env: [],
  workingDir: '',
  user: '',
  groups: [],
  hostname: '',
  labels: {},
  mounts: [],
  stopSignal: '',
  stopGraceMs: undefined,
  init: false,
  tty: false,
  stdin: false,
  capAdd: [],
  capDrop: [],
  readOnly: false,
  ulimits: [],
  sysctls: {},
  healthcheck: undefined,
  secrets: [],
  configs: [],
  shmBytes: 0,
  oomScoreAdj: undefined,
  extraHosts: [],
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
  role: 'main',
  restart: 'always',
  postStart: [],
  preStop: [],
  privileged: false,
  userns: '',
  securityOpt: [],
  devices: [],
  deviceCgroupRules: [],
  pullPolicy: '',
};

export function withTask(spec: ServiceSpec, change: (task: TaskSpec) => TaskSpec): ServiceSpec {
  return { ...spec, task: change(spec.task) };
}

/** Changes the main container; the others of a task stay. */
export function withContainer(spec: ServiceSpec, change: (container: ContainerSpec) => ContainerSpec): ServiceSpec {
  const [main, ...others] = spec.task.containers;
  return withTask(spec, task => ({ ...task, containers: [change(main ?? emptyContainer), ...others] }));
}
