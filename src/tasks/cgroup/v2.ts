/**
 * Cgroups where version 2 is alone: one tree, in which a group hands its controllers down by name.
 *
 * Not here: what is common to both versions (index.ts).
 */
import { cpuPeriodUs, type DeviceLimits, type TaskLimits } from '../runtime/resources.js';
import type { CgroupDriver, CgroupHost, SeenLimits } from './index.js';
import { type Knob, type KnobsSeen, knob } from './knobs.js';
import { counterOf, countOf, type GroupUsage, isRead, type UsageParts } from './usage.js';

const wantedControllers = ['cpu', 'cpuset', 'io', 'memory', 'pids', 'hugetlb'];
const weightDefault = 100;

type Find = (file: string) => string | undefined;

export function makeV2(host: CgroupHost, mount: string): CgroupDriver {
  const findIn =
    (path: string): Find =>
    file =>
      host.files.findTextSync(`${mount}${path}/${file}`)?.trim();
  return {
    version: 'v2',
    countsSwap: isSwapCounted(host),
    mounts: [mount],
    make: path => handDown(host, mount, path),
    planKnobs,
    seeDevices: path => [...(findIn(path)('io.max') ?? '').matchAll(/^\d+:\d+/gm)].map(([number]) => number),
    fileOf: (path, _controller, file) => `${mount}${path}/${file}`,
    cpusetIsNested: false,
    readLimits: path => readLimits(findIn(path)),
    readUsage: (path, parts) => readUsage(findIn(path), parts),
    countOomKills: path => counterOf(findIn(path)('memory.events'), 'oom_kill') ?? 0,
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

export function planKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const { cpuQuotaUs, cpuShares } = limits;
  return [
    ...memoryKnobs(limits, seen),
    ...knob('cpu', 'cpu.max', {
      what: 'CPU',
      value: cpuQuotaUs === undefined ? undefined : `${cpuQuotaUs} ${cpuPeriodUs}`,
      otherwise: `max ${cpuPeriodUs}`,
      seen,
    }),
    ...knob('cpu', 'cpu.weight', {
      what: 'the share of CPU',
      value: cpuShares === undefined ? undefined : weightOfShares(cpuShares),
      otherwise: String(weightDefault),
      seen,
    }),
    ...knob('pids', 'pids.max', { what: 'processes', value: limits.pidsMax || undefined, otherwise: 'max', seen }),
    ...knob('cpuset', 'cpuset.cpus', {
      what: 'processors',
      value: limits.cpusetCpus || undefined,
      otherwise: seen.parentCpus,
      seen,
    }),
    ...knob('cpuset', 'cpuset.mems', {
      what: 'memory nodes',
      value: limits.cpusetMems || undefined,
      otherwise: seen.parentMems,
      seen,
    }),
    ...ioKnobs(limits, seen),
    ...hugepageKnobs(limits, seen),
  ];
}

function memoryKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const memoryBytes = limits.memoryBytes || undefined;
  const swap = memoryBytes === undefined || limits.swapBytes < 0 ? undefined : limits.swapBytes;
  const swapKnobs = knob('memory', 'memory.swap.max', { what: 'swap', value: swap, otherwise: 'max', seen });
  return [
    ...knob('memory', 'memory.max', { what: 'memory', value: memoryBytes, otherwise: 'max', seen }),
    // A kernel without swap has no such file, and nothing to limit.
    ...(limits.limitSwap ? swapKnobs.map(one => ({ ...one, mayLack: one.mayLack || limits.swapBytes === 0 })) : []),
    ...knob('memory', 'memory.low', {
      what: 'reserved memory',
      value: limits.memorySoftBytes || undefined,
      otherwise: '0',
      seen,
    }).map(one => ({ ...one, mayLack: true })),
  ];
}

function ioKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const general: readonly Knob[] =
    limits.ioWeight === 0 && !seen.resets
      ? []
      : [weightKnob('default', limits.ioWeight || weightDefault, limits.ioWeight === 0)];
  const gone = seen.ioDevices.filter(number => !limits.ioDevices.some(device => device.number === number));
  const limit = (value: number): string => (value === 0 ? 'max' : String(value));
  const lines = [
    ...limits.ioDevices
      .filter(device => hasThrottle(device) || seen.ioDevices.includes(device.number))
      .map(device => ({ ...device, mayLack: !hasThrottle(device) })),
    ...gone.map(number => ({ ...unthrottled, number, path: number, mayLack: true })),
  ];
  const throttles = lines.map(
    (line): Knob => ({
      controller: 'io',
      files: [
        {
          file: 'io.max',
          value: `${line.number} rbps=${limit(line.readBps)} wbps=${limit(line.writeBps)} riops=${limit(line.readIops)} wiops=${limit(line.writeIops)}`,
        },
      ],
      what: `reading from and writing to ${line.path}`,
      mayLack: line.mayLack,
    }),
  );
  const weights = limits.ioDevices
    .filter(device => device.weight > 0)
    .map(device => weightKnob(device.number, device.weight, false));
  return [...general, ...throttles, ...weights];
}

const unthrottled = { readBps: 0, writeBps: 0, readIops: 0, writeIops: 0 };

function hasThrottle(device: DeviceLimits): boolean {
  return device.readBps + device.writeBps + device.readIops + device.writeIops > 0;
}

/** Weights of 10 to 1,000 as the I/O scheduler BFQ has them; the kernel's own go from 1 to 10,000. */
function weightKnob(target: string, weight: number, mayLack: boolean): Knob {
  const own = mayLack ? weightDefault : Math.round(1 + ((weight - 10) * 9_999) / 990);
  return {
    controller: 'io',
    files: [
      { file: 'io.bfq.weight', value: `${target} ${weight}` },
      { file: 'io.weight', value: `${target} ${own}` },
    ],
    what: 'the share of disks',
    mayLack,
  };
}

function hugepageKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const sizes = new Set([...limits.hugepages.map(({ size }) => size), ...seen.hugepageSizes]);
  return [...sizes].flatMap(size =>
    knob('hugetlb', `hugetlb.${size}.max`, {
      what: `huge pages of ${size}`,
      value: limits.hugepages.find(limit => limit.size === size)?.bytes,
      otherwise: 'max',
      seen,
    }),
  );
}

/** The runtimes' rule from shares (2 to 262144) to weight (1 to 10000). */
export function weightOfShares(shares: number): number {
  return Math.floor(1 + ((shares - 2) * 9_999) / 262_142);
}

function readLimits(find: Find): SeenLimits {
  const weight = countOf(find('cpu.weight'));
  return {
    memoryBytes: countOf(find('memory.max')),
    swapBytes: countOf(find('memory.swap.max')),
    cpuQuotaUs: countOf(find('cpu.max')?.split(' ')[0]),
    cpuShares:
      weight === undefined || weight === weightDefault ? undefined : Math.round(2 + ((weight - 1) * 262_142) / 9_999),
    pidsMax: countOf(find('pids.max')),
  };
}

function readUsage(find: Find, parts: UsageParts): GroupUsage {
  const whole = isRead(parts, 'rest');
  const stat = whole ? find('memory.stat') : undefined;
  const cpu = isRead(parts, 'cpu') ? find('cpu.stat') : undefined;
  const io = whole ? (find('io.stat') ?? '') : '';
  const sum = (word: string): number =>
    [...io.matchAll(new RegExp(`\\b${word}=(\\d+)`, 'g'))].reduce((all, [, count]) => all + Number(count), 0);
  const inactiveFileBytes = counterOf(stat, 'inactive_file') ?? 0;
  return {
    memoryBytes: isRead(parts, 'memory') ? (countOf(find('memory.current')) ?? 0) : 0,
    fileBytes: inactiveFileBytes + (counterOf(stat, 'active_file') ?? 0) + (counterOf(stat, 'slab_reclaimable') ?? 0),
    inactiveFileBytes,
    cpuNanos: (counterOf(cpu, 'usage_usec') ?? 0) * 1_000,
    periods: counterOf(cpu, 'nr_periods') ?? 0,
    throttledPeriods: counterOf(cpu, 'nr_throttled') ?? 0,
    pids: whole ? (countOf(find('pids.current')) ?? 0) : 0,
    pidsRefused: counterOf(find('pids.events'), 'max') ?? 0,
    readBytes: sum('rbytes'),
    writeBytes: sum('wbytes'),
  };
}
