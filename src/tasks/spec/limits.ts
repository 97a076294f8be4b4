/**
 * Limits in stack files: `deploy.resources`, and the keys of a service that Compose has for the same (`mem_limit`, `cpus`,
 * `blkio_config` …). Where both speak, deploy counts.
 *
 * Not here: what the kernel is told (runtime/resources.ts), flags (cli/commands/service/limit-flags.ts, which uses the
 * parsers at the end).
 */
import type { DeviceIo, Resources } from '../../gen/types.js';
import {
  type Field,
  type FindField,
  problem,
  readEntries,
  readInteger,
  readItems,
  readKeys,
  readParsed,
  readText,
} from './fields.js';
import type { ResourcesModel } from './model.js';
import { bad, ok, type Parsed, parseBytes, parseCpuNanos } from './values.js';

/** Keys of a service that are read here. */
export const limitKeys: readonly string[] = [
  'blkio_config',
  'cpu_period',
  'cpu_quota',
  'cpu_shares',
  'cpus',
  'cpuset',
  'mem_limit',
  'mem_reservation',
  'memswap_limit',
  'pids_limit',
];

const pidsRange = { min: -1, max: 4_194_304 };
const weightRange = { min: 10, max: 1_000 };
const sharesRange = { min: 2, max: 262_144 };

export function readPlainLimits(find: FindField): ResourcesModel {
  const quota = readInteger(find('cpu_quota'), { min: 1_000, max: Number.MAX_SAFE_INTEGER });
  const periodUs = readInteger(find('cpu_period'), { min: 1_000, max: 1_000_000 }) ?? 100_000;
  const io = find('blkio_config');
  return {
    cpuNanos:
      readParsed(find('cpus'), parseCpuNanos) ??
      (quota === undefined ? undefined : Math.round((quota / periodUs) * 1e9)),
    memoryBytes: readParsed(find('mem_limit'), parseBytes),
    memorySwapBytes: readParsed(find('memswap_limit'), parseSwap),
    pids: readInteger(find('pids_limit'), pidsRange),
    cpuShares: readInteger(find('cpu_shares'), sharesRange),
    cpusetCpus: readParsed(find('cpuset'), parseCpuset),
    ...(io === undefined ? {} : readIo(io)),
  };
}

export function readPlainReservations(find: FindField): ResourcesModel {
  return { memoryBytes: readParsed(find('mem_reservation'), parseBytes) };
}

export function readResources(field: Field | undefined, what: 'limits' | 'reservations'): ResourcesModel {
  if (field === undefined) return {};
  const find = readKeys(field, {
    what,
    known: what === 'limits' ? ['cpus', 'memory', 'pids', 'x-covey-hugepages'] : ['cpus', 'memory'],
    notHonoured: ['devices', 'generic_resources'],
  });
  return {
    cpuNanos: readParsed(find('cpus'), parseCpuNanos),
    memoryBytes: readParsed(find('memory'), parseBytes),
    pids: readInteger(find('pids'), pidsRange),
    hugepages: readHugepages(find('x-covey-hugepages')),
  };
}

function readHugepages(field: Field | undefined): ReadonlyMap<string, number> | undefined {
  if (field === undefined) return undefined;
  return new Map(
    readEntries(field).flatMap(([size, value]) => {
      if (!isHugepageSize(size)) return problem(value, 'stack-type', 'is no size of huge pages, such as 2MB') ?? [];
      const bytes = readParsed(value, parseBytes);
      return bytes === undefined ? [] : [[size, bytes] as const];
    }),
  );
}

const deviceKeys: readonly (readonly [string, 'rate' | 'weight', Exclude<keyof DeviceIo, 'path'>])[] = [
  ['device_read_bps', 'rate', 'readBps'],
  ['device_write_bps', 'rate', 'writeBps'],
  ['device_read_iops', 'rate', 'readIops'],
  ['device_write_iops', 'rate', 'writeIops'],
  ['weight_device', 'weight', 'weight'],
];

