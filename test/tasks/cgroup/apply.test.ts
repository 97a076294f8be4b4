import t from 'tap';
import { CoveyError } from '../../../src/errors.js';
import type { Resources } from '../../../src/gen/types.js';
import type { Files } from '../../../src/host.js';
import { openCgroups } from '../../../src/tasks/cgroup/index.js';
import { newGroup } from '../../../src/tasks/cgroup/knobs.js';
import { planKnobs as planV1 } from '../../../src/tasks/cgroup/v1.js';
import { planKnobs as planV2 } from '../../../src/tasks/cgroup/v2.js';
import { planLimits } from '../../../src/tasks/runtime/resources.js';

const id = 'a'.repeat(25);
const mib = 2 ** 20;
const host = { countsSwap: true, findDevice: (path: string) => (path === '/dev/vda' ? '254:0' : undefined) };
const limitsOf = (limits: Partial<Resources>) =>
  planLimits({ limits: { cpuNanos: 0, memoryBytes: 0, pids: 0, ...limits } }, host);
const device = { path: '/dev/vda', readBps: 1_000, writeBps: 0, readIops: 0, writeIops: 50, weight: 0 };

interface Fake {
  readonly files: Record<string, string>;
  /** Errors that the kernel answers with, by file. */
  readonly errors?: Readonly<Record<string, string>>;
}

/** A machine whose cgroup files keep what is written to them. */
function fake({ files, errors = {} }: Fake) {
  const writes: string[] = [];
  const machine = {
    files: {
      findTextSync: (path: string) => files[path],
      writeSync: (path: string, content: string) => {
        const name = path.split('/').at(-1) ?? '';
        const code = errors[name];
        if (code !== undefined)
          throw new CoveyError('internal', 'Cannot write', { cause: Object.assign(new Error(code), { code }) });
        writes.push(`${name} ${content}`);
        files[path] = content;
      },
      listSync: () => [],
    } as unknown as Files,
    processes: {} as never,
  };
  return { cgroups: openCgroups(machine, 'covey'), writes };
}

const v1Mounts = ['cpu', 'cpuset', 'memory', 'pids', 'blkio']
  .map(name => `cgroup /sys/fs/cgroup/${name} cgroup rw,${name} 0 0`)
  .join('\n');
const v1File = (file: string): string => `/sys/fs/cgroup/${file.split('.')[0]}/covey/${id}/${file}`;
const v2File = (file: string): string => `/sys/fs/cgroup/covey/${id}/${file}`;

function v1(values: Readonly<Record<string, string>>, errors?: Fake['errors']) {
  const standard = {
    'memory.limit_in_bytes': String(64 * mib),
    'memory.memsw.limit_in_bytes': String(64 * mib),
    'memory.usage_in_bytes': String(30 * mib),
    'memory.stat': `cache 1\ntotal_inactive_file ${10 * mib}\ntotal_active_file 0\n`,
    'cpu.cfs_period_us': '100000',
    'cpu.cfs_quota_us': '50000',
    'cpu.shares': '1024',
    'pids.max': '9',
    ...values,
  };
  const files = Object.fromEntries(Object.entries(standard).map(([file, value]) => [v1File(file), value]));
  files['/proc/self/mounts'] = v1Mounts;
  files['/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes'] = '0';
  files['/sys/fs/cgroup/cpuset/covey/cpuset.cpus'] = '0-3';
  return fake(errors === undefined ? { files } : { files, errors });
}

t.test('memory with swap is never below memory without: the order depends on the direction', async t => {
  const up = v1({});
  up.cgroups.changeLimits(id, limitsOf({ memoryBytes: 128 * mib }));
  t.strictSame(up.writes.slice(0, 2), [
    `memory.memsw.limit_in_bytes ${128 * mib}`,
    `memory.limit_in_bytes ${128 * mib}`,
  ]);
  const down = v1({});
  down.cgroups.changeLimits(id, limitsOf({ memoryBytes: 32 * mib }));
  t.strictSame(down.writes.slice(0, 2), [
    `memory.limit_in_bytes ${32 * mib}`,
    `memory.memsw.limit_in_bytes ${32 * mib}`,
  ]);
});

t.test('what is not limited any more is freed in place, and only what was limited', async t => {
  const { cgroups, writes } = v1({ 'cpuset.cpus': '1', 'blkio.throttle.read_bps_device': '254:0 1000\n' });
  cgroups.changeLimits(id, limitsOf({}));
  t.strictSame(
    writes,
    [
      'memory.limit_in_bytes -1',
      'memory.memsw.limit_in_bytes -1',
      'cpu.cfs_period_us 100000',
      'cpu.cfs_quota_us -1',
      'cpu.shares 1024',
      'pids.max 8192',
      'cpuset.cpus 0-3',
      'blkio.throttle.read_bps_device 254:0 0',
    ].sort((a, b) => writes.indexOf(a) - writes.indexOf(b)),
  );
});

