import t from 'tap';
import type { Files } from '../../../src/host.js';
import { openCgroups } from '../../../src/tasks/cgroup/index.js';
import { weightOfShares } from '../../../src/tasks/cgroup/v2.js';
import { planLimits } from '../../../src/tasks/runtime/resources.js';

const id = 'a'.repeat(25);

/** A pseudo file system in memory: what is written is recorded in order. */
function fakeHost(files: Record<string, string>) {
  const texts = new Map(Object.entries(files));
  const writes: string[] = [];
  const removed: string[] = [];
  const below = (path: string): string[] => [...texts.keys()].filter(name => name.startsWith(`${path}/`));
  const host = {
    files: {
      findTextSync: (path: string) => texts.get(path),
      writeSync: (path: string, content: string) => void writes.push(`${path} ${content}`),
      makeDirectorySync: (path: string) => void texts.set(`${path}/cgroup.procs`, ''),
      listSync: (path: string) => [
        ...new Set(below(path).map(name => name.slice(path.length + 1).split('/')[0] ?? '')),
      ],
      removeDirectorySync: (path: string) => {
        if (below(path).length === 0) return 'missing' as const;
        if (
          below(path).some(name => !/\.procs$/.test(name) || name !== `${path}/cgroup.procs` || texts.get(name) !== '')
        )
          return 'busy' as const;
        for (const name of below(path)) texts.delete(name);
        removed.push(path);
        return 'removed' as const;
      },
    } as unknown as Files,
    processes: {
      findStart: (pid: number) => ({ startTicks: 1, state: pid === 66 ? 'Z' : 'S', parent: 1 }),
      kill: () => true,
    } as never,
  };
  return { host, writes, removed, texts };
}

const hybridMounts = [
  'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0',
  'cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0',
  'cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0',
  'cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0',
  'cgroup /run/covey/cgroup-hugetlb cgroup rw,hugetlb 0 0',
].join('\n');

const limits = planLimits(
  {
    limits: { cpuNanos: 5e8, memoryBytes: 2 ** 26, pids: 7 },
    reservations: { cpuNanos: 1e9, memoryBytes: 0, pids: 0 },
  },
  { countsSwap: true },
);

const v1Files = [
  ...['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes', 'memory.soft_limit_in_bytes'],
  ...['cpu.cfs_period_us', 'cpu.cfs_quota_us', 'cpu.shares', 'pids.max'],
].map(file => `/sys/fs/cgroup/${file.split('.')[0]}/covey/${id}/${file}`);
const v2Files = ['memory.max', 'memory.swap.max', 'memory.low', 'cpu.max', 'cpu.weight', 'pids.max'].map(
  file => `/sys/fs/cgroup/covey/${id}/${file}`,
);
const empty = (files: readonly string[]) => Object.fromEntries(files.map(file => [file, 'max']));

t.test('the version is told by what is mounted where', async t => {
  const version = (mounts: string) => openCgroups(fakeHost({ '/proc/self/mounts': mounts }).host, 'covey').version;
  t.equal(version(hybridMounts), 'hybrid');
  t.equal(version('cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0'), 'v1');
  t.equal(version('cgroup2 /sys/fs/cgroup cgroup2 rw 0 0'), 'v2');
  t.equal(
    version('cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0'),
    'v2',
    'systemd’s own v1 tree is no controller',
  );
  t.throws(() => version('proc /proc proc rw 0 0'), { code: 'no-cgroup' });
});

