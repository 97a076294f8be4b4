/**
 * What carrying out a task needs, gathered once: the machine, the runtime that works on it, cgroups, limits of the daemon
 * itself, compiled system call filters. Handed to prepare, controller, health, exec, recover and sweep.
 *
 * Not here: anything about one task.
 */
import type { Host, SeccompProfile } from '../host.js';
import type { Logger } from '../telemetry.js';
import type { AgentOptions } from './agent-types.js';
import { profileLoader } from './apparmor.js';
import { type Cgroups, openCgroups } from './cgroup/index.js';
import type { TaskImages, TaskVolumes } from './images.js';
import type { NodePolicy } from './isolation.js';
import type { TaskNetwork } from './network.js';
import { type Paths, pathsOf } from './paths.js';
import { parseCapabilityMask } from './runtime/capabilities.js';
import { cdiFolders } from './runtime/cdi.js';
import { hasContainer, type RuntimePlace } from './runtime/crun.js';
import { findModules, type SecurityModules } from './runtime/lsm.js';
import { type HostLimits, parseHardLimits } from './runtime/process.js';
import type { LimitsHost } from './runtime/resources.js';
import { planSeccomp } from './runtime/seccomp.js';
import { rushPrefix } from './rush.js';
import { openSecrets, type Secrets } from './secrets.js';
import { openTrash, type Trash } from './trash.js';
import { defaultRange, openUserNamespaces, type UserNamespaces } from './userns.js';

export interface Engine {
  readonly host: Host;
  readonly paths: Paths;
  readonly place: RuntimePlace;
  /** The runtime that made a container: another one, when the node chose anew since. */
  readonly placeOf: (containerId: string) => RuntimePlace;
  readonly cgroups: Cgroups;
  readonly images: TaskImages;
  readonly network: TaskNetwork;
  readonly volumes: TaskVolumes | undefined;
  readonly secrets: Secrets;
  readonly trash: Trash;
  readonly limits: HostLimits;
  /** What decides how the limits of tasks are written. */
  readonly limitsHost: LimitsHost;
  /** Between two looks at the limits of a task; 0: never. */
  readonly limitsEveryMs: number;
  readonly filterFor: (capabilities: readonly string[]) => SystemCallFilter;
  readonly userns: UserNamespaces;
  readonly policy: NodePolicy;
  readonly modules: SecurityModules;
  /** Loads it when first asked. */
  readonly findDefaultProfile: () => Promise<string | undefined>;
  readonly cdiFolders: readonly string[];
  readonly volumesFolder: string;
  readonly machine: { readonly architecture: string; readonly kernel: string };
  /** What makes a runtime go before ordinary processes, if that may be (rush.ts). */
  readonly rushPrefix: () => Promise<readonly string[]>;
  readonly prefix: string;
  readonly log: Logger;
}

/** Compiled for a runtime that takes it so, as a profile for one that does not, neither where the kernel has no seccomp. */
interface SystemCallFilter {
  readonly profile: SeccompProfile | undefined;
  readonly compiled: Uint8Array | undefined;
}

/** Sets of capabilities differ little: more than these are compiled anew each time. */
const filtersMax = 32;
const limitsEveryDefaultMs = 5_000;

export function openEngine(options: AgentOptions): Engine {
  const { host, prefix, runtime } = options;
  const paths = pathsOf(options);
  const modules = findModules(host.files);
  const place = { runtime, root: paths.runtimeRoot(runtime.name) };
  const cgroups = openCgroups(host, prefix);
  return {
    host,
    paths,
    place,
    placeOf: containerId => findPlace(host, paths, { place, containerId }),
    cgroups,
    images: options.images,
    network: options.network,
    volumes: options.volumes,
    secrets: openSecrets(host, paths),
    trash: openTrash({ host, images: options.images, directory: paths.trash, log: options.log }),
    limits: readHostLimits(host),
    limitsHost: { countsSwap: cgroups.countsSwap, findDevice: path => findDevice(host, path) },
    limitsEveryMs: options.limitsEveryMs ?? limitsEveryDefaultMs,
    filterFor: filterCache(options),
    userns: options.userns ?? openUserNamespaces({ ...options, range: defaultRange }),
    policy: options.policy ?? { userns: 'host', allowPrivileged: false },
    modules,
    findDefaultProfile: profileLoader({ host, runDir: options.runDir, modules, log: options.log }),
    cdiFolders: options.cdiFolders ?? cdiFolders,
    volumesFolder: `${options.dataDir}/volumes`,
    machine: {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      kernel: host.files.findTextSync('/proc/sys/kernel/osrelease')?.trim() ?? '',
    },
    rushPrefix: rushPrefix(host),
    prefix,
    log: options.log,
  };
}

/** "254:0" of "/dev/vda"; a link such as those in /dev/disk has to be given as what it leads to. */
function findDevice({ files }: Pick<Host, 'files'>, path: string): string | undefined {
  const name = /^\/dev\/([\w-]+)$/.exec(path)?.[1];
  return name === undefined ? undefined : files.findTextSync(`/sys/class/block/${name}/dev`)?.trim();
}

function findPlace(
  host: Host,
  paths: Paths,
  { place, containerId }: { readonly place: RuntimePlace; readonly containerId: string },
): RuntimePlace {
  const name = place.runtime.name === 'crun' ? 'runc' : 'crun';
  const other = { runtime: { ...place.runtime, name, path: name }, root: paths.runtimeRoot(name) } as const;
  if (hasContainer(host, place, containerId) || !hasContainer(host, other, containerId)) return place;
  return { ...other, runtime: { ...other.runtime, path: host.processes.findOnPath(name) ?? name } };
}

function readHostLimits(host: Pick<Host, 'files'>): HostLimits {
  const status = host.files.findTextSync('/proc/self/status') ?? '';
  const capabilities = parseCapabilityMask(status, 'CapEff');
  return {
    hardLimits: parseHardLimits(host.files.findTextSync('/proc/self/limits') ?? ''),
    mayRaise: capabilities.includes('CAP_SYS_RESOURCE'),
    capabilities,
  };
}

function filterCache({ host, runtime }: AgentOptions): Engine['filterFor'] {
  const filters = new Map<string, SystemCallFilter>();
  const hasSeccomp = host.files.findTextSync('/proc/sys/kernel/seccomp/actions_avail') !== undefined;
  return capabilities => {
    const key = capabilities.join();
    const known = filters.get(key);
    if (known !== undefined) return known;
    const profile = hasSeccomp ? planSeccomp(capabilities, process.arch) : undefined;
    const compiled = profile !== undefined && runtime.takesFilter ? host.kernel.compileSeccomp(profile) : undefined;
    const filter = { profile: compiled === undefined ? profile : undefined, compiled };
    if (filters.size < filtersMax) filters.set(key, filter);
    return filter;
  };
}
