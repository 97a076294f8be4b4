/**
 * Limits of a task as the kernel has to know them, from what its spec asks for, and the part of them that the runtime writes.
 * Pure.
 *
 * Not here: writing them to the cgroup (cgroup/), what is told when they are hit (usage/).
 */
import { CoveyError } from '../../errors.js';
import type { DeviceIo, HugepageLimit, Resources } from '../../gen/types.js';
import type { OciDeviceRule, OciResources } from './oci.js';

/** Stops a fork bomb long before the machine runs out of process numbers; no sane task comes near. */
export const pidsDefaultMax = 8_192;
export const cpuPeriodUs = 100_000;
/** The kernel refuses a quota below a millisecond. */
const cpuQuotaMinUs = 1_000;
const sharesPerCore = 1_024;

export interface TaskLimits {
  /** 0: none. */
  readonly memoryBytes: number;
  /** Swap besides memoryBytes is limited too; false where the kernel does not count swap. */
  readonly limitSwap: boolean;
  /** -1: no limit. Means something only with memoryBytes and limitSwap. */
  readonly swapBytes: number;
  /** Taken last when memory is scarce. 0: nothing is. */
  readonly memorySoftBytes: number;
  /** Per period of 100 ms; undefined: no limit. */
  readonly cpuQuotaUs: number | undefined;
  /** Weight against others when the processors are busy; undefined: the kernel's default. */
  readonly cpuShares: number | undefined;
  /** 0: no limit of its own. */
  readonly pidsMax: number;
  /** "0-3"; empty: all. */
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  /** 10 to 1,000; 0: the kernel's default. */
  readonly ioWeight: number;
  readonly ioDevices: readonly DeviceLimits[];
  readonly hugepages: readonly HugepageLimit[];
}

export interface DeviceLimits extends DeviceIo {
  /** "254:0". */
  readonly number: string;
}

export const noLimits: TaskLimits = {
  memoryBytes: 0,
  limitSwap: false,
  swapBytes: 0,
  memorySoftBytes: 0,
  cpuQuotaUs: undefined,
  cpuShares: undefined,
  pidsMax: 0,
  cpusetCpus: '',
  cpusetMems: '',
  ioWeight: 0,
  ioDevices: [],
  hugepages: [],
};

/** What of the machine decides how limits are written. */
export interface LimitsHost {
  readonly countsSwap: boolean;
  /** "254:0" of "/dev/vda"; undefined when it is no block device of this node. */
  readonly findDevice?: (path: string) => string | undefined;
}

export function planLimits(
  spec: { readonly limits?: Resources | undefined; readonly reservations?: Resources | undefined },
  host: LimitsHost,
): TaskLimits {
  const limits: Resources = spec.limits ?? { cpuNanos: 0, memoryBytes: 0, pids: 0 };
  const reserved = spec.reservations?.cpuNanos ?? 0;
  const quota = Math.round((limits.cpuNanos / 1e9) * cpuPeriodUs);
  if (limits.swapBytes !== undefined && limits.swapBytes >= 0 && !host.countsSwap) {
    throw new CoveyError('limit-unsupported', 'Cannot limit swap: this kernel does not count it', {
      hint: 'boot it with swapaccount=1, or leave the limit of swap out',
    });
  }
  return {
    memoryBytes: limits.memoryBytes,
    limitSwap: host.countsSwap,
    swapBytes: limits.swapBytes ?? 0,
    memorySoftBytes: spec.reservations?.memoryBytes ?? 0,
    cpuQuotaUs: limits.cpuNanos === 0 ? undefined : Math.max(quota, cpuQuotaMinUs),
    cpuShares: limits.cpuShares ?? (reserved === 0 ? undefined : sharesOf(reserved)),
    pidsMax: limits.pids === 0 ? pidsDefaultMax : limits.pids,
    cpusetCpus: limits.cpusetCpus ?? '',
    cpusetMems: limits.cpusetMems ?? '',
    ioWeight: limits.io?.weight ?? 0,
    ioDevices: (limits.io?.devices ?? []).map(device => ({ ...device, number: deviceNumber(device.path, host) })),
    hugepages: limits.hugepages?.sizes ?? [],
  };
}

function sharesOf(cpuNanos: number): number {
  return Math.max(2, Math.round((cpuNanos / 1e9) * sharesPerCore));
}

function deviceNumber(path: string, { findDevice }: LimitsHost): string {
  const number = findDevice?.(path);
  if (number !== undefined) return number;
  throw new CoveyError('limit-unsupported', `Cannot limit "${path}": it is no block device of this node`, {
    hint: 'lsblk -d -o PATH',
  });
}

/** Whether there is something that the runtime is not told and that is written to the cgroup after it. */
export function hasExtras(limits: TaskLimits): boolean {
  const { memorySoftBytes, cpusetCpus, cpusetMems, ioWeight, ioDevices, hugepages } = limits;
  return memorySoftBytes + ioWeight + ioDevices.length + hugepages.length > 0 || cpusetCpus + cpusetMems !== '';
}

/** What the runtime writes: the limits that every container has had from its first moment. */
export function planResources(limits: TaskLimits): OciResources {
  const { memoryBytes, cpuQuotaUs, cpuShares, swapBytes } = limits;
  const swap = swapBytes < 0 ? -1 : memoryBytes + swapBytes;
  const cpu = {
    ...(cpuQuotaUs === undefined ? {} : { quota: cpuQuotaUs, period: cpuPeriodUs }),
    ...(cpuShares === undefined ? {} : { shares: cpuShares }),
  };
  return {
    devices: defaultDevices,
    ...(memoryBytes === 0 ? {} : { memory: { limit: memoryBytes, ...(limits.limitSwap ? { swap } : {}) } }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    pids: { limit: limits.pidsMax },
  };
}

/** Nothing but the harmless ones; any node may be made (mknod), few may be used. */
const defaultDevices: readonly OciDeviceRule[] = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  ...(
    [
      [1, 3],
      [1, 5],
      [1, 7],
      [1, 8],
      [1, 9],
      [5, 0],
      [5, 1],
      [5, 2],
    ] as const
  ).map(([major, minor]): OciDeviceRule => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
  { allow: true, type: 'c', major: 136, access: 'rwm' },
];
