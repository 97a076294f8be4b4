/**
 * How far a container is kept from the machine and from others: user namespace, filter, labels, devices, privileges. Gathers
 * what the bundle needs of all that, and does what has to be done on the host before and after the runtime makes it.
 *
 * A spec that asks for what this node cannot give is refused with the reason; nothing is left away silently, but for the
 * node's own default of a user namespace, which yields where a container asks for rights that it would take away.
 *
 * Called by prepare.ts. Not here: the form of the bundle (runtime/bundle.ts), the range of ids (userns.ts).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../errors.js';
import type { ContainerSpec, Task } from '../gen/types.js';
import type { Engine } from './engine.js';
import type { OwnerMap } from './images.js';
import type { BundleIsolation } from './runtime/bundle.js';
import { planSysctls } from './runtime/bundle.js';
import { planDevices } from './runtime/devices.js';
import { categoriesOf, planLabels, type SecurityLabels } from './runtime/lsm.js';
import { type Masks, maskedPaths } from './runtime/masks.js';
import { planSeccompProfile } from './runtime/seccomp-profile.js';
import { parseDevice, parseDeviceRule, parseSecurityOptions, type SecurityOptions } from './spec/security.js';
import type { Parsed } from './spec/values.js';

/** What the operator of a node allows and prefers. */
export interface NodePolicy {
  readonly userns: 'auto' | 'host';
  readonly allowPrivileged: boolean;
}

/** Decided before anything is made, because the root file system depends on it. */
export interface Isolation {
  readonly options: SecurityOptions;
  readonly privileged: boolean;
  readonly labels: SecurityLabels;
  /** Undefined: the host's own user namespace. */
  readonly map: OwnerMap | undefined;
}

/** Rights over things that belong to the machine, or to the network that the node makes: no user namespace can give them. */
const rightsOfHost = new Set(
  (
    'ALL AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF DAC_READ_SEARCH MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST PERFMON ' +
    'SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM'
  ).split(' '),
);

export async function chooseIsolation(engine: Engine, task: Task, index: number): Promise<Isolation> {
  const container = task.spec.containers[index]!;
  const parsed = parseSecurityOptions(container.securityOpt);
  if (parsed.kind === 'bad') {
    throw new CoveyError('bad-bundle', 'Cannot use the security options', { hint: `${parsed.valid} is valid` });
  }
  const options = parsed.value;
  const { privileged } = container;
  if ((privileged || options.bareSystemPaths) && !engine.policy.allowPrivileged) {
    const asked = privileged ? 'privileged' : 'systempaths=unconfined';
    throw new CoveyError('privileged-refused', `Cannot run a container that is ${asked}: this node does not allow it`, {
      hint: 'start coveyd there with --allow-privileged yes, or ask for single capabilities and devices',
    });
  }
  const labels = planLabels({
    modules: engine.modules,
    options,
    privileged,
    defaultProfile: await engine.findDefaultProfile(),
    categories: categoriesOf(createHash('sha256').update(task.id).digest()),
  });
  const map = (await usesNamespace(engine, container)) ? engine.userns.map : undefined;
  return { options, privileged, labels, map };
}

async function usesNamespace(engine: Engine, container: ContainerSpec): Promise<boolean> {
  const explicit = container.userns === 'auto';
  if (container.privileged && !explicit) return false;
  if (!explicit && (container.userns === 'host' || engine.policy.userns === 'host')) return false;
  const right = container.capAdd
    .map(name => name.toUpperCase().replace(/^CAP_/, ''))
    .find(name => rightsOfHost.has(name));
  if (right !== undefined || container.privileged) {
    if (!explicit) return false;
    throw new CoveyError(
      'bad-bundle',
      `Cannot give ${right ?? 'privileges'} in a user namespace: it is a right over the host`,
      {
        hint: '--userns host, or leave the capability away',
      },
    );
  }
  const obstacle = await engine.userns.findObstacle();
  if (obstacle === undefined) return true;
  if (!explicit) return false; // doctor tells: the node's default cannot be had
  throw new CoveyError('no-user-namespace', 'Cannot give the container a user namespace on this node', {
    state: obstacle,
    hint: '--userns host, or a node where covey doctor says that it can',
  });
}

