/**
 * Three managers: any takes a command, a minority of them may die, all may, and they come and go while containers run on.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, type DevCluster, openDevCluster, type TaskRow, until } from './dev-cluster.js';
import { startTimes } from './living.js';

const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];

interface NodeRow {
  readonly name: string;
  readonly role: string;
  readonly leader: boolean;
  readonly state: string;
}

const nodesAt = (cluster: DevCluster, at: number): readonly NodeRow[] =>
  cluster.json<NodeRow>(at, 'node', 'ls', '--consistent');

/** Index of the node that leads, as another sees it. */
function leaderAt(cluster: DevCluster, at: number): number {
  const leader = nodesAt(cluster, at).find(node => node.leader);
  return cluster.nodes.find(node => node.name === leader?.name)?.index ?? 0;
}

const startTimesOfWeb = (cluster: DevCluster, at: number) => startTimes(cluster, at, 'web', '--consistent');

const allRun = (cluster: DevCluster, at: number, name: string, count: number) =>
  until(
    `${count} tasks of ${name} running`,
    () =>
      cluster
        .covey(at, 'service', 'ls', '--consistent', '-f', `name=${name}`, '--format', '{{.running}}')
        .stdout.trim(),
    text => text === String(count),
    120_000,
  );

/** A starved machine may take longer than the usual 10 s to start a daemon: that would be a loss, which is not meant here. */
const patient = ['--lost-after', '10m'];

