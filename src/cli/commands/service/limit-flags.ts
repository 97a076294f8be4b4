/**
 * Flags for limits and reservations, with Docker's names where it has them, and what they make of a spec's resources. Pure.
 *
 * Not here: the rest of a spec (spec-flags.ts), the same in stack files (tasks/spec/limits.ts).
 */
import type { DeviceIo, Resources } from '../../../gen/types.js';
import {
  isHugepageSize,
  noDeviceIo,
  parseCpuset,
  parseDeviceRate,
  parseSwap,
  withoutEmpty,
} from '../../../tasks/spec/limits.js';
import { bad, ok, type Parsed, parseBytes, parseCpuNanos } from '../../../tasks/spec/values.js';
import type { OptionDefinition } from '../../definition.js';
import type { Flags } from '../../flags.js';

export const limitOptions: readonly OptionDefinition[] = [
  { flags: '--limit-cpu <cores>', says: 'CPU it may use, such as 0.5' },
  { flags: '--limit-memory <size>', says: 'Memory it may use, such as 256M' },
  { flags: '--limit-swap <size>', says: 'Swap it may use besides (default 0; -1: as much as there is)' },
  { flags: '--limit-pids <number>', says: 'Processes it may have (0: no limit)' },
  { flags: '--limit-hugepages <size:bytes>', says: 'Huge pages it may use, such as 2MB:64M (0: none)', many: true },
  { flags: '--reserve-cpu <cores>', says: 'CPU that a node must have free for it' },
  { flags: '--reserve-memory <size>', says: 'Memory that a node must have free for it, and that is taken last' },
  { flags: '--cpu-shares <number>', says: 'Share of busy processors, 2 to 262144 (0: by --reserve-cpu, else 1024)' },
  { flags: '--cpuset-cpus <list>', says: 'Processors it may run on, such as 0-3,7 ("": all)' },
  { flags: '--cpuset-mems <list>', says: 'Memory nodes it may use ("": all)' },
  { flags: '--blkio-weight <number>', says: 'Share of busy disks, 10 to 1000 (0: as everybody)' },
  { flags: '--blkio-weight-device <device:number>', says: 'The same on one disk', many: true },
  {
    flags: '--device-read-bps <device:rate>',
    says: 'Bytes a second from a disk: /dev/sda:10mb (0: no limit)',
    many: true,
  },
  { flags: '--device-write-bps <device:rate>', says: 'Bytes a second to a disk', many: true },
  { flags: '--device-read-iops <device:rate>', says: 'Reads a second from a disk', many: true },
  { flags: '--device-write-iops <device:rate>', says: 'Writes a second to a disk', many: true },
];

const countMax = 4_194_304;

export function changedLimits(resources: Resources | undefined, flags: Flags): Resources | undefined {
  const before: Resources = resources ?? { cpuNanos: 0, memoryBytes: 0, pids: 0 };
  const memoryBytes = flags.parsed('limit-memory', parseBytes) ?? before.memoryBytes;
  const shares = flags.integer('cpu-shares', { min: 0, max: 262_144 });
  return withoutEmpty({
    cpuNanos: flags.parsed('limit-cpu', parseCpuNanos) ?? before.cpuNanos,
    memoryBytes,
    pids: flags.integer('limit-pids', { min: 0, max: countMax }) ?? before.pids,
    // Without a limit of memory there is none of swap.
    swapBytes: flags.parsed('limit-swap', parseSwap) ?? (memoryBytes === 0 ? undefined : before.swapBytes),
    cpuShares: shares === undefined ? before.cpuShares : shares || undefined,
    cpusetCpus: flags.parsed('cpuset-cpus', orNothing) ?? before.cpusetCpus,
    cpusetMems: flags.parsed('cpuset-mems', orNothing) ?? before.cpusetMems,
    io: {
      weight: flags.integer('blkio-weight', { min: 0, max: 1_000 }) ?? before.io?.weight ?? 0,
      devices: changedDevices(before.io?.devices ?? [], flags),
    },
    hugepages: { sizes: changedHugepages(before.hugepages?.sizes ?? [], flags) },
  });
}

export function changedReservations(resources: Resources | undefined, flags: Flags): Resources | undefined {
  const before: Resources = resources ?? { cpuNanos: 0, memoryBytes: 0, pids: 0 };
  return withoutEmpty({
    ...before,
    cpuNanos: flags.parsed('reserve-cpu', parseCpuNanos) ?? before.cpuNanos,
    memoryBytes: flags.parsed('reserve-memory', parseBytes) ?? before.memoryBytes,
  });
}

function orNothing(text: string): Parsed<string> {
  return text === '' ? ok('') : parseCpuset(text);
}

const deviceFlags: readonly (readonly [string, 'Bps' | 'Iops' | 'weight', Exclude<keyof DeviceIo, 'path'>])[] = [
  ['device-read-bps', 'Bps', 'readBps'],
  ['device-write-bps', 'Bps', 'writeBps'],
  ['device-read-iops', 'Iops', 'readIops'],
  ['device-write-iops', 'Iops', 'writeIops'],
  ['blkio-weight-device', 'weight', 'weight'],
];

/** Each flag sets one value of one device; a device without any is dropped. */
function changedDevices(devices: readonly DeviceIo[], flags: Flags): readonly DeviceIo[] {
  const all = new Map(devices.map(device => [device.path, device]));
  for (const [name, kind, field] of deviceFlags) {
    for (const [path, value] of flags.parsedList(name, text => parseDeviceRate(text, kind))) {
      all.set(path, { ...(all.get(path) ?? { ...noDeviceIo, path }), [field]: value });
    }
  }
  return [...all.values()].filter(
    device => device.readBps + device.writeBps + device.readIops + device.writeIops + device.weight > 0,
  );
}

function changedHugepages(
  sizes: readonly { readonly size: string; readonly bytes: number }[],
  flags: Flags,
): readonly { readonly size: string; readonly bytes: number }[] {
  const all = new Map(sizes.map(limit => [limit.size, limit]));
  for (const limit of flags.parsedList('limit-hugepages', parseHugepages)) all.set(limit.size, limit);
  return [...all.values()];
}

function parseHugepages(text: string): Parsed<{ readonly size: string; readonly bytes: number }> {
  const [size = '', amount = ''] = text.split(':');
  const bytes = parseBytes(amount);
  return isHugepageSize(size) && bytes.kind === 'ok'
    ? ok({ size, bytes: bytes.value })
    : bad('SIZE:BYTES, such as 2MB:64M');
}