t.test('memory is not lowered below what is in use; the other limits are changed all the same', async t => {
  const { cgroups, writes } = v1({});
  t.throws(() => cgroups.changeLimits(id, limitsOf({ memoryBytes: 20 * mib, pids: 5 })), {
    code: 'limit-below-use',
    state: '20.0 MiB are in use',
  });
  t.ok(writes.includes('pids.max 5'));
  t.ok(writes.includes(`memory.limit_in_bytes ${64 * mib}`), 'the old limit stays');
  t.doesNotThrow(() => cgroups.changeLimits(id, limitsOf({ memoryBytes: 22 * mib })), 'pages of files can be given up');
});

t.test('what the kernel has no file for is refused with its name', async t => {
  const { cgroups } = v1({});
  t.throws(() => cgroups.addLimits(id, limitsOf({ hugepages: { sizes: [{ size: '2MB', bytes: mib }] } })), {
    code: 'limit-unsupported',
    state: 'there is no hugetlb.2MB.limit_in_bytes (cgroup v1)',
  });
  t.throws(() => limitsOf({ io: { weight: 0, devices: [{ ...device, path: '/dev/nope' }] } }), {
    code: 'limit-unsupported',
  });
  t.throws(
    () => planLimits({ limits: { cpuNanos: 0, memoryBytes: mib, pids: 0, swapBytes: mib } }, { countsSwap: false }),
    {
      code: 'limit-unsupported',
    },
  );
});

t.test('what the kernel does not take is told with the value and the reason', async t => {
  const { cgroups, writes } = v1({ 'cpuset.cpus': '0' }, { 'cpuset.cpus': 'EINVAL' });
  t.throws(() => cgroups.changeLimits(id, limitsOf({ cpusetCpus: '99', pids: 3 })), {
    code: 'limit-refused',
    message: 'Cannot limit processors to "99"',
    state: 'the kernel does not take the value',
  });
  t.ok(writes.includes('pids.max 3'));
});

t.test('memory that is reserved on version 2 is protected in the group above too', async t => {
  const files: Record<string, string> = { '/proc/self/mounts': 'cgroup2 /sys/fs/cgroup cgroup2 rw 0 0' };
  files['/sys/fs/cgroup/covey/cpuset.cpus.effective'] = '0-1';
  for (const file of ['cpuset.cpus', 'memory.low', 'memory.max', 'memory.current', 'cpu.max', 'cpu.weight', 'pids.max'])
    files[v2File(file)] = 'max';
  files['/sys/fs/cgroup/covey/memory.low'] = '0';
  const { cgroups, writes } = fake({ files });
  cgroups.changeLimits(id, { ...limitsOf({}), memorySoftBytes: 5 * mib });
  t.ok(writes.includes(`memory.low ${5 * mib}`));
  t.ok(writes.includes('cpuset.cpus 0-1'), 'a group with programs in it may not be left without processors');
});

const knobTexts = (knobs: ReturnType<typeof planV1>): readonly string[] =>
  knobs.map(({ files }) => files.map(({ file, value }) => `${file} ${value}`).join(' | '));

t.test('every limit has its words on both versions', async t => {
  const all = limitsOf({
    memoryBytes: 64 * mib,
    swapBytes: 16 * mib,
    cpuShares: 512,
    cpusetCpus: '0-1',
    cpusetMems: '0',
    io: { weight: 200, devices: [{ ...device, weight: 300 }] },
    hugepages: { sizes: [{ size: '2MB', bytes: 4 * mib }] },
  });
  t.strictSame(knobTexts(planV1(all, newGroup)), [
    `memory.limit_in_bytes ${64 * mib}`,
    `memory.memsw.limit_in_bytes ${80 * mib}`,
    'cpu.shares 512',
    'pids.max 8192',
    'cpuset.cpus 0-1',
    'cpuset.mems 0',
    'blkio.bfq.weight 200 | blkio.weight 200',
    'blkio.throttle.read_bps_device 254:0 1000',
    'blkio.throttle.write_iops_device 254:0 50',
    'blkio.bfq.weight_device 254:0 300 | blkio.weight_device 254:0 300',
    `hugetlb.2MB.limit_in_bytes ${4 * mib}`,
  ]);
  t.strictSame(knobTexts(planV2(all, newGroup)), [
    `memory.max ${64 * mib}`,
    `memory.swap.max ${16 * mib}`,
    'cpu.weight 20',
    'pids.max 8192',
    'cpuset.cpus 0-1',
    'cpuset.mems 0',
    'io.bfq.weight default 200 | io.weight default 1920',
    'io.max 254:0 rbps=1000 wbps=max riops=max wiops=50',
    'io.bfq.weight 254:0 300 | io.weight 254:0 2930',
    `hugetlb.2MB.max ${4 * mib}`,
  ]);
});

t.test('swap without end, and none at all', async t => {
  const unlimited = limitsOf({ memoryBytes: mib, swapBytes: -1 });
  t.strictSame(
    knobTexts(planV1(unlimited, { ...newGroup, resets: true })).slice(0, 2),
    ['memory.memsw.limit_in_bytes -1', `memory.limit_in_bytes ${mib}`].toReversed(),
  );
  t.strictSame(knobTexts(planV2(limitsOf({ memoryBytes: mib }), newGroup)).slice(0, 2), [
    `memory.max ${mib}`,
    'memory.swap.max 0',
  ]);
});
