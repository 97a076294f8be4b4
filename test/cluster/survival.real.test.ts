/**
 * Daemons come and go, links break and heal; containers run on.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, type DevCluster, openDevCluster, until } from './dev-cluster.js';
import { startTimes } from './living.js';

const ticker = ['sh', '-c', 'n=0; trap "exit 0" TERM; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done'];

function lastTick(cluster: DevCluster, service: string): number {
  const lines = cluster.must(1, 'service', 'logs', '--tail', '1', service).trim().split('\n');
  return Math.max(...lines.map(line => Number(/tick (\d+)/.exec(line)?.[1] ?? 0)));
}

t.test('daemons and links', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'sv', workers: 1 });
  // A starved machine may take longer than the usual 10 s to start a daemon: that would be a loss, which is not what this is about.
  const patient = ['--lost-after', '10m'];
  cluster.must(1, 'service', 'create', '--name', 'tick', '--replicas', '4', ...patient, 'hello:1', ...ticker);
  const before = startTimes(cluster, 1, 'tick');
  t.equal(Object.keys(before).length, 4);

  for (const [title, node, stop] of [
    ['killed daemon of a worker', 2, 'kill'],
    ['killed daemon of the manager', 1, 'kill'],
    ['stopped daemon of a worker', 2, 'term'],
    ['stopped daemon of the manager', 1, 'term'],
  ] as const) {
    await t.test(`a ${title} leaves its containers alone, and the next one adopts them`, async t => {
      const ticks = lastTick(cluster, 'tick');
      if (stop === 'kill') t.equal(cluster.script('kill', String(node)).status, 0);
      else {
        const { pid } =
          (JSON.parse(cluster.script('status').stdout) as { nodes: { pid?: number }[] }).nodes[node - 1] ?? {};
        process.kill(pid ?? 0, 'SIGTERM');
        await until(
          'the end of the daemon',
          () =>
            fs.existsSync(`/proc/${pid}/exe`) &&
            fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] !== 'Z',
          alive => !alive,
        );
      }
      for (const started of Object.values(before))
        t.ok(fs.existsSync(`/proc/${started.split(' ')[0]}`), `process ${started} lives`);
      t.equal(cluster.script('start', String(node)).status, 0);
      await until(
        'all tasks running',
        () => cluster.covey(1, 'service', 'ls', '--format', '{{.name}} {{.running}}').stdout.trim(),
        text => text === 'tick 4',
      );
      t.same(startTimes(cluster, 1, 'tick'), before, 'nothing was restarted');
      await until(
        'the log going on',
        () => lastTick(cluster, 'tick'),
        now => now > ticks + 2,
      );
    });
  }

  await t.test('a worker that is cut off and comes back restarts nothing', async t => {
    t.equal(cluster.script('partition', '2').status, 0);
    const cut = cluster.inside(2, 'busybox', 'ping', '-c', '1', '-W', '1', cluster.node(1).address);
    t.not(cut.status, 0, 'it is cut off');
    t.equal(cluster.script('heal').status, 0);
    const begin = performance.now();
    cluster.must(1, 'service', 'scale', 'tick=6');
    await until(
      'six running',
      () => cluster.must(1, 'service', 'ls', '--format', '{{.running}}').trim(),
      text => text === '6',
      10_000,
    );
    t.comment(`tables equal again and two more tasks running after ${Math.round(performance.now() - begin)} ms`);
    const after = startTimes(cluster, 1, 'tick');
    for (const [task, started] of Object.entries(before)) t.equal(after[task], started, 'not restarted');
  });

  await t.test('a second daemon on one data directory is refused', async t => {
    const node = cluster.node(1);
    const second = cluster.inside(1, 'bin/coveyd', '--data-dir', node.dataDir, '--run-dir', `${node.runDir}2`);
    t.not(second.status, 0);
    t.match(second.stderr, /code\s+daemon-running/);
    t.ok(second.ms < 10_000, `${second.ms} ms`);
  });
});