t.test('limits are written in the words of each version', async t => {
  const v1 = fakeHost({
    '/proc/self/mounts': hybridMounts,
    '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes': '0',
    ...empty(v1Files),
  });
  const one = openCgroups(v1.host, 'covey');
  t.equal(one.countsSwap, true);
  one.makeTask(id, limits);
  t.strictSame(
    v1.writes.map(line => line.replace(`/covey/${id}`, '')),
    [
      '/sys/fs/cgroup/memory/memory.limit_in_bytes 67108864',
      '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 67108864',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us 100000',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us 50000',
      '/sys/fs/cgroup/cpu/cpu.shares 1024',
      '/sys/fs/cgroup/pids/pids.max 7',
    ],
  );
  const v2 = fakeHost({
    '/proc/self/mounts': 'cgroup2 /sys/fs/cgroup cgroup2 rw 0 0',
    '/proc/swaps': '',
    '/sys/fs/cgroup/cgroup.controllers': 'cpu memory pids rdma\n',
    '/sys/fs/cgroup/cgroup.subtree_control': 'cpu\n',
    ...empty(v2Files),
  });
  openCgroups(v2.host, 'covey').makeTask(id, limits);
  t.strictSame(
    v2.writes.map(line => line.replace(`/covey/${id}`, '')),
    [
      '/sys/fs/cgroup/cgroup.subtree_control +memory',
      '/sys/fs/cgroup/cgroup.subtree_control +pids',
      '/sys/fs/cgroup/memory.max 67108864',
      '/sys/fs/cgroup/memory.swap.max 0',
      '/sys/fs/cgroup/cpu.max 50000 100000',
      '/sys/fs/cgroup/cpu.weight 39',
      '/sys/fs/cgroup/pids.max 7',
    ],
  );
});

t.test('limits and kills are read back', async t => {
  const v1 = fakeHost({
    '/proc/self/mounts': hybridMounts,
    [`/sys/fs/cgroup/memory/covey/${id}/memory.limit_in_bytes`]: '9223372036854771712\n',
    [`/sys/fs/cgroup/memory/covey/${id}/memory.oom_control`]: 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
    [`/sys/fs/cgroup/cpu/covey/${id}/cpu.cfs_quota_us`]: '-1\n',
    [`/sys/fs/cgroup/pids/covey/${id}/pids.max`]: '20\n',
  });
  const one = openCgroups(v1.host, 'covey');
  t.match(one.readLimits(id), { memoryBytes: undefined, cpuQuotaUs: undefined, pidsMax: 20 });
  t.equal(one.countOomKills(id), 3);
  const v2 = fakeHost({
    '/proc/self/mounts': 'cgroup2 /sys/fs/cgroup cgroup2 rw 0 0',
    [`/sys/fs/cgroup/covey/${id}/memory.max`]: '67108864\n',
    [`/sys/fs/cgroup/covey/${id}/memory.events`]: 'low 0\noom 1\noom_kill 2\noom_group_kill 0\n',
    [`/sys/fs/cgroup/covey/${id}/cpu.max`]: 'max 100000\n',
    [`/sys/fs/cgroup/covey/${id}/pids.max`]: 'max\n',
  });
  const two = openCgroups(v2.host, 'covey');
  t.match(two.readLimits(id), { memoryBytes: 67_108_864, cpuQuotaUs: undefined, pidsMax: undefined });
  t.equal(two.countOomKills(id), 2);
});

t.test('members are those of all its containers, zombies left out', async t => {
  const { host } = fakeHost({
    '/proc/self/mounts': hybridMounts,
    [`/sys/fs/cgroup/pids/covey/${id}/cgroup.procs`]: '',
    [`/sys/fs/cgroup/pids/covey/${id}/0/cgroup.procs`]: '10\n66\n',
    [`/sys/fs/cgroup/pids/covey/${id}/1/cgroup.procs`]: '11\n',
  });
  t.strictSame(openCgroups(host, 'covey').members(id), [10, 11]);
});

t.test('a group is removed from every hierarchy, inner ones first; the parent goes with the last', async t => {
  const mounts = ['cpu', 'memory', 'pids', 'unified'];
  const files = Object.fromEntries(
    mounts.flatMap(name => [
      [`/sys/fs/cgroup/${name}/covey/${id}/0/cgroup.procs`, ''],
      [`/sys/fs/cgroup/${name}/covey/${id}/cgroup.procs`, ''],
      [`/sys/fs/cgroup/${name}/covey/cgroup.procs`, ''],
    ]),
  );
  const { host, removed, texts } = fakeHost({ '/proc/self/mounts': hybridMounts, ...files });
  const cgroups = openCgroups(host, 'covey');
  t.strictSame(cgroups.tasks(), [id]);
  t.ok(cgroups.remove(id));
  t.equal(removed.length, 8);
  t.strictSame(cgroups.removeAll(), []);
  t.strictSame([...texts.keys()], ['/proc/self/mounts']);
});

t.test('shares become weights as the runtimes do it', async t => {
  t.strictSame([2, 1_024, 262_144].map(weightOfShares), [1, 39, 10_000]);
});