export interface IsolationPlace {
  readonly task: Task;
  readonly index: number;
  readonly isolation: Isolation;
  readonly capabilities: readonly string[];
  readonly networkPath: string | undefined;
}

/** Everything of the bundle that this file's matters decide. */
export async function gatherIsolation(engine: Engine, place: IsolationPlace): Promise<BundleIsolation> {
  const { task, index, isolation, capabilities } = place;
  const { options, privileged, map } = isolation;
  const container = task.spec.containers[index]!;
  const requests = container.devices.map(text => parsedOr(text, 'device', parseDevice));
  const rules = container.deviceCgroupRules.map(text => parsedOr(text, 'rule for devices', parseDeviceRule));
  const { cdiFolders } = engine;
  return {
    privileged,
    range: map,
    noNewPrivileges: options.noNewPrivileges,
    bareSystemPaths: options.bareSystemPaths,
    masks: map === undefined && engine.place.runtime.name === 'crun' ? findMasks(engine) : undefined,
    devices: await planDevices(engine.host.files, {
      requests,
      rules,
      privileged,
      asMounts: map !== undefined,
      cdiFolders,
    }),
    labels: isolation.labels,
    sysSource: map === undefined ? undefined : planSys(engine, place),
    // runc makes these mounts as root of the namespace, who may not look at where version 1 is mounted.
    // It joins the user namespace first, and from there no network that the node made: it is started in it instead.
    startedInNetwork: map !== undefined && engine.place.runtime.name === 'runc',
    withoutCgroups: map !== undefined && engine.place.runtime.name === 'runc' && engine.cgroups.version !== 'v2',
    filter: filterOf(engine, { options, privileged, capabilities }),
  };
}

/** Only crun lets something be bound inside /proc, and in a user namespace it may not look at our folder. */
function findMasks({ host: { files }, paths }: Engine): Masks {
  files.makeDirectorySync(paths.emptyFolder, { mode: 0o555 });
  return {
    emptyFolder: paths.emptyFolder,
    folders: maskedPaths.filter(path => files.findStatSync(path)?.kind === 'directory'),
  };
}

function parsedOr<Value>(text: string, what: string, parse: (text: string) => Parsed<Value>): Value {
  const parsed = parse(text);
  if (parsed.kind === 'ok') return parsed.value;
  throw new CoveyError('bad-bundle', `Cannot use ${what} "${text}"`, { hint: parsed.valid });
}

interface FilterWish {
  readonly options: SecurityOptions;
  readonly privileged: boolean;
  readonly capabilities: readonly string[];
}

function filterOf(engine: Engine, { options, privileged, capabilities }: FilterWish): BundleIsolation['filter'] {
  if (options.seccomp === 'unconfined') return { profile: undefined, compiled: undefined };
  if (options.seccomp !== undefined) {
    const profile = planSeccompProfile(options.seccomp.profile, { capabilities, ...engine.machine });
    return { profile, compiled: undefined };
  }
  return privileged ? { profile: undefined, compiled: undefined } : engine.filterFor(capabilities);
}

/**
 * A user namespace does not own the network that the node made for it, so the runtime can neither write its sysctls nor mount
 * a /sys that shows that network: both are done here. The file `sys-of` marks a
 * bundle that needs such a mount, and names the network.
 */
function planSys(engine: Engine, { task, index, networkPath }: IsolationPlace): string {
  const { kernel, files } = engine.host;
  const target = sysPath(engine, task.id, index);
  files.makeDirectorySync(target);
  files.writeSync(`${engine.paths.bundle(task.id, index)}/sys-of`, networkPath ?? '');
  if (networkPath === undefined) return target;
  const namespace = kernel.openNamespace(networkPath);
  try {
    const sysctls = planSysctls(task.spec.containers[index]!.sysctls, true);
    for (const [name, value] of Object.entries(sysctls)) {
      if (name.startsWith('net.')) kernel.writeSysctl(namespace, name, value);
    }
  } finally {
    kernel.closeNamespace(namespace);
  }
  return target;
}

