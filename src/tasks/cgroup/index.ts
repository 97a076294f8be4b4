/**
 * The cgroups of tasks: one group `/<prefix>/<task id>` below the parent `/<prefix>`, and `/<prefix>/_mon` for the monitors.
 *
 * Keeps true: a group is in every hierarchy of the machine or in none when it is removed; nothing outside of `/<prefix>` is
 * touched. Version 1, version 2 and both side by side ("hybrid", where limits go through v1) are told apart at open.
 *
 * The runtime writes the main limits of a task with one container, the rest is added here; those of more containers share a
 * group that is made here.
 *
 * Not here: which limits (runtime/resources.ts), writing them (apply.ts), when to kill (task.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Host } from '../../host.js';
import { noLimits, type TaskLimits } from '../runtime/resources.js';
import { type ApplyTarget, applyAgain, applyNew } from './apply.js';
import { type Freezer, openFreezer } from './freezer.js';
import type { Knob, KnobsSeen } from './knobs.js';
import type { GroupUsage, UsageParts } from './usage.js';
import { makeV1 } from './v1.js';
import { makeV2 } from './v2.js';

export type CgroupHost = Pick<Host, 'files' | 'processes'>;

/** What the kernel says a group may use; undefined: no limit, or no such controller. */
export interface SeenLimits {
  readonly memoryBytes: number | undefined;
  readonly swapBytes: number | undefined;
  readonly cpuQuotaUs: number | undefined;
  readonly cpuShares: number | undefined;
  readonly pidsMax: number | undefined;
}

/** How one kind of machine does it; paths are those of the kernel: "/covey/<task>". */
export interface CgroupDriver {
  readonly version: 'v1' | 'v2' | 'hybrid';
  readonly countsSwap: boolean;
  /** Where each hierarchy is mounted. */
  readonly mounts: readonly string[];
  readonly make: (path: string) => void;
  /** What is to be written, in order. */
  readonly planKnobs: (limits: TaskLimits, seen: KnobsSeen) => readonly Knob[];
  readonly fileOf: (path: string, controller: string, file: string) => string;
  /** Numbers of the devices that have limits. */
  readonly seeDevices: (path: string) => readonly string[];
  /** A group may have no processors that the group above has not. */
  readonly cpusetIsNested: boolean;
  readonly readLimits: (path: string) => SeenLimits;
  readonly readUsage: (path: string, parts: UsageParts) => GroupUsage;
  /** Processes killed in the group for memory since it was made. */
  readonly countOomKills: (path: string) => number;
  /** The hierarchy that knows all members. */
  readonly membersFile: (path: string) => string;
  /** Kills at once where the kernel can; false: signal them one by one. */
  readonly killAll: (path: string) => boolean;
}

export interface Cgroups {
  readonly version: CgroupDriver['version'];
  readonly countsSwap: boolean;
  readonly taskPath: (taskId: string) => string;
  /** Group of one container: the task's own when it is the only one. */
  readonly containerPath: (taskId: string, index: number, count: number) => string;
  /** The parent of a task's containers, with its limits. */
  readonly makeTask: (taskId: string, limits: TaskLimits) => void;
  /** What the runtime does not write, for a container that was made and not started. */
  readonly addLimits: (taskId: string, limits: TaskLimits) => void;
  /** Of a task that runs. Throws the first that could not be changed, after all were tried. */
  readonly changeLimits: (taskId: string, limits: TaskLimits) => void;
  readonly readUsage: (taskId: string, look: { readonly parts: UsageParts; readonly containers: number }) => GroupUsage;
  readonly readLimits: (taskId: string) => SeenLimits;
  /** In all its containers; told how many there are, it need not look. */
  readonly countOomKills: (taskId: string, containers?: number) => number;
  /** Process ids in the task's groups, zombies left out. */
  readonly members: (taskId: string) => readonly number[];
  /** SIGKILL to all members. True when none is left. */
  readonly killAll: (taskId: string) => boolean;
  /** Removes the task's groups everywhere. False while processes are in them. */
  readonly remove: (taskId: string) => boolean;
  /** Moves a monitor out of the daemon's group. */
  readonly adoptMonitor: (pid: number) => Promise<void>;
  readonly monitors: () => ReadonlySet<number>;
  /** Task ids that have a group. */
  readonly tasks: () => readonly string[];
  /** Holds the processes of a task still. */
  readonly freezer: Freezer;
  /** For leave: the parent too. What could not be removed is named. */
  readonly removeAll: () => readonly string[];
}

