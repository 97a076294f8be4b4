/**
 * A machine is emptied for its repair and gets its share again: drained with and without a deadline, paused, activated,
 * rebalanced, while a client asks what runs on it.
 */
import t from 'tap';
import { openClient, readyCheck, server } from './client.js';
import { cannotCluster, type DevCluster, openDevCluster, type TaskRow } from './dev-cluster.js';

const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];

interface TimedTask extends TaskRow {
  readonly createdAt: string;
  readonly since: string;
}

interface NodeRow {
  readonly name: string;
  readonly availability: string;
  readonly tasks: number;
  readonly drainUntil: string | null;
}

const tasksOf = (cluster: DevCluster, service: string): readonly TimedTask[] =>
  cluster.json<TimedTask>(1, 'service', 'ps', service);

const runningOf = (cluster: DevCluster, service: string): readonly TimedTask[] =>
  tasksOf(cluster, service).filter(task => task.desiredState === 'running' && task.state === 'running');

const placesOf = (cluster: DevCluster, service: string): readonly string[] =>
  runningOf(cluster, service)
    .map(task => task.node)
    .sort();

t.test('drain and return', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'dr', workers: 2 });
  const [one, two, three] = cluster.nodes.map(({ name }) => name);
  if (one === undefined || two === undefined || three === undefined) throw new Error('three nodes');
  const nodeOf = (name: string): NodeRow => {
    const [row] = cluster.json<NodeRow>(1, 'node', 'inspect', name);
    if (row === undefined) throw new Error(`no node ${name}`);
    return row;
  };
  const create = (name: string, ...args: readonly string[]): string =>
    cluster.must(1, 'service', 'create', '--name', name, ...args);
  create('web', '--replicas', '6', '-p', '8090:80', ...readyCheck, 'hello:1', ...server);
  create('agent', '--mode', 'global', 'hello:1', ...sleeper);
  const url = `http://${cluster.node(1).address}:8090/`;

  await t.test('a drain: each task stops when another serves in its place, global ones stop last', async t => {
    t.same(placesOf(cluster, 'web'), [one, one, two, two, three, three]);
    const client = openClient(cluster, { from: 2, url });
    cluster.must(1, 'node', 'drain', three);
    const answers = await client.stop();
    t.same([...new Set(answers)], ['answered'], 'clients notice nothing');
    t.same(placesOf(cluster, 'web'), [one, one, one, two, two, two]);
    t.match(nodeOf(three), { availability: 'drain', tasks: 0 });
    const ended = (service: string): readonly number[] =>
      tasksOf(cluster, service)
        .filter(task => task.node === three)
        .map(task => Date.parse(task.since));
    t.ok(Math.min(...ended('agent')) >= Math.max(...ended('web')), `${ended('agent')} after ${ended('web')}`);
  });

  await t.test('a node that is active again gets its share by a rebalance, and clients notice nothing', async t => {
    cluster.must(1, 'node', 'activate', three);
    const before = runningOf(cluster, 'web').map(task => task.id);
    const plan = cluster.json<{ name: string; from: string; to: string }>(1, 'rebalance', '--dry-run');
    t.match(plan, [{ to: three }, { to: three }]);
    t.same(
      runningOf(cluster, 'web').map(task => task.id),
      before,
      'a dry run moves nothing',
    );
    const client = openClient(cluster, { from: 2, url });
    const moved = cluster.covey(1, 'rebalance');
    const answers = await client.stop();
    t.equal(moved.status, 0, moved.stderr);
    t.match(moved.stderr, /2 tasks moved/);
    t.same([...new Set(answers)], ['answered']);
    t.same(placesOf(cluster, 'web'), [one, one, two, two, three, three]);
    t.match(cluster.covey(1, 'rebalance').stderr, /Nothing to move/);
  });

  await t.test('what finds no place elsewhere stays until the deadline, and not longer', async t => {
    create('bound', '--constraint', `node.name==${three}`, 'hello:1', ...sleeper);
    const waiting = cluster.covey(1, 'node', 'drain', '--timeout', '2s', three);
    t.equal(waiting.status, 3);
    t.match(waiting.stderr, /bound\.1 can't run elsewhere yet: no node fits: 3 looked at/);
    t.equal(runningOf(cluster, 'bound').length, 1);
    cluster.must(1, 'node', 'drain', '--deadline', '2s', three);
    const untilMs = Date.parse(nodeOf(three).drainUntil ?? '');
    const [ended] = tasksOf(cluster, 'bound').filter(task => task.node === three);
    t.match(ended, { state: 'shutdown' });
    t.ok(
      Date.parse(ended?.since ?? '') >= untilMs,
      `ended at ${ended?.since}, the deadline was ${nodeOf(three).drainUntil}`,
    );
  });

  await t.test('--force ends all at once; a node that is paused keeps what it has and gets nothing new', async t => {
    cluster.must(1, 'node', 'activate', three);
    cluster.must(1, 'service', 'update', '--force', 'bound');
    t.equal(runningOf(cluster, 'bound').length, 1);
    cluster.must(1, 'node', 'drain', '--force', three);
    t.equal(nodeOf(three).tasks, 0);
    cluster.must(1, 'node', 'activate', three);
    cluster.must(1, 'rebalance');
    cluster.must(1, 'node', 'pause', three);
    const kept = runningOf(cluster, 'web').filter(task => task.node === three);
    t.equal(kept.length, 2);
    cluster.must(1, 'service', 'scale', 'web=9');
    t.same(
      runningOf(cluster, 'web')
        .filter(task => task.node === three)
        .map(task => task.id),
      kept.map(task => task.id),
    );
    cluster.must(1, 'node', 'activate', three);
    cluster.must(1, 'service', 'scale', 'web=11');
    t.ok(runningOf(cluster, 'web').filter(task => task.node === three).length > 2, 'it gets new ones again');
  });
});
