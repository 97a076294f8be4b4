/**
 * The OCI config of a container, whole, from its spec, its image and what the host can do. Pure: all that had to be looked up
 * comes in as data. Nothing weaker than Docker's defaults.
 *
 * Called by prepare.ts. Not here: looking things up (prepare.ts, rootfs.ts), writing and running it (conmon.ts).
 */
import { CoveyError } from '../../errors.js';
import type { ContainerSpec, EndpointAddress, Task } from '../../gen/types.js';
import type { SeccompProfile } from '../../host.js';
import type { ImageRunConfig, ResolvedUser } from '../images.js';
import type { NetworkAttached } from '../network.js';
import { hostId, type IdRange } from '../userns.js';
import type { DevicePlan } from './devices.js';
import type { SecurityLabels } from './lsm.js';
import { type Masks, pathsToMask } from './masks.js';
import { type MountsInput, planMounts } from './mounts.js';
import type { OciConfig, OciLinux, OciProcess, OciSeccomp } from './oci.js';
import { type HostLimits, planProcess } from './process.js';
import { planResources, type TaskLimits } from './resources.js';

export interface BundleInput {
  readonly task: Task;
  readonly index: number;
  readonly container: ContainerSpec;
  readonly image: ImageRunConfig;
  readonly user: ResolvedUser;
  readonly rootPath: string;
  /** undefined: the host's own network. */
  readonly networkPath: string | undefined;
  readonly cgroupPath: string;
  /** Cgroup v2 alone: the container gets a cgroup namespace. */
  readonly cgroupNamespace: boolean;
  readonly mounts: MountsInput;
  readonly limits: TaskLimits;
  readonly host: HostLimits;
  readonly capabilities: readonly string[];
  readonly isolation: BundleIsolation;
}

/** How far the container is kept from the machine (../isolation.ts gathers it). */
export interface BundleIsolation {
  readonly privileged: boolean;
  /** Undefined: no user namespace. */
  readonly range: IdRange | undefined;
  readonly noNewPrivileges: boolean;
  readonly bareSystemPaths: boolean;
  /** Undefined: the runtime hides all by itself. */
  readonly masks: Masks | undefined;
  readonly devices: DevicePlan;
  readonly labels: SecurityLabels;
  /** What is shown at /sys in a user namespace. */
  readonly sysSource: string | undefined;
  /** The runtime is in the network of the container already, and is not told of it. */
  readonly startedInNetwork: boolean;
  /** /sys/fs/cgroup stays empty. */
  readonly withoutCgroups: boolean;
  readonly filter: {
    readonly profile: SeccompProfile | OciSeccomp | undefined;
    /** The same, compiled; only crun takes it. */
    readonly compiled: Uint8Array | undefined;
  };
}

export function planBundle(input: BundleInput): OciConfig {
  const { isolation } = input;
  const container = withDevices(input.container, isolation.devices);
  const hostname = hostnameOf(input.task, input.container);
  return {
    ociVersion: '1.0.2',
    process: planConfinedProcess(input, { container, hostname }),
    root: { path: input.rootPath, readonly: container.readOnly },
    hostname,
    mounts: planMounts({ ...input.mounts, ...mountsOf(isolation) }),
    annotations: planAnnotations(input),
    ...(Object.keys(isolation.devices.hooks).length === 0 ? {} : { hooks: isolation.devices.hooks }),
    linux: planLinux(input),
  };
}

/** Variables of the devices come last, as their specification has it. */
function withDevices(container: ContainerSpec, { env }: DevicePlan): ContainerSpec {
  return env.length === 0 ? container : { ...container, env: [...container.env, ...env] };
}

function planConfinedProcess(
  input: BundleInput,
  { container, hostname }: { readonly container: ContainerSpec; readonly hostname: string },
): OciProcess {
  const { isolation, image, user, capabilities } = input;
  const { apparmorProfile, selinuxLabel } = isolation.labels;
  const groups = [...new Set([...user.groups, ...isolation.devices.groups])];
  for (const id of [user.uid, user.gid, ...groups]) hostId(isolation.range, id, 'id');
  return {
    ...planProcess({ container, image, user: { ...user, groups }, hostname, capabilities, limits: input.host }),
    noNewPrivileges: isolation.noNewPrivileges,
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
    ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
  };
}

function mountsOf(isolation: BundleIsolation): Partial<MountsInput> {
  return {
    sysSource: isolation.sysSource,
    writableSystem: isolation.privileged,
    withoutCgroups: isolation.withoutCgroups,
    deviceMounts: isolation.devices.mounts,
    masks: isolation.privileged || isolation.bareSystemPaths ? undefined : isolation.masks,
  };
}

/** As asked, else the head of the task's id. */
export function hostnameOf(task: Task, container: ContainerSpec): string {
  if (container.hostname === '') return task.id.slice(0, 12);
  if (container.hostname.length <= 64 && /^[\w.-]+$/.test(container.hostname)) return container.hostname;
  throw new CoveyError('bad-bundle', `Cannot use host name "${container.hostname}"`, {
    hint: 'At most 64 letters, digits, dots and dashes',
  });
}

