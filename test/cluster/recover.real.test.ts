/**
 * Two of three managers are lost for good: one command on the survivor, and the cluster goes on with the same tasks. Then the
 * lost ones come back with their old disks, alone and as a majority, and do no harm.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, type DevCluster, openDevCluster, type TaskRow, until } from './dev-cluster.js';
import { startOf } from './living.js';

const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];

interface NodeRow {
  readonly name: string;
  readonly role: string;
  readonly leader: boolean;
  readonly state: string;
}

const nodesAt = (cluster: DevCluster, at: number): readonly NodeRow[] => cluster.json<NodeRow>(at, 'node', 'ls');

/** Ids, process ids and start times of the tasks on these nodes: equal only when nothing was restarted. */
function processes(cluster: DevCluster, at: number, nodes: readonly string[]): Readonly<Record<string, string>> {
  const rows = cluster
    .json<TaskRow & { pid: number }>(at, 'service', 'ps', 'web')
    .filter(task => task.desiredState === 'running' && nodes.includes(task.node));
  return Object.fromEntries(rows.map(row => [row.id, `${row.pid} ${startOf(row.pid)}`]));
}

t.test('a majority is lost for good', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'rec', managers: 3, workers: 1 });
  const kept = [cluster.node(3).name, cluster.node(4).name];
  const lost = [cluster.node(1).name, cluster.node(2).name];
  cluster.must(2, 'service', 'create', '--name', 'web', '--mode', 'global', 'hello:1', ...sleeper);
  cluster.must(
    2,
    'service',
    'create',
    '--name',
    'patient',
    '--lost-after',
    '1h',
    '--replicas',
    '4',
    'hello:1',
    ...sleeper,
  );
  const before = processes(cluster, 3, kept);
  t.equal(Object.keys(before).length, 2);

  await t.test('while the majority is alive it is refused, with how that is known', async t => {
    const refused = cluster.covey(3, 'cluster', 'recover', '--yes');
    t.equal(refused.status, 5, refused.stderr);
    t.match(
      refused.stderr,
      /(leads in term \d+ and has just confirmed it|managers answer here and 2 are enough)[\s\S]*quorum-alive/,
    );
    t.match(cluster.covey(4, 'cluster', 'recover', '--yes').stderr, /not-manager/);
  });

  await t.test('one command on the survivor: everything is there, the containers are the same', async t => {
    for (const dead of ['1', '2']) t.equal(cluster.script('kill', dead).status, 0);
    const asked = cluster.covey(3, 'cluster', 'recover');
    t.match(asked.stderr, /1 of 3 managers answer here, 2 are needed[\s\S]*are lost[\s\S]*no managers any more/);
    t.not(asked.status, 0, 'it wants to be told that it is meant');
    const said = cluster.must(3, 'cluster', 'recover', '--yes');
    t.match(said, /is the only manager of cluster \S+; [12] of 2 nodes connected/);
    t.same(processes(cluster, 3, kept), before, 'adopted, not restarted');
    const rows = nodesAt(cluster, 3);
    t.same(
      rows.map(({ name, role }) => [name, role]).sort(),
      [...lost.map(name => [name, 'worker']), [kept[0], 'manager'], [kept[1], 'worker']].sort(),
    );
    cluster.must(
      3,
      'service',
      'create',
      '--name',
      'new',
      '--replicas',
      '2',
      '--constraint',
      `node.hostname!=${lost[0]}`,
      '--constraint',
      `node.hostname!=${lost[1]}`,
      'hello:1',
      ...sleeper,
    );
  });

  await t.test('a daemon that is killed right afterwards comes back as the new manager', async t => {
    t.equal(cluster.script('kill', '3').status, 0);
    t.equal(cluster.script('start', '3').status, 0);
    await until(
      'the survivor leading',
      () => cluster.covey(3, 'node', 'ls').status,
      status => status === 0,
      30_000,
    );
    t.same(processes(cluster, 3, kept), before);
    t.equal(fs.readdirSync(`${cluster.node(3).dataDir}/raft`).length, 1, 'nothing is left of the old group');
  });

  await t.test(
    'the lost ones come back as a majority of their old group: both become workers, and stop nothing',
    async t => {
      for (const back of ['1', '2']) t.equal(cluster.script('start', back).status, 0);
      await until(
        'both back as workers',
        () => nodesAt(cluster, 3).map(({ name, role, state }) => `${name} ${role} ${state}`),
        rows => lost.every(name => rows.includes(`${name} worker ready`)),
        60_000,
      );
      for (const at of [1, 2]) {
        await until(
          `node ${at} knowing that it is a worker`,
          () => cluster.must(at, 'info', '--format', '{{.role}}').trim(),
          role => role === 'worker',
          30_000,
        );
        await until(
          'the folder of its old log gone',
          () => fs.existsSync(`${cluster.node(at).dataDir}/raft`),
          found => !found,
          30_000,
        );
      }
      t.same(processes(cluster, 3, kept), before);
    },
  );

  await t.test('back to three managers; the next loss of one is survived', async t => {
    for (const name of lost) {
      await until(
        `${name} promoted`,
        () => cluster.covey(3, 'node', 'promote', name),
        outcome => outcome.status === 0,
        60_000,
      );
    }
    const rows = nodesAt(cluster, 3);
    t.equal(rows.filter(({ role }) => role === 'manager').length, 3);
    t.equal(cluster.script('kill', '3').status, 0);
    await until(
      'another one leading',
      () => cluster.covey(1, 'service', 'scale', '-d', 'new=1').status,
      status => status === 0,
      30_000,
    );
    t.equal(cluster.script('start', '3').status, 0);
    await until(
      'all there',
      () => nodesAt(cluster, 1).filter(({ state }) => state === 'ready').length,
      count => count === 4,
      60_000,
    );
    t.same(processes(cluster, 3, kept), before, 'the same processes from beginning to end');
  });
});