const sysFlags = 1 | 2 | 4 | 8; // read-only, nosuid, nodev, noexec

function sysPath(engine: Engine, taskId: Task['id'], index: number): string {
  return `${engine.paths.bundle(taskId, index)}/sys`;
}

interface Created {
  readonly task: Task;
  readonly index: number;
}

/** Calls `create` with what the runtime needs on the host only while it makes the container. */
export async function whileCreating<Result>(
  engine: Engine,
  { task, index }: Created,
  create: () => Promise<Result>,
): Promise<Result> {
  const networkPath = engine.host.files.findTextSync(`${engine.paths.bundle(task.id, index)}/sys-of`);
  if (networkPath === undefined) return await create();
  showSys(engine, { task, index, networkPath });
  try {
    return await create();
  } finally {
    hideSys(engine, task.id, index);
    await engine.userns.mendNull();
  }
}

function showSys(engine: Engine, { task, index, networkPath }: Created & { readonly networkPath: string }): void {
  const { kernel } = engine.host;
  const inside = networkPath === '' ? undefined : kernel.openNamespace(networkPath);
  try {
    const target = sysPath(engine, task.id, index);
    kernel.mount({ source: 'sysfs', target, type: 'sysfs', flags: sysFlags, inside });
  } finally {
    if (inside !== undefined) kernel.closeNamespace(inside);
  }
}

/** What a command line of the runtime begins with, so that it is started in the network of such a container. */
export function networkPrefix(engine: Engine, containerId: string, bundle: string): readonly string[] {
  if (engine.placeOf(containerId).runtime.name !== 'runc') return [];
  const networkPath = engine.host.files.findTextSync(`${bundle}/sys-of`);
  return networkPath === undefined || networkPath === '' ? [] : ['nsenter', `--net=${networkPath}`, '--'];
}

/** Harmless when there is nothing to undo. */
export function hideSys(engine: Engine, taskId: Task['id'], index: number): void {
  engine.host.kernel.unmount(sysPath(engine, taskId, index), { detach: true });
}

/** For a sweep: of all containers that a task may have had. */
export function hideAllSys(engine: Engine, taskId: Task['id']): void {
  for (const name of engine.host.files.listSync(engine.paths.taskBundles(taskId))) {
    if (/^\d+$/.test(name)) hideSys(engine, taskId, Number(name));
  }
}

/** Volumes as the container shall see them. One that is a mount of its own (NFS and the like) has the owners it has. */
export async function mapVolumes(
  engine: Engine,
  paths: ReadonlyMap<string, string>,
  map: OwnerMap | undefined,
): Promise<ReadonlyMap<string, string>> {
  if (map === undefined) return paths;
  const shown = await Promise.all(
    [...paths].map(async ([target, path]) => {
      if (!path.startsWith(`${engine.volumesFolder}/`) || (await isMountPoint(engine, path)))
        return [target, path] as const;
      return [target, (await map.view(engine.volumesFolder)) + path.slice(engine.volumesFolder.length)] as const;
    }),
  );
  return new Map(shown);
}

async function isMountPoint(engine: Engine, path: string): Promise<boolean> {
  const [own, folder] = await Promise.all([path, engine.volumesFolder].map(at => engine.host.files.findStat(at)));
  return own?.device !== folder?.device;
}

/** Files that the daemon wrote for the container belong to its root. */
export async function ownFiles(
  engine: Engine,
  files: readonly { readonly source: string }[],
  map: OwnerMap | undefined,
): Promise<void> {
  if (map === undefined) return;
  const own = files.filter(({ source }) => source.startsWith(`${engine.paths.bundles}/`));
  await Promise.all(own.map(({ source }) => engine.host.files.changeOwner(source, map.firstId, map.firstId)));
}

/** Root of the namespace is nobody on the host, and has to pass the folders above its root; others still may not. */
export async function openWay(engine: Engine, taskId: Task['id'], map: OwnerMap): Promise<void> {
  const { files } = engine.host;
  await files.changeMode(engine.paths.tasks, 0o711);
  await files.changeOwner(engine.paths.task(taskId), 0, map.firstId);
  await files.changeMode(engine.paths.task(taskId), 0o710);
}