function readIo(field: Field): Pick<ResourcesModel, 'ioWeight' | 'ioDevices'> {
  const known = ['weight', ...deviceKeys.map(([key]) => key)];
  const find = readKeys(field, { what: 'blkio_config', known, notHonoured: [] });
  const devices = new Map<string, DeviceIo>();
  for (const [key, valueKey, into] of deviceKeys) {
    for (const item of readItems(find(key))) {
      const findIn = readKeys(item, { what: key, known: ['path', valueKey], notHonoured: [] });
      if (findIn('path') === undefined || findIn(valueKey) === undefined) {
        problem(item, 'stack-type', `needs path and ${valueKey}`);
        continue;
      }
      const path = readText(findIn('path'));
      const value =
        into === 'weight'
          ? readInteger(findIn(valueKey), weightRange)
          : readParsed(findIn(valueKey), into.endsWith('Bps') ? parseBytes : parseCount);
      if (path === undefined || value === undefined) continue;
      devices.set(path, { ...(devices.get(path) ?? { ...noDeviceIo, path }), [into]: value });
    }
  }
  return { ioWeight: readInteger(find('weight'), weightRange), ioDevices: devices };
}

export const noDeviceIo: DeviceIo = { path: '', readBps: 0, writeBps: 0, readIops: 0, writeIops: 0, weight: 0 };

/** What deploy says, else what the plain keys say; undefined when neither limits anything. */
export function resourcesOf(model: ResourcesModel, plain: ResourcesModel): Resources | undefined {
  const said = Object.fromEntries(Object.entries(model).filter(([, value]) => value !== undefined));
  const all: ResourcesModel = { ...plain, ...said };
  const { memoryBytes = 0, memorySwapBytes } = all;
  const swapBytes =
    memorySwapBytes === undefined || memorySwapBytes === 0
      ? undefined
      : memorySwapBytes < 0
        ? -1
        : Math.max(0, memorySwapBytes - memoryBytes);
  const devices = [...(all.ioDevices?.values() ?? [])];
  const hugepages = [...(all.hugepages ?? [])].map(([size, bytes]) => ({ size, bytes }));
  return withoutEmpty({
    cpuNanos: all.cpuNanos ?? 0,
    memoryBytes,
    pids: Math.max(0, all.pids ?? 0),
    swapBytes,
    cpuShares: all.cpuShares,
    cpusetCpus: all.cpusetCpus || undefined,
    cpusetMems: all.cpusetMems || undefined,
    io: { weight: all.ioWeight ?? 0, devices },
    hugepages: { sizes: hugepages },
  });
}

/** The same without fields that say nothing, so that equal wishes are equal; undefined when nothing is left. */
export function withoutEmpty(resources: Resources): Resources | undefined {
  const { cpuNanos, memoryBytes, pids, io, hugepages, ...rest } = resources;
  const more = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined && value !== ''));
  const full: Resources = {
    cpuNanos,
    memoryBytes,
    pids,
    ...more,
    ...(io === undefined || (io.weight === 0 && io.devices.length === 0) ? {} : { io }),
    ...(hugepages === undefined || hugepages.sizes.length === 0 ? {} : { hugepages }),
  };
  return cpuNanos + memoryBytes + pids === 0 && Object.keys(full).length === 3 ? undefined : full;
}

/** A size, or -1 for no limit. */
export function parseSwap(text: string): Parsed<number> {
  return text === '-1' ? ok(-1) : parseBytes(text);
}

function parseCount(text: string): Parsed<number> {
  return /^\d{1,12}$/u.test(text) ? ok(Number(text)) : bad('a number of operations a second');
}

/** "0-3,7": numbers of processors or memory nodes. */
export function parseCpuset(text: string): Parsed<string> {
  return isCpuset(text) ? ok(text) : bad('numbers and ranges such as 0-3,7');
}

export function isCpuset(text: string): boolean {
  return /^\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*$/u.test(text);
}

export function isHugepageSize(text: string): boolean {
  return /^[1-9]\d{0,3}(?:KB|MB|GB)$/u.test(text);
}

/** "/dev/vda:1mb": a device of the node and a rate; -iops counts operations. */
export function parseDeviceRate(text: string, field: 'Bps' | 'Iops' | 'weight'): Parsed<readonly [string, number]> {
  const example = field === 'Bps' ? '10mb' : '100';
  const found = /^(\/dev\/[^:]+):(.+)$/u.exec(text);
  const value = field === 'Bps' ? parseBytes(found?.[2] ?? '') : parseCount(found?.[2] ?? '');
  if (found === null || value.kind === 'bad') return bad(`DEVICE:${example}, such as /dev/sda:${example}`);
  return ok([found[1] ?? '', value.value]);
}
