/**
 * Flags that limit a service: what each becomes, how an update changes it and takes it away, and how each is refused.
 */
import t from 'tap';
import { serviceCommands } from '../../../../src/cli/commands/service/index.js';
import { changedLimits, changedReservations } from '../../../../src/cli/commands/service/limit-flags.js';
import { parseLine } from '../../../../src/cli/parse.js';
import type { Resources } from '../../../../src/gen/types.js';
import { parseWords } from '../../../../src/tasks/spec/values.js';

const mib = 2 ** 20;
const zero: Resources = { cpuNanos: 0, memoryBytes: 0, pids: 0 };
const device = { path: '/dev/sda', readBps: 0, writeBps: 0, readIops: 0, writeIops: 0, weight: 0 };

async function both(line: string, before?: Resources): Promise<{ limits?: Resources; reservations?: Resources }> {
  const command = serviceCommands.find(one => one.path[1] === 'update');
  const words = parseWords(`${line} web`);
  if (command === undefined || words.kind === 'bad') throw new Error(line);
  const { flags } = await parseLine(command, words.value);
  const [limits, reservations] = [changedLimits(before, flags), changedReservations(before, flags)];
  return { ...(limits && { limits }), ...(reservations && { reservations }) };
}

t.test('each flag that limits becomes its field, and nothing else', async t => {
  const rows: readonly (readonly [string, Partial<Resources> | undefined])[] = [
    ['', undefined],
    ['--limit-cpu 0.5', { cpuNanos: 5e8 }],
    ['--limit-memory 64M', { memoryBytes: 64 * mib }],
    ['--limit-memory 64M --limit-swap 32M', { memoryBytes: 64 * mib, swapBytes: 32 * mib }],
    ['--limit-memory 64M --limit-swap -1', { memoryBytes: 64 * mib, swapBytes: -1 }],
    ['--limit-pids 10', { pids: 10 }],
    [
      '--limit-hugepages 2MB:64M --limit-hugepages 1GB:0',
      {
        hugepages: {
          sizes: [
            { size: '2MB', bytes: 64 * mib },
            { size: '1GB', bytes: 0 },
          ],
        },
      },
    ],
    ['--cpu-shares 512', { cpuShares: 512 }],
    ['--cpuset-cpus 0-3,7 --cpuset-mems 0', { cpusetCpus: '0-3,7', cpusetMems: '0' }],
    ['--blkio-weight 300', { io: { weight: 300, devices: [] } }],
    [
      '--blkio-weight-device /dev/sda:200 --device-read-bps /dev/sda:1mb --device-write-bps /dev/sda:2',
      { io: { weight: 0, devices: [{ ...device, weight: 200, readBps: mib, writeBps: 2 }] } },
    ],
    [
      '--device-read-iops /dev/sda:3 --device-write-iops /dev/sda:4',
      { io: { weight: 0, devices: [{ ...device, readIops: 3, writeIops: 4 }] } },
    ],
  ];
  for (const [line, wanted] of rows) {
    t.strictSame(await both(line), wanted === undefined ? {} : { limits: { ...zero, ...wanted } }, line);
  }
  const reserved = { ...zero, cpuNanos: 1e9, memoryBytes: 2 ** 30 };
  t.strictSame(await both('--reserve-cpu 1 --reserve-memory 1g'), { reservations: reserved });
});

t.test('an update changes what it names, and its empty value takes it away', async t => {
  const full: Resources = {
    ...{ cpuNanos: 5e8, memoryBytes: 64 * mib, pids: 10, swapBytes: mib, cpuShares: 512, cpusetCpus: '0' },
    io: { weight: 300, devices: [{ ...device, readBps: 5 }] },
  };
  const after = async (line: string): Promise<Resources | undefined> => (await both(line, full)).limits;
  const { swapBytes, cpuShares, cpusetCpus, io, ...amounts } = full;
  t.strictSame(await after('--limit-pids 20'), { ...full, pids: 20 });
  t.strictSame(await after('--limit-cpu 0'), { ...full, cpuNanos: 0 });
  t.strictSame(
    await after('--limit-memory 0'),
    { ...amounts, memoryBytes: 0, cpuShares, cpusetCpus, io },
    'and its swap',
  );
  t.strictSame(await after('--cpu-shares 0'), { ...amounts, swapBytes, cpusetCpus, io });
  t.strictSame(await after('--cpuset-cpus ""'), { ...amounts, swapBytes, cpuShares, io });
  t.strictSame(await after('--blkio-weight 0 --device-read-bps /dev/sda:0'), {
    ...amounts,
    ...{ swapBytes, cpuShares, cpusetCpus },
  });
});

t.test('what is no limit is refused with the flag and what is valid', async t => {
  const rows: readonly (readonly [string, RegExp])[] = [
    ['--limit-cpu half', /cores/],
    ['--limit-memory 5x', /size/],
    ['--limit-swap -2', /size/],
    ['--limit-pids -1', /0 to 4194304/],
    ['--limit-hugepages 2M:64M', /SIZE:BYTES/],
    ['--limit-hugepages 2MB', /SIZE:BYTES/],
    ['--reserve-cpu x', /cores/],
    ['--reserve-memory x', /size/],
    ['--cpu-shares 300000', /262144/],
    ['--cpuset-cpus 0-', /0-3,7/],
    ['--cpuset-mems x', /0-3,7/],
    ['--blkio-weight 1001', /1000/],
    ['--blkio-weight-device sda:100', /DEVICE:100/],
    ['--device-read-bps /dev/sda', /DEVICE:10mb/],
    ['--device-write-bps /dev/sda:fast', /DEVICE:10mb/],
    ['--device-read-iops /dev/sda:5mb', /DEVICE:100/],
    ['--device-write-iops /dev/sda:-5', /DEVICE:100/],
  ];
  for (const [line, valid] of rows) {
    const [flag, value] = line.split(' ');
    await t.rejects(
      both(line),
      { code: 'bad-argument', message: `Cannot use "${value}" for ${flag}`, hint: valid },
      line,
    );
  }
});
