/**
 * Cgroups where the memory controller is on version 1: a hierarchy for each controller, with or without an empty version 2
 * hierarchy beside them.
 *
 * Not here: what is common to both versions (index.ts).
 */
import { cpuPeriodUs, type DeviceLimits, type TaskLimits } from '../runtime/resources.js';
import type { CgroupDriver, CgroupHost, SeenLimits } from './index.js';
import { type Knob, type KnobsSeen, knob } from './knobs.js';
import { counterOf, countOf, type GroupUsage, isRead, type UsageParts } from './usage.js';

interface V1Mounts {
  readonly v1: readonly { readonly path: string; readonly options: readonly string[] }[];
  readonly v2: string | undefined;
}

/** The kernel's word for "no limit" on version 1: a number of pages near 2^63. */
const unlimitedBytes = 2 ** 62;
const sharesDefault = 1_024;
const weightDefault = 100;

type Find = (file: string) => string | undefined;

export function makeV1(host: CgroupHost, mounts: V1Mounts): CgroupDriver {
  const of = (controller: string): string =>
    mounts.v1.find(mount => mount.options.includes(controller))?.path ?? '/sys/fs/cgroup/missing';
  const all = [...mounts.v1.map(mount => mount.path), ...(mounts.v2 === undefined ? [] : [mounts.v2])];
  const memory = of('memory');
  const places = new Map(
    ['memory', 'cpu', 'cpuacct', 'cpuset', 'pids', 'blkio', 'hugetlb'].map(name => [name, of(name)]),
  );
  const fileOf = (path: string, controller: string, file: string): string =>
    `${places.get(controller) ?? of(controller)}${path}/${file}`;
  const findIn =
    (path: string): Find =>
    file =>
      host.files.findTextSync(fileOf(path, file.slice(0, file.indexOf('.')), file));
  return {
    version: mounts.v2 === undefined ? 'v1' : 'hybrid',
    countsSwap: host.files.findTextSync(`${memory}/memory.memsw.limit_in_bytes`) !== undefined,
    mounts: all,
    make: path => {
      for (const mount of all) host.files.makeDirectorySync(`${mount}${path}`);
      copyCpuset(host, of('cpuset'), path);
    },
    planKnobs,
    seeDevices: path => throttleFiles.flatMap(([file]) => devicesIn(findIn(path)(file))),
    fileOf,
    // A group that is to lose processors while a group in it has them is refused, and the other way round.
    cpusetIsNested: true,
    readLimits: path => readLimits(findIn(path)),
    readUsage: (path, parts) => readUsage(findIn(path), parts),
    countOomKills: path => counterOf(host.files.findTextSync(`${memory}${path}/memory.oom_control`), 'oom_kill') ?? 0,
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

export function planKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const quota = limits.cpuQuotaUs;
  return [
    ...memoryKnobs(limits, seen),
    ...knob('cpu', 'cpu.cfs_period_us', { what: 'CPU', value: quota && cpuPeriodUs, otherwise: '100000', seen }),
    ...knob('cpu', 'cpu.cfs_quota_us', { what: 'CPU', value: quota, otherwise: '-1', seen }),
    ...knob('cpu', 'cpu.shares', {
      what: 'the share of CPU',
      value: limits.cpuShares,
      otherwise: String(sharesDefault),
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

/** The one with swap is never below the one without: the higher one is written first when both rise. */
function memoryKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const memoryBytes = limits.memoryBytes || undefined;
  const both = memoryBytes === undefined || limits.swapBytes < 0 ? undefined : memoryBytes + limits.swapBytes;
  const limit = knob('memory', 'memory.limit_in_bytes', { what: 'memory', value: memoryBytes, otherwise: '-1', seen });
  const withSwap = knob('memory', 'memory.memsw.limit_in_bytes', {
    what: 'memory and swap',
    value: both,
    otherwise: '-1',
    seen,
  });
  const soft = knob('memory', 'memory.soft_limit_in_bytes', {
    what: 'reserved memory',
    value: limits.memorySoftBytes || undefined,
    otherwise: '-1',
    seen,
  });
  const before = seen.memorySwapBytes ?? Number.POSITIVE_INFINITY;
  const after = both ?? Number.POSITIVE_INFINITY;
  const rises = after > before;
  const hard = !limits.limitSwap ? limit : rises ? [...withSwap, ...limit] : [...limit, ...withSwap];
  return [...hard, ...soft.map(one => ({ ...one, mayLack: true }))];
}

const throttleFiles: readonly (readonly [string, keyof DeviceLimits & `${string}${'ps'}`, string])[] = [
  ['blkio.throttle.read_bps_device', 'readBps', 'reading from'],
  ['blkio.throttle.write_bps_device', 'writeBps', 'writing to'],
  ['blkio.throttle.read_iops_device', 'readIops', 'reading from'],
  ['blkio.throttle.write_iops_device', 'writeIops', 'writing to'],
];

function ioKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const weight = limits.ioWeight || weightDefault;
  const general: readonly Knob[] =
    limits.ioWeight === 0 && !seen.resets
      ? []
      : [
          {
            controller: 'blkio',
            files: ['blkio.bfq.weight', 'blkio.weight'].map(file => ({ file, value: String(weight) })),
            what: 'the share of disks',
            mayLack: limits.ioWeight === 0,
          },
        ];
  const gone = seen.ioDevices.filter(number => !limits.ioDevices.some(device => device.number === number));
  const throttles = throttleFiles.flatMap(([file, field, verb]): readonly Knob[] => [
    ...limits.ioDevices
      .filter(device => device[field] > 0 || seen.ioDevices.includes(device.number))
      .map(device => ({
        controller: 'blkio',
        files: [{ file, value: `${device.number} ${device[field]}` }],
        what: `${verb} ${device.path}`,
        mayLack: device[field] === 0,
      })),
    ...[...new Set(gone)].map(number => ({
      controller: 'blkio',
      files: [{ file, value: `${number} 0` }],
      what: `device ${number}`,
      mayLack: true,
    })),
  ]);
  const weights = limits.ioDevices
    .filter(device => device.weight > 0)
    .map(device => ({
      controller: 'blkio',
      files: ['blkio.bfq.weight_device', 'blkio.weight_device'].map(file => ({
        file,
        value: `${device.number} ${device.weight}`,
      })),
      what: `the share of ${device.path}`,
      mayLack: false,
    }));
  return [...general, ...throttles, ...weights];
}

function hugepageKnobs(limits: TaskLimits, seen: KnobsSeen): readonly Knob[] {
  const sizes = new Set([...limits.hugepages.map(({ size }) => size), ...seen.hugepageSizes]);
  return [...sizes].flatMap(size =>
    knob('hugetlb', `hugetlb.${size}.limit_in_bytes`, {
      what: `huge pages of ${size}`,
      value: limits.hugepages.find(limit => limit.size === size)?.bytes,
      otherwise: '-1',
      seen,
    }),
  );
}

function devicesIn(text: string | undefined): readonly string[] {
  return [...(text ?? '').matchAll(/^(\d+:\d+) /gm)].map(([, number]) => number ?? '');
}

function readLimits(find: Find): SeenLimits {
  const bytes = (file: string): number | undefined => {
    const value = countOf(find(file));
    return value === undefined || value > unlimitedBytes ? undefined : value;
  };
  const quota = countOf(find('cpu.cfs_quota_us'));
  const shares = countOf(find('cpu.shares'));
  return {
    memoryBytes: bytes('memory.limit_in_bytes'),
    swapBytes: bytes('memory.memsw.limit_in_bytes'),
    cpuQuotaUs: quota === undefined || quota < 0 ? undefined : quota,
    cpuShares: shares === sharesDefault ? undefined : shares,
    pidsMax: countOf(find('pids.max')),
  };
}

function readUsage(find: Find, parts: UsageParts): GroupUsage {
  const whole = isRead(parts, 'rest');
  const stat = whole ? find('memory.stat') : undefined;
  const cpu = isRead(parts, 'cpu') ? find('cpu.stat') : undefined;
  const io = whole ? (find('blkio.throttle.io_service_bytes_recursive') ?? '') : '';
  const sum = (word: string): number =>
    [...io.matchAll(new RegExp(`^\\d+:\\d+ ${word} (\\d+)$`, 'gm'))].reduce((all, [, count]) => all + Number(count), 0);
  return {
    memoryBytes: isRead(parts, 'memory') ? (countOf(find('memory.usage_in_bytes')) ?? 0) : 0,
    fileBytes: (counterOf(stat, 'total_inactive_file') ?? 0) + (counterOf(stat, 'total_active_file') ?? 0),
    inactiveFileBytes: counterOf(stat, 'total_inactive_file') ?? 0,
    cpuNanos: whole ? (countOf(find('cpuacct.usage')) ?? 0) : 0,
    periods: counterOf(cpu, 'nr_periods') ?? 0,
    throttledPeriods: counterOf(cpu, 'nr_throttled') ?? 0,
    pids: whole ? (countOf(find('pids.current')) ?? 0) : 0,
    pidsRefused: counterOf(find('pids.events'), 'max') ?? 0,
    readBytes: sum('Read'),
    writeBytes: sum('Write'),
  };
}
