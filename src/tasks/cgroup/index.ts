/**
 * The cgroups of tasks: one group `/<prefix>/<task id>` below the parent `/<prefix>`, and `/<prefix>/_mon` for the monitors.
 *
 * Keeps true: a group is in every hierarchy of the machine or in none when it is removed; nothing outside of `/<prefix>` is
 * touched. Version 1, version 2 and both side by side ("hybrid", where limits go through v1) are told apart at open.
 *
 * The runtime writes the limits of a task with one container; those of more containers share a group that is made here.
 *
 * Not here: which limits (runtime/resources.ts), when to kill (task.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Host } from '../../host.js';
import type { TaskLimits } from '../runtime/resources.js';
import { type Freezer, openFreezer } from './freezer.js';
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
  readonly make: (path: string, limits: TaskLimits | undefined) => void;
  readonly readLimits: (path: string) => SeenLimits;
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
  readonly readLimits: (taskId: string) => SeenLimits;
  /** In all its containers. */
  readonly countOomKills: (taskId: string) => number;
  /** Process ids in the task's groups, zombies left out. */
  readonly members: (taskId: string) => readonly number[];
  /** SIGKILL to all members. True when none is left. */
  readonly killAll: (taskId: string) => boolean;
  /** Removes the task's groups everywhere. False while processes are in them. */
  readonly remove: (taskId: string) => boolean;
  /** Moves a monitor out of the daemon's group. */
  readonly adoptMonitor: (pid: number) => void;
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
  let monitorsMade = false;

  return {
    version: driver.version,
    countsSwap: driver.countsSwap,
    taskPath,
    containerPath: (taskId, index, count) => (count === 1 ? taskPath(taskId) : `${taskPath(taskId)}/${index}`),
    makeTask: (taskId, limits) => driver.make(taskPath(taskId), limits),
    readLimits: taskId => driver.readLimits(taskPath(taskId)),
    countOomKills: taskId => countOomKills(host, driver, taskPath(taskId)),
    members: taskId => membersBelow(host, driver, taskPath(taskId)),
    killAll: taskId => {
      freezer.thaw(taskId); // what stands still does not die on version 1
      return killAll(host, driver, taskPath(taskId));
    },
    freezer,
    remove: taskId => removeEverywhere(host, driver, taskPath(taskId)),
    adoptMonitor: pid => {
      if (!monitorsMade) driver.make(monitorPath, undefined);
      monitorsMade = true;
      for (const mount of driver.mounts) host.files.writeSync(`${mount}${monitorPath}/cgroup.procs`, String(pid));
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

/** Version 1 counts where the victim was, version 2 in all groups above as well. */
function countOomKills(host: CgroupHost, driver: CgroupDriver, path: string): number {
  const inner = innerPaths(host, driver, path).map(driver.countOomKills);
  return inner.reduce((sum, count) => sum + count, driver.countOomKills(path));
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
