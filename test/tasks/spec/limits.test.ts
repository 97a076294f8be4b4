/**
 * Keys of stack files that limit a service: what each becomes, and how each is refused.
 */
import t from 'tap';
import type { Resources, TaskSpec } from '../../../src/gen/types.js';
import { load, refusal } from './load.js';

const mib = 2 ** 20;
const zero: Resources = { cpuNanos: 0, memoryBytes: 0, pids: 0 };
const device = { path: '/dev/sda', readBps: 0, writeBps: 0, readIops: 0, writeIops: 0, weight: 0 };

/** Each line as a key of the service. */
const text = (lines: string): string => `services:\n  web:\n    image: x\n${lines.replace(/^/gm, '    ')}\n`;
const taskOf = (lines: string): TaskSpec | undefined => load(text(lines)).services[0]?.task;

t.test('each key that limits becomes its field, and nothing else', async t => {
  const rows: readonly (readonly [string, Partial<Resources> | undefined])[] = [
    ['cpus: 0.5', { cpuNanos: 5e8 }],
    ['cpus: "2"', { cpuNanos: 2e9 }],
    ['cpu_quota: 50000', { cpuNanos: 5e8 }],
    ['cpu_quota: 50000\ncpu_period: 25000', { cpuNanos: 2e9 }],
    ['cpus: 1\ncpu_quota: 50000', { cpuNanos: 1e9 }],
    ['cpu_period: 50000', undefined],
    ['cpu_shares: 512', { cpuShares: 512 }],
    ['cpuset: "0-3,7"', { cpusetCpus: '0-3,7' }],
    ['cpuset: 1', { cpusetCpus: '1' }],
    ['mem_limit: 64m', { memoryBytes: 64 * mib }],
    ['mem_limit: 67108864', { memoryBytes: 64 * mib }],
    ['mem_limit: 64m\nmemswap_limit: 96m', { memoryBytes: 64 * mib, swapBytes: 32 * mib }],
    ['mem_limit: 64m\nmemswap_limit: 64m', { memoryBytes: 64 * mib, swapBytes: 0 }],
    ['mem_limit: 64m\nmemswap_limit: -1', { memoryBytes: 64 * mib, swapBytes: -1 }],
    ['mem_limit: 64m\nmemswap_limit: 0', { memoryBytes: 64 * mib }],
    ['pids_limit: 100', { pids: 100 }],
    ['pids_limit: -1', undefined],
    ['blkio_config: {weight: 300}', { io: { weight: 300, devices: [] } }],
    [
      'blkio_config: {device_read_bps: [{path: /dev/sda, rate: 1mb}], device_write_iops: [{path: /dev/sda, rate: 50}]}',
      { io: { weight: 0, devices: [{ ...device, readBps: mib, writeIops: 50 }] } },
    ],
    [
      'blkio_config: {device_write_bps: [{path: /dev/sda, rate: 9}], device_read_iops: [{path: /dev/sdb, rate: 5}]}',
      {
        io: {
          weight: 0,
          devices: [
            { ...device, writeBps: 9 },
            { ...device, path: '/dev/sdb', readIops: 5 },
          ],
        },
      },
    ],
    [
      'blkio_config: {weight_device: [{path: /dev/sda, weight: 200}]}',
      { io: { weight: 0, devices: [{ ...device, weight: 200 }] } },
    ],
    [
      'deploy: {resources: {limits: {x-covey-hugepages: {2MB: 64m}}}}',
      { hugepages: { sizes: [{ size: '2MB', bytes: 64 * mib }] } },
    ],
    ['mem_limit: 64m\ndeploy: {resources: {limits: {memory: 32m}}}', { memoryBytes: 32 * mib }],
    ['pids_limit: 9\ndeploy: {resources: {limits: {memory: 32m}}}', { memoryBytes: 32 * mib, pids: 9 }],
  ];
  for (const [lines, wanted] of rows) {
    t.strictSame(taskOf(lines)?.limits, wanted === undefined ? undefined : { ...zero, ...wanted }, lines);
  }
  t.strictSame(taskOf('mem_reservation: 16m')?.reservations, { ...zero, memoryBytes: 16 * mib });
  const both = taskOf('mem_reservation: 16m\ndeploy: {resources: {reservations: {cpus: "1", memory: 8m}}}');
  t.strictSame(both?.reservations, { ...zero, cpuNanos: 1e9, memoryBytes: 8 * mib });
});

t.test('what is no limit is refused with its place', async t => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['cpus: half', '4:11: services.web.cpus', /cores/],
    ['cpus: -1', '4:11: services.web.cpus', /cores/],
    ['cpu_quota: 10', '4:16: services.web.cpu_quota', /1000/],
    ['cpu_quota: 50000\ncpu_period: 2000000', '5:17: services.web.cpu_period', /1000000/],
    ['cpu_shares: 1', '4:17: services.web.cpu_shares', /from 2 to 262144/],
    ['cpuset: "0-"', '4:13: services.web.cpuset', /ranges such as 0-3,7/],
    ['cpuset: all', '4:13: services.web.cpuset', /ranges/],
    ['mem_limit: 5x', '4:16: services.web.mem_limit', /size/],
    ['mem_limit: -1', '4:16: services.web.mem_limit', /size/],
    ['mem_reservation: much', '4:22: services.web.mem_reservation', /size/],
    ['mem_limit: 5m\nmemswap_limit: -2', '5:20: services.web.memswap_limit', /size/],
    ['pids_limit: -2', '4:17: services.web.pids_limit', /-1/],
    ['pids_limit: many', '4:17: services.web.pids_limit', /number/],
    ['blkio_config: 5', '4:19: services.web.blkio_config', /map/],
    ['blkio_config: {weight: 5}', '4:28: services.web.blkio_config.weight', /from 10 to 1000/],
    ['blkio_config: {speed: 5}', '4:20: services.web.blkio_config.speed', /not a key/],
    [
      'blkio_config:\n  device_read_bps:\n    - {path: /dev/sda}',
      '6:11: services.web.blkio_config.device_read_bps[0]',
      /needs path and rate/,
    ],
    [
      'blkio_config:\n  device_read_iops:\n    - {path: /dev/sda, rate: 5mb}',
      '6:34: services.web.blkio_config.device_read_iops[0].rate',
      /operations a second/,
    ],
    [
      'blkio_config:\n  weight_device:\n    - {path: /dev/sda, weight: 2000}',
      '6:36: services.web.blkio_config.weight_device[0].weight',
      /1000/,
    ],
    [
      'deploy: {resources: {limits: {x-covey-hugepages: {2M: 64m}}}}',
      '4:59: services.web.deploy.resources.limits.x-covey-hugepages.2M',
      /size of huge pages/,
    ],
    ['deploy: {resources: {limits: {cpu: 1}}}', '4:35: services.web.deploy.resources.limits.cpu', /not a key/],
    ['deploy: {resources: {reservations: {pids: 1}}}', '4:41: services.web.deploy.resources.reservations.pids', /key/],
    ['mem_swappiness: 10', '4:5: services.web.mem_swappiness', /not honoured/],
  ];
  for (const [lines, place, reason] of rows) {
    const told = refusal(text(lines));
    t.ok(told.includes(`stack.yaml:${place} `), `${lines}: ${told}`);
    t.match(told, reason, lines);
  }
});
