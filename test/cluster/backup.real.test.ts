/**
 * A cluster in a file: taken while it runs, brought back on a machine that lost everything; the worker finds it again by itself
 * and keeps its containers.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cannotCluster, openDevCluster, type TaskRow, until } from './dev-cluster.js';

const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];

t.test('backup and restore', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const directory = t.testdir({ key: 'a key of more than eight bytes\n', wrong: 'another key, as long as that\n' });
  const file = join(directory, 'covey.bak');
  const key = ['--key-file', join(directory, 'key')];
  const cluster = openDevCluster(t, { name: 'bak', managers: 1, workers: 1 });
  const worker = cluster.node(2).name;
  cluster.must(
    1,
    'service',
    'create',
    '--name',
    'web',
    '--mode',
    'global',
    '--lost-after',
    '10m',
    'hello:1',
    ...sleeper,
  );
  const id = cluster.must(1, 'info', '--format', '{{.clusterId}}').trim();
  const onWorker = (): string => {
    const rows = cluster.json<TaskRow & { pid: number }>(1, 'service', 'ps', 'web');
    const row = rows.find(task => task.node === worker && task.desiredState === 'running');
    return `${row?.id} ${row?.pid}`;
  };
  const services = (): string => cluster.must(1, 'service', 'ls', '--format', 'name').trim();
  const before = onWorker();

  await t.test('one file, for its owner alone, with a key, and it says what it holds', async t => {
    t.match(cluster.must(1, 'cluster', 'backup', ...key, file), /2 nodes, 1 service/);
    t.equal(fs.statSync(file).mode & 0o777, 0o600);
    t.match(cluster.covey(2, 'cluster', 'backup', join(directory, 'no')).stderr, /not-manager/);
    t.notOk(fs.existsSync(join(directory, 'no')), 'nothing is left of one that failed');
    const told = JSON.parse(cluster.must(1, 'cluster', 'backup', '--inspect', '--format', 'json', ...key, file));
    t.match(told, {
      clusterId: id,
      encrypted: true,
      nodeName: cluster.node(1).name,
      counts: { nodes: 2, services: 1 },
    });
  });

  await t.test('what is no whole backup, or has another key, changes nothing; nor does one over a cluster', async t => {
    const bytes = fs.readFileSync(file);
    fs.writeFileSync(join(directory, 'short'), bytes.subarray(0, bytes.length - 100));
    const restore = (...args: readonly string[]) => cluster.covey(1, 'cluster', 'restore', ...args);
    t.match(restore(...key, join(directory, 'short')).stderr, /backup-damaged/);
    t.match(restore(file).stderr, /backup-key-wrong/);
    t.match(restore('--key-file', join(directory, 'wrong'), file).stderr, /backup-key-wrong/);
    const refused = restore(...key, file);
    t.match(refused.stderr, /already-in-cluster/);
    t.equal(refused.status, 5);
    t.equal(services(), 'web');
  });

  await t.test('on a machine that lost everything: the worker comes back with the container that it had', async t => {
    cluster.must(1, 'leave', '--force', '--yes');
    t.match(cluster.covey(1, 'service', 'ls').stderr, /not-in-cluster/);
    const said = cluster.must(1, 'cluster', 'restore', ...key, file);
    t.match(said, /is the only manager of cluster \S+; [12] of 2 nodes connected/);
    t.equal(cluster.must(1, 'info', '--format', '{{.clusterId}}').trim(), id);
    await until('the task of the worker', onWorker, task => task === before, 60_000);
    await until(
      'the task of the manager running anew',
      () => cluster.must(1, 'service', 'ls', '--format', '{{.running}}').trim(),
      running => running === '2',
      60_000,
    );
    cluster.must(1, 'service', 'create', '-d', '--name', 'later', '--replicas', '0', 'hello:1', ...sleeper);
  });

  await t.test('back to the backup in place, with --force: what came later is gone, containers run on', async t => {
    cluster.must(1, 'cluster', 'restore', '--force', ...key, file);
    t.equal(services(), 'web');
    await until('the task of the worker', onWorker, task => task === before, 60_000);
    t.equal(cluster.script('kill', '1').status, 0);
    t.equal(cluster.script('start', '1').status, 0);
    await until(
      'the restored manager leading after its daemon was killed',
      () => cluster.covey(1, 'service', 'ls', '--format', 'name').stdout.trim(),
      names => names === 'web',
      60_000,
    );
    t.equal(fs.readdirSync(`${cluster.node(1).dataDir}/raft`).length, 1, 'nothing is left of the groups before');
  });
});
