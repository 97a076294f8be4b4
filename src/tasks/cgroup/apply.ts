/**
 * Writes limits to the group of a task: of one that is new, and of one in which programs run already.
 *
 * Keeps true: a limit that the kernel does not have, or does not take, is an error that says which and why; the others are
 * written all the same. A limit of memory is never lowered below what is in use, which would kill the program.
 *
 * Called by index.ts. Not here: which file stands for which limit (v1.ts, v2.ts).
 */
import { CoveyError, errnoOf } from '../../errors.js';
import type { TaskLimits } from '../runtime/resources.js';
import type { CgroupDriver, CgroupHost } from './index.js';
import { type Knob, type KnobsSeen, newGroup } from './knobs.js';

export interface ApplyTarget {
  readonly host: CgroupHost;
  readonly driver: CgroupDriver;
  readonly path: string;
  /** The groups in it, of containers. */
  readonly inner: readonly string[];
}

/** Into a group that holds no limits yet. */
export function applyNew(target: ApplyTarget, limits: TaskLimits): void {
  throwFirst(write(target, target.driver.planKnobs(limits, newGroup)));
}

/** In place: what is not asked for any more is taken away. Throws the first failure after all was tried. */
export function applyAgain(target: ApplyTarget, limits: TaskLimits): void {
  const belowUse = findBelowUse(target, limits);
  const seen = target.driver.readLimits(target.path);
  const possible = belowUse === undefined ? limits : { ...limits, memoryBytes: seen.memoryBytes ?? 0 };
  const failures = write(target, target.driver.planKnobs(possible, look(target, seen.swapBytes)));
  throwFirst(belowUse === undefined ? failures : [belowUse, ...failures]);
}

function throwFirst(failures: readonly CoveyError[]): void {
  const [first] = failures;
  if (first !== undefined) throw first;
}

/** Room that a program needs to go on at all. */
const marginBytes = 1 << 20;

/** Pages of files can be given up; all else has to have room under the new limit. */
function findBelowUse({ driver, path }: ApplyTarget, limits: TaskLimits): CoveyError | undefined {
  const { memoryBytes } = limits;
  const before = driver.readLimits(path).memoryBytes ?? Number.POSITIVE_INFINITY;
  if (memoryBytes === 0 || memoryBytes >= before) return undefined;
  const usage = driver.readUsage(path, 'all');
  const inUse = usage.memoryBytes - usage.fileBytes;
  if (inUse + marginBytes <= memoryBytes) return undefined;
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return new CoveyError('limit-below-use', `Cannot lower the limit of memory to ${mib(memoryBytes)}`, {
    state: `${mib(inUse)} are in use`,
    hint: 'it is tried again every few seconds; covey service update --force starts the tasks anew',
  });
}

function look({ host, driver, path }: ApplyTarget, memorySwapBytes: number | undefined): KnobsSeen {
  const above = path.slice(0, path.lastIndexOf('/'));
  const text = (file: string): string => host.files.findTextSync(driver.fileOf(above, 'cpuset', file))?.trim() ?? '';
  return {
    resets: true,
    memorySwapBytes,
    ioDevices: [...new Set(driver.seeDevices(path))],
    hugepageSizes: host.files.listSync('/sys/kernel/mm/hugepages').flatMap(hugepageSize),
    // On version 2 the group above need not say which ones it has, and a group with programs in it has to.
    parentCpus: text('cpuset.cpus.effective') || text('cpuset.cpus'),
    parentMems: text('cpuset.mems.effective') || text('cpuset.mems'),
  };
}

/** "hugepages-2048kB" is "2MB" in the names of cgroup files. */
function hugepageSize(name: string): readonly string[] {
  const kib = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? '0');
  if (kib === 0) return [];
  if (kib >= 1 << 20) return [`${kib >> 20}GB`];
  return [kib >= 1 << 10 ? `${kib >> 10}MB` : `${kib}KB`];
}

function write(target: ApplyTarget, knobs: readonly Knob[]): readonly CoveyError[] {
  return knobs.flatMap(knob => {
    try {
      writeOne(target, knob);
      return [];
    } catch (error) {
      return [error instanceof CoveyError && error.code === 'limit-unsupported' ? error : refused(knob, error)];
    }
  });
}

function writeOne(target: ApplyTarget, knob: Knob): void {
  const { host, driver, path } = target;
  const found = knob.files.find(
    ({ file }) => host.files.findTextSync(driver.fileOf(path, knob.controller, file)) !== undefined,
  );
  if (found === undefined) {
    if (knob.mayLack) return;
    throw new CoveyError('limit-unsupported', `Cannot limit ${knob.what}: the kernel of this node cannot`, {
      state: `there is no ${knob.files.map(({ file }) => file).join(' and no ')} (cgroup ${driver.version})`,
      hint: 'leave the limit out, or let a constraint keep the service to nodes that can',
    });
  }
  const put = (group: string, value: string): void =>
    host.files.writeSync(driver.fileOf(group, knob.controller, found.file), value);
  if (knob.controller !== 'cpuset' || !driver.cpusetIsNested || target.inner.length === 0) {
    put(path, found.value);
    return;
  }
  // What is in the group has to stay a part of it at every moment: first both, then the new ones inside, then the new ones.
  const before = host.files.findTextSync(driver.fileOf(path, knob.controller, found.file))?.trim() ?? '';
  put(path, [before, found.value].filter(Boolean).join(','));
  for (const group of target.inner) put(group, found.value);
  put(path, found.value);
}

function refused(knob: Knob, cause: unknown): CoveyError {
  const errno = errnoOf(cause instanceof CoveyError ? cause.cause : cause);
  const reasons: Readonly<Record<string, string>> = {
    EBUSY: 'more than that is in use, or a group in it has more',
    EINVAL: 'the kernel does not take the value',
    ERANGE: 'the value is out of range',
    ENODEV: 'it is no whole disk',
    EOPNOTSUPP: 'the kernel does not support it',
  };
  return new CoveyError('limit-refused', `Cannot limit ${knob.what} to "${knob.files[0]?.value.trim()}"`, {
    state: reasons[errno ?? ''] ?? `the kernel answered ${errno ?? 'with an error'}`,
    cause,
  });
}
