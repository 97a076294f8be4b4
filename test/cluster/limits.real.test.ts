/**
 * Limits that people change while a service runs, and what `stats` shows of it, on another node than the one where they type.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, openDevCluster, run, type TaskRow, until } from './dev-cluster.js';

interface Figures {
  readonly name: string;
  readonly node: string;
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly pids: number;
}

const mib = 2 ** 20;
/** Of version 1 and of version 2. */
const knobs = {
  memory: ['memory/*/memory.limit_in_bytes', '*/memory.max'],
  pids: ['pids/*/pids.max', '*/pids.max'],
  cpu: ['cpu/*/cpu.cfs_quota_us', '*/cpu.max'],
} as const;

function inKernel(prefix: string, taskId: string): readonly string[] {
  return Object.values(knobs).map(paths => {
    const found = paths
      .map(path => `/sys/fs/cgroup/${path.replace('*', `${prefix}/${taskId}`)}`)
      .find(path => fs.existsSync(path));
    return found === undefined ? 'no such group' : fs.readFileSync(found, 'utf8').trim().replace(/ .*/, '');
  });
}

/** The programs in the group of a task. */
function programs(prefix: string, taskId: string): string {
  return fs
    .globSync([
      `/sys/fs/cgroup/pids/${prefix}/${taskId}{,/**}/cgroup.procs`,
      `/sys/fs/cgroup/${prefix}/${taskId}{,/**}/cgroup.procs`,
    ])
    .map(path => fs.readFileSync(path, 'utf8').trim())
    .filter(text => text !== '')
    .join('\n');
}

t.test('limits of a service that runs', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'li', workers: 1 });
  const far = cluster.node(2).name;
  const place = ['--constraint', `node.hostname==${far}`];
  const limits = ['--limit-memory', '64m', '--limit-cpu', '0.5', '--limit-pids', '50'];
  cluster.must(1, 'service', 'create', '--name', 'w', ...place, ...limits, 'hello:1', 'sleep', '1000');
  const rows = (): readonly TaskRow[] => cluster.json<TaskRow>(1, 'task', 'ls');
  const { id } = rows().find(task => task.service === 'w') ?? { id: 'none' };
  const running = programs('li2', id);
  t.match(running, /^\d+$/, 'one program');
  t.strictSame(inKernel('li2', id), [String(64 * mib), '50', '50000']);

  await t.test('are changed in place: the same task, the same process, other figures in the kernel', async t => {
    const changed = ['--limit-memory', '96m', '--limit-cpu', '0.25', '--limit-pids', '40'];
    t.match(cluster.must(1, 'service', 'update', ...changed, 'w'), /w/);
    await until(
      'the new limits are in the kernel',
      () => inKernel('li2', id),
      seen => `${seen}` === `${[96 * mib, 40, 25_000]}`,
    );
    t.strictSame(
      rows().map(task => [task.id, task.state]),
      [[id, 'running']],
    );
    t.equal(programs('li2', id), running);
  });

  await t.test('are taken away in place too', async t => {
    cluster.must(1, 'service', 'update', '--limit-cpu', '0', '--limit-pids', '0', 'w');
    await until(
      'the limit of CPU is gone',
      () => inKernel('li2', id)[2],
      seen => seen === '-1' || seen === 'max',
    );
    t.equal(programs('li2', id), running);
  });

  await t.test('stats shows the figures of a task of another node, as JSON and as a table', async t => {
    const figures = await until(
      'the figures of the task',
      () => cluster.json<Figures>(1, 'stats', '--no-stream')[0],
      seen => seen !== undefined && seen.memoryBytes > 0 && seen.pids > 0,
    );
    t.match(figures, { name: 'w.1', node: far, memoryLimitBytes: 96 * mib, pids: 1 });
    const table = cluster.must(1, 'stats', '--no-stream', 'w.1').split('\n');
    t.match(table[0], /^TASK +NODE +CPU % +MEM USAGE \/ LIMIT +MEM % +NET I\/O +BLOCK I\/O +PIDS$/);
    t.match(table[1], /^w\.1 .* \d+\.\d+% +\d.* \/ 96\.0 MiB .* 1$/);
    t.match(cluster.covey(1, 'stats', '--no-stream', 'w.9'), { status: 4, stderr: /w\.9/ });
  });

  await t.test('stats on a terminal shows the figures until it is interrupted', async t => {
    const { namespace, socket } = cluster.node(1);
    const line = `nsenter --net=/run/netns/${namespace} timeout -s INT 4 bin/covey --socket ${socket} stats --interval 200ms`;
    const { stdout } = run(['script', '-qec', line, '/dev/null'], { input: '', timeoutMs: 30_000 });
    t.match(stdout, /PIDS[\s\S]*w\.1 /);
    t.notMatch(stdout, /error/);
  });
});
