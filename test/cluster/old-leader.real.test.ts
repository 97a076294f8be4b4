/**
 * A leader that was cut off with a worker, or stood still, while another was elected: it stops nothing, and nobody looks lost for
 * the change.
 */
import t from 'tap';
import { cannotCluster, type DevCluster, openDevCluster, until } from './dev-cluster.js';
import { allReady, idsOf, nodesAt, patienceMs, settled, sleeper, startsOf, tablesAlike, wantedAt } from './living.js';

const timeout = 420_000;
t.setTimeout(timeout);
const worker = 4;

/** Index of the node that leads, as another sees it. */
function leaderAt(cluster: DevCluster, at: number): number {
  const leader = nodesAt(cluster, at).find(node => node.leader);
  return cluster.nodes.find(node => node.name === leader?.name)?.index ?? 0;
}

t.test('old leaders', { skip: cannotCluster, timeout }, async t => {
  const cluster = openDevCluster(t, { name: 'ol', managers: 3, workers: 1 });
  cluster.must(1, 'network', 'create', 'inside');
  const create = (...args: readonly string[]): string =>
    cluster.must(1, 'service', 'create', '-d', '--network', 'inside', ...args, 'hello:1', ...sleeper);
  create('--name', 'look', '--mode', 'global');
  create('--name', 'steady', '--replicas', '4', '--lost-after', '10m');
  create('--name', 'scaled', '--replicas', '1', '--lost-after', '10m');
  const before = await settled(cluster, 1, { steady: 4, scaled: 1 });
  const steady = before.get('steady');
  const starts = startsOf(steady);

  await t.test('a leader that is cut off, with a worker, stops nothing, and nobody else looks lost', async t => {
    const leader = leaderAt(cluster, 1);
    const [other = 0] = [1, 2, 3].filter(index => index !== leader);
    const sinces = new Map(nodesAt(cluster, other).map(node => [node.name, node.since]));
    t.equal(cluster.script('partition', String(leader), String(worker)).status, 0);
    await until(
      'a change by another leader',
      () => cluster.covey(other, 'service', 'scale', '-d', 'scaled=2').stderr,
      said => said === '',
      patienceMs,
    );
    t.not(leaderAt(cluster, other), leader);
    t.not(
      cluster.covey(leader, 'service', 'scale', '-d', 'steady=0').status,
      0,
      'the old one takes no change any more',
    );
    t.same(startsOf(steady), starts, 'nothing was stopped');
    t.equal(cluster.script('heal').status, 0);
    const away = [leader, worker].map(index => cluster.node(index).name);
    for (const node of await allReady(cluster, other))
      if (!away.includes(node.name)) t.equal(node.since, sinces.get(node.name), `${node.name} was ready all the time`);
    const after = await settled(cluster, leader, { steady: 4, scaled: 2 });
    t.same(idsOf(after.get('steady')), idsOf(steady));
    t.same(startsOf(after.get('steady')), starts, 'nothing was restarted');
    await tablesAlike(cluster, ['steady', 'scaled']);
  });

  await t.test('a leader that stood still while another was elected stops nothing when it goes on', async t => {
    const leader = leaderAt(cluster, 1);
    const [other = 0] = [1, 2, 3].filter(index => index !== leader);
    const { nodes } = JSON.parse(cluster.script('status').stdout) as { nodes: readonly { pid: number }[] };
    const pid = nodes[leader - 1]?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      await until(
        'a change by another leader',
        () => cluster.covey(other, 'service', 'scale', '-d', 'scaled=3').stderr,
        said => said === '',
        patienceMs,
      );
      t.not(leaderAt(cluster, other), leader);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await allReady(cluster, other);
    const after = await settled(cluster, leader, { steady: 4, scaled: 3 });
    t.same(idsOf(after.get('steady')), idsOf(steady));
    t.same(startsOf(wantedAt(cluster, other).get('steady')), starts, 'nothing was restarted');
    await tablesAlike(cluster, ['steady', 'scaled']);
  });
});
