/**
 * What stack files say, after reading and before names are resolved: every field that a file did not mention is undefined, so
 * that a later file can add to an earlier one (merge.ts). References keep their place for errors.
 *
 * Not here: reading (service.ts, deploy.ts, objects.ts), turning it into specs (request.ts).
 */
import type {
  ContainerRole,
  DeviceIo,
  EndpointMode,
  Healthcheck,
  Hook,
  LogOptions,
  Mount,
  NetworkDriver,
  PortSpec,
  ReadyCheck,
  Reconcile,
  RestartCondition,
  SidecarRestart,
  Ulimit,
  UpdateConfig,
} from '../../gen/types.js';
import type { Place } from './problems.js';

/** A name used in one part of the file and defined in another. */
export interface Reference {
  readonly name: string;
  readonly path: string;
  readonly place: Place;
}

export type Environment = ReadonlyMap<string, string | undefined>;

export interface MountModel {
  readonly mount: Mount;
  /** Set when the source is a named volume. */
  readonly volume: Reference | undefined;
}

export interface FileUse {
  readonly reference: Reference;
  readonly target: string | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly mode: number | undefined;
}

export interface NetworkUse {
  readonly reference: Reference;
  readonly aliases: readonly string[] | undefined;
}

/** -1 for memory and swap together stands for no limit. */
export interface ResourcesModel {
  readonly cpuNanos?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly memorySwapBytes?: number | undefined;
  readonly pids?: number | undefined;
  readonly cpuShares?: number | undefined;
  readonly cpusetCpus?: string | undefined;
  readonly cpusetMems?: string | undefined;
  readonly ioWeight?: number | undefined;
  readonly ioDevices?: ReadonlyMap<string, DeviceIo> | undefined;
  readonly hugepages?: ReadonlyMap<string, number> | undefined;
}

export interface RestartModel {
  readonly condition: RestartCondition | undefined;
  readonly delayMs: number | undefined;
  readonly attemptsMax: number | undefined;
  readonly windowMs: number | undefined;
}

export type ServiceMode = 'replicated' | 'global' | 'replicated-job' | 'global-job';

export interface DeployModel {
  readonly mode: ServiceMode | undefined;
  /** Tasks of a job at a time. */
  readonly concurrentMax: number | undefined;
  readonly replicas: { readonly count: number; readonly place: Place } | undefined;
  readonly labels: Environment;
  readonly endpointMode: EndpointMode | undefined;
  readonly limits: ResourcesModel;
  readonly reservations: ResourcesModel;
  readonly restart: RestartModel;
  readonly constraints: readonly string[];
  readonly perNodeMax: number | undefined;
  /** Keys of nodes over whose values its tasks are spread. */
  readonly spread: readonly string[];
  readonly update: UpdateModel;
  readonly rollback: UpdateModel;
  readonly loss: LossModel;
}

export interface LossModel {
  readonly lostAfterMs: number | undefined;
  readonly reconcile: Reconcile | undefined;
  readonly stopAfterDisconnectMs: number | undefined;
}

export type UpdateModel = { readonly [Key in keyof UpdateConfig]-?: UpdateConfig[Key] | undefined };

/** As in the file: a text for the shell, a list, or disabled. */
export type HealthcheckModel = Partial<Healthcheck>;

/** The key `x-covey` of a service. */
export interface LifecycleModel {
  readonly ready: ReadyCheck | undefined;
  /** Over the network, in the place of the key `healthcheck`. */
  readonly health: HealthcheckModel | undefined;
  readonly members: readonly MemberModel[];
  /** In all containers of the task. */
  readonly shared: readonly Mount[];
}

/** A container beside the main one. */
export interface MemberModel {
  readonly name: string;
  readonly role: ContainerRole;
  readonly restart: SidecarRestart;
  readonly ready: ReadyCheck | undefined;
  readonly health: HealthcheckModel | undefined;
  readonly service: ServiceModel;
}

export interface ServiceModel {
  readonly place: Place;
  readonly image: string | undefined;
  readonly command: readonly string[] | undefined;
  readonly entrypoint: readonly string[] | undefined;
  readonly environment: Environment;
  readonly labels: Environment;
  readonly workingDir: string | undefined;
  readonly user: string | undefined;
  readonly groups: readonly string[];
  readonly hostname: string | undefined;
  readonly pullPolicy: string | undefined;
  readonly runtime: string | undefined;
  readonly stopSignal: string | undefined;
  readonly stopGraceMs: number | undefined;
  readonly init: boolean | undefined;
  readonly tty: boolean | undefined;
  readonly stdin: boolean | undefined;
  readonly readOnly: boolean | undefined;
  readonly shmBytes: number | undefined;
  readonly oomScoreAdj: number | undefined;
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly ulimits: ReadonlyMap<string, Ulimit>;
  readonly sysctls: Environment;
  readonly extraHosts: readonly string[];
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  readonly privileged: boolean | undefined;
  /** The key `userns_mode`. */
  readonly userns: 'auto' | 'host' | undefined;
  /** A seccomp profile is in it as its JSON. */
  readonly securityOpt: readonly string[];
  readonly devices: readonly string[];
  /** The key `device_cgroup_rules`. */
  readonly deviceRules: readonly string[];
  readonly healthcheck: HealthcheckModel | undefined;
  readonly log: LogOptions | undefined;
  readonly postStart: readonly Hook[];
  readonly preStop: readonly Hook[];
  readonly lifecycle: LifecycleModel;
  readonly ports: readonly PortSpec[];
  readonly mounts: readonly MountModel[];
  readonly secrets: readonly FileUse[];
  readonly configs: readonly FileUse[];
  readonly networks: ReadonlyMap<string, NetworkUse>;
  /** The key `network_mode`: a network of the node itself instead of the stack's. */
  readonly networkMode: 'host' | 'none' | undefined;
  /** The keys `mem_limit`, `cpus` and the like, which count where deploy.resources says nothing. */
  readonly plainLimits: ResourcesModel;
  readonly plainReservations: ResourcesModel;
  /** The key `restart`, which counts where deploy.restart_policy says nothing. */
  readonly plainRestart: RestartModel | undefined;
  readonly deploy: DeployModel;
}

export interface NetworkModel {
  readonly external: boolean;
  readonly name: string | undefined;
  readonly driver: NetworkDriver;
  readonly subnets: readonly string[];
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly labels: Environment;
}

export interface VolumeModel {
  readonly external: boolean;
  readonly name: string | undefined;
  /** Of the driver local: type, device, o. */
  readonly options: Environment;
  readonly labels: Environment;
}

/** A secret or config. */
export interface FileModel {
  readonly external: boolean;
  readonly name: string | undefined;
  readonly labels: Environment;
  /** undefined when external, or when a problem was reported. */
  readonly data: Uint8Array | undefined;
}

export interface StackModel {
  /** The key `name`. */
  readonly name: string | undefined;
  readonly services: ReadonlyMap<string, ServiceModel>;
  readonly networks: ReadonlyMap<string, NetworkModel>;
  readonly volumes: ReadonlyMap<string, VolumeModel>;
  readonly secrets: ReadonlyMap<string, FileModel>;
  readonly configs: ReadonlyMap<string, FileModel>;
}
