/**
 * Cgroups where the memory controller is on version 1: a hierarchy for each controller, with or without an empty version 2
 * hierarchy beside them.
 *
 * Not here: what is common to both versions (index.ts).
 */
import { cpuPeriodUs, type TaskLimits } from '../runtime/resources.js';
import type { CgroupDriver, CgroupHost, SeenLimits } from './index.js';

interface V1Mounts {
  readonly v1: readonly { readonly path: string; readonly options: readonly string[] }[];
  readonly v2: string | undefined;
}

/** The kernel's word for "no limit" on version 1: a number of pages near 2^63. */
const unlimitedBytes = 2 ** 62;
const sharesDefault = 1_024;

export function makeV1(host: CgroupHost, mounts: V1Mounts): CgroupDriver {
  const of = (controller: string): string =>
    mounts.v1.find(mount => mount.options.includes(controller))?.path ?? '/sys/fs/cgroup/missing';
  const all = [...mounts.v1.map(mount => mount.path), ...(mounts.v2 === undefined ? [] : [mounts.v2])];
  const memory = of('memory');
  const read = (path: string): number | undefined => {
    const text = host.files.findTextSync(path)?.trim();
    return text === undefined || !/^-?\d+$/.test(text) ? undefined : Number(text);
  };
  return {
    version: mounts.v2 === undefined ? 'v1' : 'hybrid',
    countsSwap: host.files.findTextSync(`${memory}/memory.memsw.limit_in_bytes`) !== undefined,
    mounts: all,
    make: (path, limits) => {
      for (const mount of all) host.files.makeDirectorySync(`${mount}${path}`);
      copyCpuset(host, of('cpuset'), path);
      if (limits !== undefined) writeLimits(host, of, { path, limits });
    },
    readLimits: path => readLimits(read, of, path),
    countOomKills: path => {
      const text = host.files.findTextSync(`${memory}${path}/memory.oom_control`) ?? '';
      return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? '0');
    },
    membersFile: path => `${of('pids')}${path}/cgroup.procs`,
    killAll: () => false,
  };
}

/** A new cpuset has no processors: nothing can enter until it has those of its parent. */
function copyCpuset(host: CgroupHost, mount: string, path: string): void {
  let parent = mount;
  for (const part of path.split('/').slice(1)) {
    const own = `${parent}/${part}`;
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const given = host.files.findTextSync(`${own}/${file}`)?.trim();
      const above = host.files.findTextSync(`${parent}/${file}`)?.trim();
      if (given === '' && above !== undefined && above !== '') host.files.writeSync(`${own}/${file}`, above);
    }
    parent = own;
  }
}

function writeLimits(
  host: CgroupHost,
  of: (controller: string) => string,
  { path, limits }: { readonly path: string; readonly limits: TaskLimits },
): void {
  const write = (controller: string, file: string, value: number): void =>
    host.files.writeSync(`${of(controller)}${path}/${file}`, String(value));
  if (limits.memoryBytes > 0) {
    write('memory', 'memory.limit_in_bytes', limits.memoryBytes);
    if (limits.limitSwap) write('memory', 'memory.memsw.limit_in_bytes', limits.memoryBytes);
  }
  if (limits.cpuQuotaUs !== undefined) {
    write('cpu', 'cpu.cfs_period_us', cpuPeriodUs);
    write('cpu', 'cpu.cfs_quota_us', limits.cpuQuotaUs);
  }
  if (limits.cpuShares !== undefined) write('cpu', 'cpu.shares', limits.cpuShares);
  write('pids', 'pids.max', limits.pidsMax);
}

function readLimits(
  read: (path: string) => number | undefined,
  of: (controller: string) => string,
  path: string,
): SeenLimits {
  const bytes = (file: string): number | undefined => {
    const value = read(`${of('memory')}${path}/${file}`);
    return value === undefined || value > unlimitedBytes ? undefined : value;
  };
  const quota = read(`${of('cpu')}${path}/cpu.cfs_quota_us`);
  const shares = read(`${of('cpu')}${path}/cpu.shares`);
  return {
    memoryBytes: bytes('memory.limit_in_bytes'),
    swapBytes: bytes('memory.memsw.limit_in_bytes'),
    cpuQuotaUs: quota === undefined || quota < 0 ? undefined : quota,
    cpuShares: shares === sharesDefault ? undefined : shares,
    pidsMax: read(`${of('pids')}${path}/pids.max`),
  };
}
