/**
 * Cgroups where version 2 is alone: one tree, in which a group hands its controllers down by name.
 *
 * Not here: what is common to both versions (index.ts).
 */
import { cpuPeriodUs, type TaskLimits } from '../runtime/resources.js';
import type { CgroupDriver, CgroupHost, SeenLimits } from './index.js';

const wantedControllers = ['cpu', 'cpuset', 'io', 'memory', 'pids', 'hugetlb'];

export function makeV2(host: CgroupHost, mount: string): CgroupDriver {
  const read = (path: string): string | undefined => host.files.findTextSync(`${mount}${path}`)?.trim();
  return {
    version: 'v2',
    countsSwap: isSwapCounted(host),
    mounts: [mount],
    make: (path, limits) => {
      handDown(host, mount, path);
      if (limits !== undefined) writeLimits(host, `${mount}${path}`, limits);
    },
    readLimits: path => readLimits(read, path),
    countOomKills: path => Number(/^oom_kill (\d+)$/m.exec(read(`${path}/memory.events`) ?? '')?.[1] ?? '0'),
    membersFile: path => `${mount}${path}/cgroup.procs`,
    killAll: path => {
      // cgroup.kill is there since Linux 5.14.
      if (host.files.findTextSync(`${mount}${path}/cgroup.events`) === undefined) return false;
      if (!host.files.listSync(`${mount}${path}`).includes('cgroup.kill')) return false;
      host.files.writeSync(`${mount}${path}/cgroup.kill`, '1');
      return true;
    },
  };
}

/** memory.swap.max is absent without swap accounting, and at the root always: a machine without /proc/swaps has none. */
function isSwapCounted(host: CgroupHost): boolean {
  return host.files.findTextSync('/proc/swaps') !== undefined;
}

/** Makes the group and lets its ancestors hand the controllers down to it; the root of the tree included. */
function handDown(host: CgroupHost, mount: string, path: string): void {
  let parent = mount;
  for (const part of path.split('/').slice(1)) {
    const available = (host.files.findTextSync(`${parent}/cgroup.controllers`) ?? '').trim().split(' ');
    const given = (host.files.findTextSync(`${parent}/cgroup.subtree_control`) ?? '').trim().split(' ');
    for (const controller of wantedControllers) {
      if (!available.includes(controller) || given.includes(controller)) continue;
      host.files.writeSync(`${parent}/cgroup.subtree_control`, `+${controller}`);
    }
    parent = `${parent}/${part}`;
    host.files.makeDirectorySync(parent);
  }
}

function writeLimits(host: CgroupHost, group: string, limits: TaskLimits): void {
  if (limits.memoryBytes > 0) {
    host.files.writeSync(`${group}/memory.max`, String(limits.memoryBytes));
    const swap = `${group}/memory.swap.max`;
    if (limits.limitSwap && host.files.findTextSync(swap) !== undefined) host.files.writeSync(swap, '0');
  }
  if (limits.cpuQuotaUs !== undefined) {
    host.files.writeSync(`${group}/cpu.max`, `${limits.cpuQuotaUs} ${cpuPeriodUs}`);
  }
  if (limits.cpuShares !== undefined) {
    host.files.writeSync(`${group}/cpu.weight`, String(weightOfShares(limits.cpuShares)));
  }
  host.files.writeSync(`${group}/pids.max`, String(limits.pidsMax));
}

/** The runtimes' rule from shares (2 to 262144) to weight (1 to 10000). */
export function weightOfShares(shares: number): number {
  return Math.floor(1 + ((shares - 2) * 9_999) / 262_142);
}

function readLimits(read: (path: string) => string | undefined, path: string): SeenLimits {
  const count = (text: string | undefined): number | undefined =>
    text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
  const weight = count(read(`${path}/cpu.weight`));
  return {
    memoryBytes: count(read(`${path}/memory.max`)),
    swapBytes: count(read(`${path}/memory.swap.max`)),
    cpuQuotaUs: count(read(`${path}/cpu.max`)?.split(' ')[0]),
    cpuShares: weight === undefined || weight === 100 ? undefined : Math.round(2 + ((weight - 1) * 262_142) / 9_999),
    pidsMax: count(read(`${path}/pids.max`)),
  };
}