t.test('three managers', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'mg', managers: 3, workers: 1 });
  cluster.must(2, 'service', 'create', '--name', 'web', '--replicas', '4', ...patient, 'hello:1', ...sleeper);
  const before = startTimesOfWeb(cluster, 3);
  t.equal(Object.keys(before).length, 4);

  await t.test('any of them takes a command, and all show the same', async t => {
    for (const at of [1, 2, 3]) {
      cluster.must(
        at,
        'service',
        'create',
        '-d',
        '--name',
        `at${at}`,
        '--replicas',
        '0',
        ...patient,
        // What is started while node 1 is dead must not wait there until that is known as a loss.
        '--constraint',
        `node.name!=${cluster.node(1).name}`,
        'hello:1',
        ...sleeper,
      );
      for (const seen of [1, 2, 3])
        t.match(
          cluster.must(seen, 'service', 'ls', '-q', '--format', 'name'),
          `at${at}`,
          `made at ${at}, seen at ${seen}`,
        );
      // On a busy machine another than the first may lead by now.
      t.equal(leaderAt(cluster, at), leaderAt(cluster, 1));
    }
    t.match(cluster.covey(2, 'service', 'create', '-d', '--name', 'at1', 'hello:1').stderr, /the name is taken/);
    const [task] = cluster.json<TaskRow>(2, 'service', 'ps', 'web');
    t.equal(cluster.covey(3, 'exec', task?.id ?? '', 'sh', '-c', 'exit 7').status, 7, 'exec by way of the leader');
  });

  await t.test('the leader dies: another leads, the change goes through, no task is touched', async t => {
    t.equal(cluster.script('kill', '1').status, 0);
    cluster.must(3, 'service', 'scale', '-d', 'at2=1');
    await allRun(cluster, 2, 'at2', 1);
    t.not(leaderAt(cluster, 2), 1);
    t.equal(leaderAt(cluster, 3), leaderAt(cluster, 2));
    t.same(startTimesOfWeb(cluster, 2), before, 'nothing was restarted');
    t.equal(cluster.script('start', '1').status, 0);
    await allRun(cluster, 1, 'at2', 1);
    t.same(startTimesOfWeb(cluster, 1), before, 'its containers were adopted');
  });

  await t.test('two of three die: nothing can be changed, which is said in time; then they are back', async t => {
    for (const dead of ['1', '2']) t.equal(cluster.script('kill', dead).status, 0);
    const refused = cluster.covey(3, 'service', 'scale', '-d', 'at2=3');
    t.not(refused.status, 0);
    t.match(refused.stderr, /no manager leads[\s\S]*1 of 3 managers answer here, 2 are needed/);
    t.match(cluster.covey(3, 'service', 'ls', '--consistent'), { status: 5, stderr: /no manager leads/ });
    const seen = cluster.covey(3, 'service', 'ls', '--format', 'json');
    t.match(seen, {
      status: 0,
      stderr: /as of 20\S+Z, \d+. ago; no leader: 1 of 3 managers answer here, 2 are needed/,
    });
    const [web] = seen.stdout.split('\n').filter(line => line.includes('"web"'));
    t.match(JSON.parse(web ?? '{}'), { running: 4, asOf: /^20/ }, 'what was known is seen, and how old it is');
    t.match(cluster.covey(3, 'node', 'ls', '--stale'), { status: 0, stderr: /asked of this manager alone/ });
    for (const dead of ['1', '2']) t.equal(cluster.script('start', dead).status, 0);
    await until(
      'a leader',
      () => cluster.covey(3, 'service', 'scale', '-d', 'at2=3').status,
      status => status === 0,
    );
    await allRun(cluster, 3, 'at2', 3);
    t.same(startTimesOfWeb(cluster, 1), before);
  });

  await t.test('all die and come back: everything is there, and nothing was restarted', async t => {
    for (const { index } of cluster.nodes) t.equal(cluster.script('kill', String(index)).status, 0);
    for (const { index } of cluster.nodes) t.equal(cluster.script('start', String(index)).status, 0);
    await allRun(cluster, 2, 'web', 4);
    await allRun(cluster, 1, 'at2', 3);
    t.same(startTimesOfWeb(cluster, 3), before);
  });

  await t.test('a worker becomes a manager, the leader a worker; the last majority is kept', async t => {
    cluster.must(1, 'node', 'promote', cluster.node(4).name);
    await until(
      'the promoted one answering',
      () => cluster.covey(4, 'node', 'ls', '--consistent').status,
      status => status === 0,
    );
    const leader = leaderAt(cluster, 4);
    cluster.must(4, 'node', 'demote', cluster.node(leader).name);
    const rows = nodesAt(cluster, 4);
    t.equal(rows.filter(node => node.role === 'manager').length, 3);
    t.equal(rows.find(node => node.name === cluster.node(leader).name)?.role, 'worker');
    await until(
      'the demoted one working on',
      () => nodesAt(cluster, 4).filter(node => node.state === 'ready').length,
      ready => ready === 4,
    );
    t.same(startTimesOfWeb(cluster, 4), before, 'roles change around running containers');
    await until(
      'the folder of its log gone',
      () => fs.existsSync(`${cluster.node(leader).dataDir}/raft`),
      found => !found,
    );
  });

  await t.test('a manager that leaves shrinks the group; one that would take the majority along is told', async t => {
    const managers = nodesAt(cluster, 4).filter(node => node.role === 'manager' && node.name !== cluster.node(4).name);
    const [first, second] = managers.map(({ name }) => cluster.nodes.find(node => node.name === name)?.index ?? 0);
    cluster.must(first ?? 0, 'leave', '--yes');
    t.equal(nodesAt(cluster, 4).filter(node => node.role === 'manager').length, 2);
    t.equal(cluster.script('kill', String(second)).status, 0);
    const lost = cluster.covey(4, 'service', 'ls', '--consistent');
    t.match(lost.stderr, /1 of 2 managers answer here, 2 are needed/);
    t.equal(cluster.script('start', String(second)).status, 0);
    await until(
      'two managers again',
      () => cluster.covey(4, 'node', 'ls', '--consistent').status,
      status => status === 0,
    );
    cluster.must(4, 'node', 'demote', cluster.node(second ?? 0).name);
    const last = cluster.covey(4, 'node', 'demote', 'self');
    t.match(last.stderr, /last-manager/);
  });
});