const monitorName = '_mon';

export function openCgroups(host: CgroupHost, prefix: string): Cgroups {
  const driver = findDriver(host);
  const parent = `/${prefix}`;
  const monitorPath = `${parent}/${monitorName}`;
  const taskPath = (taskId: string): string => `${parent}/${taskId}`;
  const mounts = host.files.findTextSync('/proc/self/mounts') ?? '';
  const freezer = openFreezer(host, { mounts, parent });
  const targetOf = (taskId: string): ApplyTarget => {
    const path = taskPath(taskId);
    return { host, driver, path, inner: innerPaths(host, driver, path) };
  };
  let monitorsMade = false;

  return {
    version: driver.version,
    countsSwap: driver.countsSwap,
    taskPath,
    containerPath: (taskId, index, count) => (count === 1 ? taskPath(taskId) : `${taskPath(taskId)}/${index}`),
    makeTask: (taskId, limits) => {
      driver.make(taskPath(taskId));
      applyNew(targetOf(taskId), limits);
      if (limits.memorySoftBytes > 0) shareProtection(host, driver, parent);
    },
    addLimits: (taskId, limits) => {
      const { memorySoftBytes, cpusetCpus, cpusetMems, ioWeight, ioDevices, hugepages } = limits;
      const extras = { ...noLimits, memorySoftBytes, cpusetCpus, cpusetMems, ioWeight, ioDevices, hugepages };
      applyNew(targetOf(taskId), extras);
      if (memorySoftBytes > 0) shareProtection(host, driver, parent);
    },
    changeLimits: (taskId, limits) => {
      applyAgain(targetOf(taskId), limits);
      shareProtection(host, driver, parent);
    },
    readUsage: (taskId, { parts, containers }) => readUsage(driver, groupsOf(taskPath(taskId), containers), parts),
    readLimits: taskId => driver.readLimits(taskPath(taskId)),
    countOomKills: (taskId, containers) => {
      const path = taskPath(taskId);
      const groups = containers === undefined ? [path, ...innerPaths(host, driver, path)] : groupsOf(path, containers);
      // Version 1 counts where the victim was, version 2 in all groups above as well.
      return (driver.version === 'v2' ? [path] : groups).reduce((sum, group) => sum + driver.countOomKills(group), 0);
    },
    members: taskId => membersBelow(host, driver, taskPath(taskId)),
    killAll: taskId => {
      freezer.thaw(taskId); // what stands still does not die on version 1
      return killAll(host, driver, taskPath(taskId));
    },
    freezer,
    remove: taskId => removeEverywhere(host, driver, taskPath(taskId)),
    adoptMonitor: async pid => {
      if (!monitorsMade) driver.make(monitorPath);
      monitorsMade = true;
      const [first, ...others] = driver.mounts.map(mount => `${mount}${monitorPath}/cgroup.procs`);
      // The first move waits until the whole machine has noticed (milliseconds, cgroup_threadgroup_rwsem); others follow at once.
      if (first !== undefined) await host.files.write(first, String(pid));
      for (const file of others) host.files.writeSync(file, String(pid));
    },
    monitors: () => new Set(readMembers(host, driver.membersFile(monitorPath))),
    tasks: () =>
      [...new Set(driver.mounts.flatMap(mount => groupsIn(host, `${mount}${parent}`)))].filter(
        name => name !== monitorName,
      ),
    removeAll: () => {
      const left = driver.mounts.flatMap(mount => groupsIn(host, `${mount}${parent}`).map(name => `${parent}/${name}`));
      const stuck = [...new Set(left), parent].filter(path => !removeEverywhere(host, driver, path));
      monitorsMade = false;
      return stuck;
    },
  };
}

interface MountedHierarchy {
  readonly path: string;
  readonly type: string;
  readonly options: readonly string[];
}

function findDriver(host: CgroupHost): CgroupDriver {
  const mounted = parseMounts(host.files.findTextSync('/proc/self/mounts') ?? '');
  const v1 = mounted.filter(mount => mount.type === 'cgroup');
  const v2 = mounted.find(mount => mount.type === 'cgroup2');
  const memory = v1.some(mount => mount.options.includes('memory'));
  if (memory)
    return makeV1(host, { v1: v1.map(mount => ({ path: mount.path, options: mount.options })), v2: v2?.path });
  if (v2 !== undefined) return makeV2(host, v2.path);
  throw new CoveyError('no-cgroup', 'Cannot find a cgroup hierarchy with a memory controller', {
    state: `${v1.length} of version 1 and ${v2 === undefined ? 'none' : 'one'} of version 2 are mounted`,
    hint: 'mount -t cgroup2 cgroup2 /sys/fs/cgroup',
  });
}

