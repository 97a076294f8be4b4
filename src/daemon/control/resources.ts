/**
 * Whether limits and reservations make sense.
 *
 * Called by validate.ts. Not here: whether the node's kernel has them (tasks/cgroup, which refuses).
 */
import type { DeviceIo, Resources, TaskSpec } from '../../gen/types.js';
import { isCpuset, isHugepageSize } from '../../tasks/spec/limits.js';
import { renderCpus, renderSize } from '../schedule/place.js';
import { findDuplicate, refuseAt } from './check.js';

const memoryMin = 4 << 20;
const cpuMin = 1_000_000;

export function checkResources({ limits, reservations }: TaskSpec, path: string): void {
  if (limits !== undefined) {
    checkAmounts(limits, `${path}.limits`);
    checkKernelLimits(limits, `${path}.limits`);
  }
  if (reservations !== undefined) checkAmounts(reservations, `${path}.reservations`);
  if (limits === undefined || reservations === undefined) return;
  const refuse = refuseAt(`${path}.reservations`);
  if (limits.memoryBytes > 0 && reservations.memoryBytes > limits.memoryBytes) {
    refuse(`memory of ${renderSize(reservations.memoryBytes)} is above the limit of ${renderSize(limits.memoryBytes)}`);
  }
  if (limits.cpuNanos > 0 && reservations.cpuNanos > limits.cpuNanos) {
    refuse(`CPU of ${renderCpus(reservations.cpuNanos)} is above the limit of ${renderCpus(limits.cpuNanos)}`);
  }
}

function checkAmounts(amounts: Resources, path: string): void {
  const refuse = refuseAt(path);
  if (amounts.memoryBytes > 0 && amounts.memoryBytes < memoryMin) {
    refuse(`memory of ${renderSize(amounts.memoryBytes)} is less than ${renderSize(memoryMin)}`);
  }
  if (amounts.cpuNanos > 0 && amounts.cpuNanos < cpuMin) refuse('CPU is less than 0.001');
}

function checkKernelLimits(limits: Resources, path: string): void {
  const refuse = refuseAt(path);
  const { swapBytes, cpuShares, io } = limits;
  if (swapBytes !== undefined && swapBytes < -1) refuse(`swap of ${swapBytes} is neither a size nor -1`);
  if (swapBytes !== undefined && limits.memoryBytes === 0) refuse('swap is limited only together with memory');
  if (cpuShares !== undefined && (cpuShares < 2 || cpuShares > 262_144)) {
    refuse(`a CPU share of ${cpuShares} is not within 2 and 262144`);
  }
  for (const set of [limits.cpusetCpus, limits.cpusetMems]) {
    if (set !== undefined && set !== '' && !isCpuset(set)) refuse(`"${set}" is no list of numbers such as 0-3,7`);
  }
  if (io !== undefined && !isWeight(io.weight)) refuse(`an I/O weight of ${io.weight} is not within 10 and 1000`);
  for (const device of io?.devices ?? []) checkDevice(device, path);
  const twice =
    findDuplicate((io?.devices ?? []).map(device => device.path)) ??
    findDuplicate((limits.hugepages?.sizes ?? []).map(({ size }) => size));
  if (twice !== undefined) refuse(`"${twice}" is limited twice`);
  for (const { size } of limits.hugepages?.sizes ?? []) {
    if (!isHugepageSize(size)) refuse(`"${size}" is no size of huge pages, such as 2MB`);
  }
}

function checkDevice(device: DeviceIo, path: string): void {
  const refuse = refuseAt(path);
  if (!device.path.startsWith('/dev/') || device.path.split('/').includes('..')) {
    refuse(`"${device.path}" is no device, such as /dev/sda`);
  }
  if (!isWeight(device.weight)) refuse(`an I/O weight of ${device.weight} is not within 10 and 1000`);
}

function isWeight(weight: number): boolean {
  return weight === 0 || (weight >= 10 && weight <= 1_000);
}
