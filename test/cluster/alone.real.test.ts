/**
 * All managers are dead, and the worker loses power: what ran there is started again, found by name and looked at from there.
 * When the managers are back, they find the same tasks.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { openWire } from '../../src/wire.js';
import { cannotCluster, type DevCluster, openDevCluster, type TaskRow, until } from './dev-cluster.js';

const sleeper = ['sh', '-c', 'echo begun; trap "exit 0" TERM; while :; do sleep 0.2; done'];
const onWorker = ['--constraint', 'node.role==worker', '--network', 'inside'];

interface Row extends TaskRow {
  readonly attempt: number;
  readonly pid: number | null;
}

const worker = 2;
const local = (cluster: DevCluster): readonly Row[] => cluster.json<Row>(worker, 'task', 'ls', '-a', '--local');
const seenByManagers = (cluster: DevCluster): readonly Row[] =>
  cluster.json<Row>(1, 'task', 'ls', '-a', '--consistent');

/** Of the main processes: equal only when none was started anew. */
function startTimes(rows: readonly Row[]): Readonly<Record<string, string>> {
  const startOf = (pid: number | null) => fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[19];
  return Object.fromEntries(
    rows.filter(({ state }) => state === 'running').map(({ id, pid }) => [id, `${pid} ${startOf(pid)}`]),
  );
}

/** Tasks that the tables lead to which the worker would start with. */
function servedOnDisk(cluster: DevCluster): number {
  const path = `${cluster.node(worker).dataDir}/session/tables`;
  const { items } = openWire()
    .type('Tables')
    .decode(fs.existsSync(path) ? fs.readFileSync(path) : new Uint8Array());
  return items.filter(({ value }) => value.kind === 'endpoint' && value.serving).length;
}

const states = (rows: readonly Row[]): string =>
  rows
    .map(({ name, state, attempt }) => `${name} ${state} ${attempt}`)
    .sort()
    .join(', ');

t.test('life without managers', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'al', managers: 1, workers: 1 });
  cluster.must(1, 'network', 'create', 'inside');
  for (const [name, ...more] of [['web', '--replicas', '2'], ['once', '--restart-condition', 'none'], ['api']] as const)
    cluster.must(1, 'service', 'create', '--name', name, ...more, ...onWorker, 'hello:1', ...sleeper);
  const before = seenByManagers(cluster);
  const idOf = (name: string): string => before.find(row => row.name === name)?.id ?? '';
  t.equal(states(before), 'api.1 running 0, once.1 running 0, web.1 running 0, web.2 running 0');
  await until(
    'all tasks served by the tables on the disk of the worker',
    () => servedOnDisk(cluster),
    seen => seen === 4,
    30_000,
  );

  await t.test('a worker that is asked what only managers know says so', async t => {
    const refused = cluster.covey(worker, 'service', 'ls');
    t.match(refused, { status: 5, stderr: /this node is not a manager[\s\S]*managers: [\s\S]*ssh [\s\S]*not-manager/ });
  });

  t.equal(cluster.script('kill', '1').status, 0);
  t.equal(cluster.script('poweroff', String(worker)).status, 0);
  const started = cluster.script('start', String(worker));
  t.equal(started.status, 0, started.stderr);

  await t.test(
    'it starts its tasks again, as another attempt of each; what is not to be started again is not',
    async t => {
      await until(
        'all that may run again running',
        () => states(local(cluster)),
        seen => seen === 'api.1 running 1, once.1 failed 0, web.1 running 1, web.2 running 1',
        120_000,
      );
      t.same(
        new Set(local(cluster).map(({ id }) => id)),
        new Set(before.map(({ id }) => id)),
        'they are the tasks that they were',
      );
      const addresses = (rows: readonly Row[]) => Object.fromEntries(rows.map(row => [row.id, row.addresses]));
      t.same(addresses(local(cluster)), addresses(before), 'with their addresses');
    },
  );

  await t.test('names lead to them, and they can be looked at and entered', async t => {
    const api = before.find(row => row.name === 'api.1');
    const answer = cluster.covey(worker, 'exec', '--local', 'web.1', 'nslookup', 'tasks.api');
    t.match(answer.stdout, api?.addresses[0] ?? 'no address', `${answer.stdout}${answer.stderr}`);
    t.equal(cluster.covey(worker, 'task', 'exec', '--local', 'web.1', 'sh', '-c', 'exit 7').status, 7);
    t.match(cluster.must(worker, 'task', 'logs', '--local', 'web.1'), /begun[\s\S]*begun/, 'of both attempts');
    t.match(cluster.covey(worker, 'task', 'ls', '--local', '--node', 'x'), { status: 2 });
  });

  await t.test('it says what it remembers of the cluster, and what is wrong', async t => {
    const nodes = cluster.covey(worker, 'node', 'ls', '--stale', '--format', 'json');
    t.match(nodes.stderr, /as of 20\S+, \d+. ago; remembered by this worker/);
    const rows = nodes.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    t.match(
      rows.map(({ name, role }) => `${name} ${role}`),
      [`${cluster.node(1).name} manager`, `${cluster.node(2).name} worker`],
    );
    const doctor = cluster.covey(worker, 'doctor').stdout;
    t.match(doctor, /no manager has answered/);
    t.match(doctor, new RegExp(`no answer from the manager at ${cluster.node(1).address}`));
    t.match(doctor, /the certificate of this node is good until/);
    t.match(doctor, /3 tasks running here with 3 containers; 3 tasks started again/);
  });

  await t.test('what fails is started again by its policy; what people stop stays stopped', async () => {
    cluster.must(worker, 'task', 'stop', '--local', 'api.1');
    cluster.must(worker, 'task', 'kill', '--local', 'web.2');
    await until(
      'the killed one running again',
      () => states(local(cluster)),
      seen => seen === 'api.1 complete 1, once.1 failed 0, web.1 running 1, web.2 running 2',
      120_000,
    );
  });

  await t.test('the managers come back and find the same tasks: none is replaced, none is started anew', async t => {
    const alone = startTimes(local(cluster));
    t.equal(Object.keys(alone).length, 2);
    t.equal(cluster.script('start', '1').status, 0);
    await until(
      'the managers seeing the attempts',
      () => states(seenByManagers(cluster).filter(({ service }) => service === 'web')),
      seen => seen === 'web.1 running 1, web.2 running 2',
      120_000,
    );
    await until(
      'the stopped one followed by another, as its policy says',
      () => states(seenByManagers(cluster).filter(({ service, state }) => service === 'api' && state === 'running')),
      seen => seen === 'api.1 running 0',
      120_000,
    );
    const after = seenByManagers(cluster);
    t.same(
      after
        .filter(({ service }) => service === 'web')
        .map(({ id }) => id)
        .sort(),
      [idOf('web.1'), idOf('web.2')].sort(),
    );
    const web = (times: Readonly<Record<string, string>>) => [times[idOf('web.1')], times[idOf('web.2')]];
    t.same(web(startTimes(local(cluster))), web(alone));
  });
});
