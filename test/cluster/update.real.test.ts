/**
 * Rolling updates of real containers: nine replicas one by one, a failing one that goes back while clients are served, a daemon
 * of the manager that is killed in between.
 */
import t from 'tap';
import { openClient, readyCheck, server } from './client.js';
import { cannotCluster, type DevCluster, openDevCluster, type TaskRow, until } from './dev-cluster.js';

const sleeper = ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'];
interface ServiceRow {
  readonly running: number;
  readonly revision: number;
  readonly update: { readonly state: string; readonly replaced: number; readonly because: string } | null;
}

function inspected(cluster: DevCluster, name: string): ServiceRow {
  const [row] = cluster.json<ServiceRow>(1, 'service', 'inspect', name);
  if (row === undefined) throw new Error(`no service ${name}`);
  return row;
}

function running(cluster: DevCluster, name: string): readonly TaskRow[] {
  return cluster
    .json<TaskRow>(1, 'service', 'ps', name)
    .filter(task => task.state === 'running' && task.desiredState === 'running');
}

t.test('updates', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'ur', workers: 1 });

  await t.test('nine replicas are replaced one by one, and the command waits for the last', async t => {
    cluster.must(
      1,
      'service',
      'create',
      '--name',
      'nine',
      '--replicas',
      '9',
      '--update-monitor',
      '0',
      'hello:1',
      ...sleeper,
    );
    const before = running(cluster, 'nine').map(task => task.id);
    cluster.must(1, 'service', 'update', '--force', 'nine');
    const after = running(cluster, 'nine').map(task => task.id);
    t.equal(new Set([...before, ...after]).size, 18, 'all are new');
    t.match(inspected(cluster, 'nine'), { running: 9, update: { state: 'completed', replaced: 9 } });
  });

  // Without the ready check the bad version would be asked in the second in which it runs.
  await t.test('an update that fails goes back by itself, and with a ready check clients notice nothing', async t => {
    const config = ['--update-failure-action', 'rollback', '--update-monitor', '2s', '--rollback-monitor', '0'];
    cluster.must(
      1,
      'service',
      'create',
      '--name',
      'web',
      '--replicas',
      '4',
      '-p',
      '8088:80',
      ...readyCheck,
      ...config,
      'hello:1',
      ...server,
    );
    const before = running(cluster, 'web').map(task => task.id);
    const client = openClient(cluster, { from: 2, url: `http://${cluster.node(1).address}:8088/` });
    const failed = cluster.covey(1, 'service', 'update', '--args', 'sh -c "sleep 1; exit 3"', 'web');
    const answers = await client.stop();
    t.equal(failed.status, 1);
    t.match(failed.stderr, /back to revision 1: 1 failed, the last in slot \d: exit code 3[\s\S]*update-rolled-back/);
    t.ok(answers.length > 10, `${answers.length} answers`);
    t.same([...new Set(answers)], ['answered']);
    const after = running(cluster, 'web').map(task => task.id);
    t.equal(after.length, 4);
    t.ok(after.filter(id => before.includes(id)).length >= 2, 'only what was replaced was replaced again');
    const [last] = cluster.json<{ by: string; changes: readonly string[] }>(1, 'service', 'history', 'web');
    t.match(last, { by: 'system', changes: [/back to revision/] });
  });

  await t.test('a manager that is killed in the middle of an update goes on with it when it is back', async t => {
    cluster.must(1, 'service', 'update', '-d', '--force', '--update-delay', '300ms', 'nine');
    await until(
      'three replaced',
      () => inspected(cluster, 'nine').update?.replaced ?? 0,
      replaced => replaced >= 3,
    );
    t.equal(cluster.script('kill', '1').status, 0);
    t.equal(cluster.script('start', '1').status, 0);
    await until(
      'the end of the update',
      () =>
        cluster
          .covey(1, 'service', 'inspect', '--format', '{{.update.state}} {{.update.replaced}}', 'nine')
          .stdout.trim(),
      text => text === 'completed 9',
      30_000,
    );
    const tasks = cluster.json<TaskRow>(1, 'service', 'ps', 'nine');
    t.equal(tasks.filter(task => task.desiredState === 'running' && task.state === 'running').length, 9);
    t.equal(tasks.length, 27, 'each slot was replaced once: three generations of nine');
  });
});