function planAnnotations(input: BundleInput): Readonly<Record<string, string>> {
  const { compiled } = input.isolation.filter;
  return {
    'covey.task': input.task.id,
    'covey.service': input.task.serviceName,
    'covey.container': String(input.index),
    ...(compiled === undefined ? {} : { 'run.oci.seccomp_bpf_data': Buffer.from(compiled).toString('base64') }),
  };
}

function planLinux(input: BundleInput): OciLinux {
  const shared = input.container.mounts.some(mount => mount.propagation.endsWith('shared'));
  const slave = input.container.mounts.some(mount => mount.propagation.endsWith('slave'));
  const { range, devices, filter, labels, ...isolation } = input.isolation;
  const isBare = isolation.privileged || isolation.bareSystemPaths;
  const resources = planResources(input.limits);
  const ids = range === undefined ? undefined : [{ containerID: 0, hostID: range.firstId, size: range.count }];
  return {
    namespaces: [
      { type: 'pid' },
      { type: 'mount' },
      { type: 'ipc' },
      { type: 'uts' },
      ...(input.networkPath === undefined || isolation.startedInNetwork
        ? []
        : [{ type: 'network', path: input.networkPath }]),
      ...(input.cgroupNamespace ? [{ type: 'cgroup' }] : []),
      ...(ids === undefined ? [] : [{ type: 'user' }]),
    ],
    cgroupsPath: input.cgroupPath,
    resources: { ...resources, devices: [...resources.devices, ...devices.rules] },
    sysctl: planRuntimeSysctls(input),
    maskedPaths: isBare ? [] : pathsToMask(isolation.masks),
    readonlyPaths: isBare ? [] : readonlyPaths,
    rootfsPropagation: shared ? 'shared' : slave ? 'slave' : 'private',
    ...(filter.profile === undefined ? {} : { seccomp: filter.profile }),
    ...(ids === undefined ? {} : { uidMappings: ids, gidMappings: ids }),
    ...(devices.devices.length === 0 ? {} : { devices: devices.devices }),
    ...(labels.mountLabel === undefined ? {} : { mountLabel: labels.mountLabel }),
  };
}

const readonlyPaths: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** A network namespace of one's own may listen below 1024 and ping without rights, as with Docker. */
const networkSysctls: Readonly<Record<string, string>> = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
};

const namespacedSysctl =
  /^(?:kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\..+)$/;

/** In a user namespace those of the network are written by the daemon: the runtime may not (../isolation.ts). */
function planRuntimeSysctls(input: BundleInput): Readonly<Record<string, string>> {
  const all = planSysctls(input.container.sysctls, input.networkPath !== undefined);
  if (input.isolation.range === undefined) return all;
  return Object.fromEntries(Object.entries(all).filter(([name]) => !name.startsWith('net.')));
}

/** Only what belongs to the container's own namespaces: all else would change the host. */
export function planSysctls(
  asked: Readonly<Record<string, string>>,
  ownNetwork: boolean,
): Readonly<Record<string, string>> {
  for (const name of Object.keys(asked)) {
    const network = /^net\.[\w./-]+$/.test(name) && !name.includes('..');
    if (namespacedSysctl.test(name) || (network && ownNetwork)) continue;
    throw new CoveyError('bad-bundle', `Cannot set sysctl "${name}": it belongs to the whole machine`, {
      hint: network ? 'net.* needs a network of its own' : 'net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem',
    });
  }
  return { ...(ownNetwork ? networkSysctls : {}), ...asked };
}

/** /etc/hosts: loopback, the task under its host name, what the spec adds. */
export function renderHosts(
  hostname: string,
  endpoints: readonly EndpointAddress[],
  extraHosts: readonly string[],
): string {
  const own = endpoints.flatMap(endpoint => endpoint.addresses).map(address => `${address.split('/')[0]}\t${hostname}`);
  const extra = extraHosts.map(entry => {
    const split = entry.search(/[:=]/);
    if (split > 0) return `${entry.slice(split + 1)}\t${entry.slice(0, split)}`;
    throw new CoveyError('bad-bundle', `Cannot add host "${entry}"`, { hint: 'NAME:ADDRESS' });
  });
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...own,
    ...extra,
    '',
  ].join('\n');
}

/**
 * /etc/resolv.conf. What the spec says replaces what the network offers, each part by itself; resolvers that the cluster's own
 * asks in the task's name do not replace it, or the task would know no service any more.
 */
export function renderResolvConf(
  container: Pick<ContainerSpec, 'dns' | 'dnsSearch' | 'dnsOptions'>,
  network: Pick<NetworkAttached, 'nameservers' | 'searchDomains' | 'takesUpstreams'>,
): string {
  const isReplaced = container.dns.length > 0 && !network.takesUpstreams;
  const nameservers = isReplaced ? container.dns : network.nameservers;
  const search = (container.dnsSearch.length > 0 ? container.dnsSearch : network.searchDomains).filter(
    name => name !== '.',
  );
  const options = container.dnsOptions.length > 0 ? container.dnsOptions : ['ndots:0'];
  return [
    ...nameservers.map(address => `nameserver ${address}`),
    ...(search.length === 0 ? [] : [`search ${search.join(' ')}`]),
    `options ${options.join(' ')}`,
    '',
  ].join('\n');
}
