/**
 * Loss is a policy: a worker whose daemon dies or whose cable is pulled, services that wait shorter or longer for it, and what
 * stays when it is back.
 *
 * Times are those of the leader's records, never of this process: a slow machine makes it late, not wrong.
 */
import t from 'tap';
import { cannotCluster, openDevCluster, until } from './dev-cluster.js';
import {
  allReady,
  idsOf,
  type LivingTask,
  nodesAt,
  patienceMs,
  settled,
  sleeper,
  startOf,
  startsOf,
  tablesAlike,
  wantedAt,
} from './living.js';

const timeout = 420_000;
t.setTimeout(timeout);

t.test('loss', { skip: cannotCluster, timeout }, async t => {
  const cluster = openDevCluster(t, { name: 'ls', workers: 2 });
  const { name } = cluster.node(3);
  const onWorker = (tasks: readonly LivingTask[] = []): LivingTask => {
    const found = tasks.find(task => task.node === name);
    if (found === undefined) throw new Error(`none on ${name}: ${JSON.stringify(tasks)}`);
    return found;
  };
  const create = (service: string, ...args: readonly string[]): void => {
    const where = ['--replicas', '2', '--constraint', 'node.role==worker', '--network', 'inside'];
    cluster.must(1, 'service', 'create', '-d', '--name', service, ...where, ...args, 'hello:1', ...sleeper);
  };
  cluster.must(1, 'network', 'create', 'inside');
  create('original', '--lost-after', '2s');
  create('replacement', '--lost-after', '3s', '--reconcile', 'keep-replacement');
  create('patient', '--lost-after', '10m');
  const look = ['--name', 'look', '--mode', 'global', '--network', 'inside'];
  cluster.must(1, 'service', 'create', '-d', ...look, 'hello:1', ...sleeper);
  const whole = { original: 2, replacement: 2, patient: 2 };

  await t.test('a dead worker: each service waits as long as it says, and not shorter', async t => {
    const before = await settled(cluster, 1, whole);
    const starts = startsOf([...before.values()].flat());
    t.equal(cluster.script('kill', '3').status, 0);
    const made = await until(
      'replacements of both that do not wait long',
      () => {
        const wanted = wantedAt(cluster, 1);
        return ['original', 'replacement'].map(service =>
          (wanted.get(service) ?? []).find(({ id, state }) => starts[id] === undefined && state === 'running'),
        );
      },
      tasks => tasks.every(task => task !== undefined),
      patienceMs,
    );
    const silentSince = nodesAt(cluster, 1).find(node => node.name === name)?.silentSince ?? '';
    for (const [at, lostAfterMs] of [2_000, 3_000].entries()) {
      const waitedMs = Date.parse(made[at]?.createdAt ?? '') - Date.parse(silentSince);
      t.ok(waitedMs >= lostAfterMs, `${made[at]?.service} was replaced ${waitedMs} ms after the last word of the node`);
      t.not(made[at]?.node, name, 'it runs elsewhere');
    }
    t.same(idsOf(wantedAt(cluster, 1).get('patient')), idsOf(before.get('patient')), 'the patient one is not replaced');
    for (const service of ['original', 'replacement', 'patient'])
      t.ok(startOf(onWorker(before.get(service)).pid), `what ran there of ${service} runs on`);

    t.equal(cluster.script('start', '3').status, 0);
    await allReady(cluster, 1);
    const after = await settled(cluster, 1, whole);
    for (const service of ['original', 'patient']) {
      t.same(
        idsOf(after.get(service)),
        idsOf(before.get(service)),
        `the tasks of ${service} are those that were there`,
      );
      for (const { id, pid } of after.get(service) ?? []) t.equal(startOf(pid), starts[id], 'and were not restarted');
    }
    const replaced = onWorker(before.get('replacement'));
    t.notOk(idsOf(after.get('replacement')).includes(replaced.id), 'the replacement stays where that is asked for');
    await until(
      'the end of what was replaced',
      () => startOf(replaced.pid),
      start => start === undefined,
      patienceMs,
    );
    await tablesAlike(cluster, Object.keys(whole));
  });

  await t.test('a worker that is cut off stops what must not run twice, and nothing else', async t => {
    create('single', '--lost-after', '8s', '--stop-after-disconnect', '2s', '--reconcile', 'keep-replacement');
    const before = await settled(cluster, 1, { ...whole, single: 2 });
    const starts = startsOf(before.get('patient'));
    const single = before.get('single')?.find(task => task.node === name);
    t.ok(single, 'one is there');
    t.equal(cluster.script('partition', '3').status, 0);
    await until(
      'the end of the task on the node that is cut off',
      () => startOf(single?.pid ?? null),
      start => start === undefined,
      patienceMs,
    );
    await until(
      'another one elsewhere',
      () => (wantedAt(cluster, 1).get('single') ?? []).filter(task => task.node !== name && task.state === 'running'),
      tasks => tasks.length === 2,
      patienceMs,
    );
    t.equal(cluster.script('heal').status, 0);
    await allReady(cluster, 1);
    const after = await settled(cluster, 1, { ...whole, single: 2 });
    const [told] = cluster.json<LivingTask>(1, 'task', 'inspect', single?.id ?? '');
    t.match(told?.error, /stopped by its node, which has heard no manager for \d+ s/);
    t.same(idsOf(after.get('patient')), idsOf(before.get('patient')));
    t.same(startsOf(after.get('patient')), starts, 'a cut shorter than lost-after restarts nothing');
    await tablesAlike(cluster, Object.keys(whole));
  });
});