/** Those below /sys/fs/cgroup: mounts elsewhere show the same hierarchies again, or belong to others. */
function parseMounts(text: string): readonly MountedHierarchy[] {
  return text.split('\n').flatMap(line => {
    const [, path, type, options] = line.split(' ');
    if (path === undefined || (type !== 'cgroup' && type !== 'cgroup2') || !path.startsWith('/sys/fs/cgroup'))
      return [];
    return [{ path, type, options: (options ?? '').split(',') }];
  });
}

function readMembers(host: CgroupHost, file: string): readonly number[] {
  const text = host.files.findTextSync(file) ?? '';
  return text === '' ? [] : text.trimEnd().split('\n').map(Number);
}

/** Names of the groups in a group: its directories, the only entries without a dot and without a controller's name. */
function groupsIn(host: CgroupHost, path: string): readonly string[] {
  return host.files.listSync(path).filter(name => /^(?:[0-9a-z]{25}|\d{1,3}|_mon)$/.test(name));
}

function innerPaths(host: CgroupHost, driver: CgroupDriver, path: string): readonly string[] {
  const mount = driver.membersFile('').replace(/\/cgroup\.procs$/, '');
  return groupsIn(host, `${mount}${path}`).map(name => `${path}/${name}`);
}

/** The group of a task, and those of its containers when there are several. */
function groupsOf(path: string, containers: number): readonly string[] {
  return containers === 1 ? [path] : [path, ...Array.from({ length: containers }, (_one, index) => `${path}/${index}`)];
}

/** Version 1 counts refused processes where they were to be started; all else is counted in the groups above as well. */
function readUsage(driver: CgroupDriver, [path = '', ...inner]: readonly string[], parts: UsageParts): GroupUsage {
  const usage = driver.readUsage(path, parts);
  if (driver.version === 'v2') return usage;
  const refused = inner.map(group => driver.readUsage(group, []).pidsRefused);
  return { ...usage, pidsRefused: refused.reduce((sum, count) => sum + count, usage.pidsRefused) };
}

/** Version 2 protects memory in a group only as far as it does so in the groups above. */
function shareProtection(host: CgroupHost, driver: CgroupDriver, parent: string): void {
  const file = driver.fileOf(parent, 'memory', 'memory.low');
  if (driver.version !== 'v2' || host.files.findTextSync(file) === undefined) return;
  const lows = groupsIn(host, `${driver.mounts[0] ?? ''}${parent}`).map(name =>
    Number(host.files.findTextSync(driver.fileOf(`${parent}/${name}`, 'memory', 'memory.low'))?.trim() ?? '0'),
  );
  const sum = lows.reduce((all, low) => all + (Number.isNaN(low) ? 0 : low), 0);
  host.files.writeSync(file, String(sum));
}

function membersBelow(host: CgroupHost, driver: CgroupDriver, path: string): readonly number[] {
  const inner = innerPaths(host, driver, path).flatMap(child => membersBelow(host, driver, child));
  const own = readMembers(host, driver.membersFile(path));
  return [...own, ...inner].filter(pid => {
    const start = host.processes.findStart(pid);
    return start !== undefined && start.state !== 'Z' && start.state !== 'X';
  });
}

/** Members may fork while they are being signalled: once more until a look finds none, a bounded number of times. */
function killAll(host: CgroupHost, driver: CgroupDriver, path: string): boolean {
  const roundsMax = 10;
  for (let round = 0; round < roundsMax; round += 1) {
    const pids = membersBelow(host, driver, path);
    if (pids.length === 0) return true;
    if (round === 0 && driver.killAll(path)) continue;
    for (const pid of pids) host.processes.kill(pid, 9);
  }
  return false;
}

function removeEverywhere(host: CgroupHost, driver: CgroupDriver, path: string): boolean {
  let removed = true;
  for (const mount of driver.mounts) if (!removeGroup(host, `${mount}${path}`)) removed = false;
  return removed;
}

function removeGroup(host: CgroupHost, directory: string): boolean {
  if (host.files.removeDirectorySync(directory) !== 'busy') return true;
  for (const name of groupsIn(host, directory)) removeGroup(host, `${directory}/${name}`);
  return host.files.removeDirectorySync(directory) !== 'busy';
}
