/**
 * Limits of a task as the runtime writes them to its cgroup: memory, CPU, processes, devices. Pure.
 *
 * Not here: the cgroup of a task with several containers (cgroup/), reading back.
 */
import type { Resources } from '../../gen/types.js';
import type { OciDeviceRule, OciResources } from './oci.js';

/** Stops a fork bomb long before the machine runs out of process numbers; no sane task comes near. */
const pidsDefaultMax = 8_192;
export const cpuPeriodUs = 100_000;
/** The kernel refuses a quota below a millisecond. */
const cpuQuotaMinUs = 1_000;
const sharesPerCore = 1_024;

export interface TaskLimits {
  /** 0: none. */
  readonly memoryBytes: number;
  /** Memory and swap together may not exceed memoryBytes; false where the kernel does not count swap. */
  readonly limitSwap: boolean;
  /** Per period of 100 ms; undefined: no limit. */
  readonly cpuQuotaUs: number | undefined;
  /** Weight against others when the processors are busy; undefined: the kernel's default. */
  readonly cpuShares: number | undefined;
  readonly pidsMax: number;
}

export function planLimits(
  spec: { readonly limits?: Resources | undefined; readonly reservations?: Resources | undefined },
  host: { readonly countsSwap: boolean },
): TaskLimits {
  const limits = spec.limits ?? { cpuNanos: 0, memoryBytes: 0, pids: 0 };
  const reserved = spec.reservations?.cpuNanos ?? 0;
  const quota = Math.round((limits.cpuNanos / 1e9) * cpuPeriodUs);
  return {
    memoryBytes: limits.memoryBytes,
    limitSwap: host.countsSwap,
    cpuQuotaUs: limits.cpuNanos === 0 ? undefined : Math.max(quota, cpuQuotaMinUs),
    cpuShares: reserved === 0 ? undefined : Math.max(2, Math.round((reserved / 1e9) * sharesPerCore)),
    pidsMax: limits.pids === 0 ? pidsDefaultMax : limits.pids,
  };
}

export function planResources(limits: TaskLimits): OciResources {
  const { memoryBytes, cpuQuotaUs, cpuShares } = limits;
  const cpu = {
    ...(cpuQuotaUs === undefined ? {} : { quota: cpuQuotaUs, period: cpuPeriodUs }),
    ...(cpuShares === undefined ? {} : { shares: cpuShares }),
  };
  return {
    devices: defaultDevices,
    ...(memoryBytes === 0
      ? {}
      : { memory: { limit: memoryBytes, ...(limits.limitSwap ? { swap: memoryBytes } : {}) } }),
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
