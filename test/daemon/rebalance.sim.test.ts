/** Tasks go from full nodes to empty ones: which ones, how many at a time, and what ends a move. */
import t from 'tap';
import type { RebalanceResponse, ServiceSpec, Task } from '../../src/gen/types.js';
import { container, serviceSpec, taskSpec } from './object-fixtures.js';
import { checkHistory, create, nodes } from './plane-checks.js';
import { callerOf, obedient, openPlane, type Plane, seededRandom } from './plane-fixtures.js';

const rebalance = (plane: Plane, over: { dryRun?: boolean; maxMoves?: number } = {}): Promise<RebalanceResponse> =>
  plane.control.rebalance({ dryRun: false, maxMoves: 0, ...over }, callerOf());

const replicas = (count: number): Pick<ServiceSpec, 'mode'> => ({ mode: { kind: 'replicated', replicas: count } });

const update = (over: Partial<NonNullable<ServiceSpec['update']>>): Pick<ServiceSpec, 'update'> => ({
  update: { delayMs: 0, monitorMs: 0, failureAction: 'pause', maxFailureRatio: 0, order: 'stop-first', ...over },
});

const bound = (...constraints: string[]) => taskSpec({ placement: { constraints, perNodeMax: 0, spread: [] } });

/** So many tasks on node "full", then node "empty" comes. */
async function openLopsided(over: Partial<ServiceSpec> = {}): Promise<Plane> {
  const plane = await openPlane({ nodes: ['full'] });
  await create(plane, { ...replicas(4), ...over });
  await plane.addNode('empty');
  await plane.settle();
  return plane;
}

t.test('a node that comes gets its share: each task stops when another one serves, one at a time', async t => {
  await using plane = await openLopsided();
  const before = plane.tasks().length;
  const planned = await rebalance(plane, { dryRun: true });
  await plane.settle();
  t.same([planned.moves.length, plane.tasks().length, planned.more], [2, before, false], 'a dry run changes nothing');
  let fewest = 4;
  let most = 0;
  plane.setAgent(task => {
    fewest = Math.min(fewest, plane.running().length);
    most = Math.max(most, plane.tasks().filter(({ status }) => status.state === 'running').length);
    return obedient(task);
  });
  t.same((await rebalance(plane)).moves, planned.moves, 'what was shown is done');
  await plane.settle();
  t.same(nodes(plane), ['empty', 'empty', 'full', 'full']);
  t.same([fewest, most], [4, 5], 'never fewer than asked for, and one more at the most');
  t.same((await rebalance(plane)).moves, [], 'a second one finds nothing to do');
  checkHistory(t, plane);
});

t.test('as many tasks of a service move at a time as its update parallelism allows for', async t => {
  await using plane = await openLopsided({ ...replicas(8), ...update({ parallelism: 3 }) });
  let most = 0;
  plane.setAgent(task => {
    most = Math.max(most, plane.tasks().filter(({ status }) => status.state === 'running').length);
    return obedient(task);
  });
  await rebalance(plane);
  await plane.settle();
  t.same([plane.running().length, most], [8, 11]);
  checkHistory(t, plane);
});

t.test('single tasks of several services are spread too, and no more are moved than asked for', async t => {
  await using plane = await openPlane({ nodes: ['full'] });
  for (const name of ['one', 'three', 'two', 'zero']) await create(plane, { name });
  await plane.addNode('empty');
  await plane.settle();
  const first = await rebalance(plane, { maxMoves: 1 });
  t.same([first.moves.length, first.more], [1, true]);
  await plane.settle();
  t.same(nodes(plane), ['empty', 'full', 'full', 'full']);
  const second = await rebalance(plane, { maxMoves: 1 });
  t.same([second.moves.length, second.more], [1, false]);
  await plane.settle();
  t.same(nodes(plane), ['empty', 'empty', 'full', 'full']);
  checkHistory(t, plane);
});

t.test('what has volumes, is global, or fits nowhere else stays', async t => {
  await using plane = await openPlane({ nodes: ['full'] });
  const mount = {
    kind: 'volume',
    source: 'data',
    target: '/data',
    readOnly: false,
    volumeOptions: {},
    volumeLabels: {},
  };
  const mounts = [{ ...mount, volumeNoCopy: false } as never];
  await create(plane, { name: 'db', ...replicas(3), task: taskSpec({ containers: [container({ mounts })] }) });
  await create(plane, { name: 'bound', ...replicas(3), task: bound('node.name==full') });
  await create(plane, { name: 'all', mode: { kind: 'global' } });
  const spread = { constraints: [], perNodeMax: 0, spread: ['node.labels.zone'] };
  await create(plane, { name: 'zoned', ...replicas(3), task: taskSpec({ placement: spread }) });
  await plane.addNode('empty');
  await plane.settle();
  const { moves, notes } = await rebalance(plane);
  t.same([moves, notes], [[], ['db has volumes on its nodes', 'zoned is spread by its own preference']]);
  checkHistory(t, plane);
});

t.test('a move whose successor fails is given up: the task stays, says why, and nothing is tried again', async t => {
  await using plane = await openLopsided();
  const ids = new Set(plane.running().map(({ id }) => id));
  plane.setAgent(task =>
    task.nodeId === 'empty' && task.status.state === 'assigned'
      ? { state: 'failed', error: 'exit code 3' }
      : obedient(task),
  );
  const { moves } = await rebalance(plane);
  for (let minute = 0; minute < 15; minute++) {
    await plane.clock.advance(60_000);
    await plane.settle();
  }
  t.same(new Set(plane.running().map(({ id }) => id)), ids, 'all run where they ran');
  const stayed = plane.running().filter(({ id }) => moves.some(move => move.taskId === id));
  t.same(
    stayed.map(({ status, move }) => [status.message, move]),
    [
      ['not moved to empty: exit code 3', undefined],
      ['not moved to empty: exit code 3', undefined],
    ],
  );
  t.equal(plane.tasks().filter(({ nodeId }) => nodeId === 'empty').length, 2, 'one attempt for each');
  checkHistory(t, plane);
});

t.test('a move ends after the deadline of updates, when the node goes, and with an update of the service', async t => {
  const endings: Readonly<Record<string, { end: (plane: Plane) => Promise<unknown>; says: RegExp }>> = {
    deadline: { end: plane => plane.clock.advance(61_000), says: /no other one served in time/ },
    lost: {
      end: plane => plane.setNode('empty', node => ({ ...node, status: { ...node.status, state: 'lost' } })),
      says: /that is lost/,
    },
    paused: {
      end: plane => plane.setNode('empty', node => ({ ...node, spec: { ...node.spec, availability: 'pause' } })),
      says: /that takes no new tasks/,
    },
  };
  for (const [name, { end, says }] of Object.entries(endings)) {
    await using plane = await openLopsided(update({ deadlineMs: 60_000 }));
    plane.mute.add('empty');
    const { moves } = await rebalance(plane);
    await plane.settle();
    t.equal(plane.tasks().filter(({ nodeId }) => nodeId === 'empty').length, 1, 'the first one is on its way');
    await end(plane);
    await plane.settle();
    const stayed = plane.running().filter(({ id }) => moves.some(move => move.taskId === id));
    t.equal(stayed.length, 2, `${name}: both run on`);
    for (const { status, move } of stayed) {
      t.match(status.message, says, name);
      t.equal(move, undefined);
    }
    t.equal(plane.running().length, 4);
  }
});

t.test('another leader goes on with the moves', async t => {
  await using plane = await openLopsided();
  plane.mute.add('empty');
  await rebalance(plane);
  await plane.settle();
  await plane.reelect();
  plane.mute.delete('empty');
  await plane.settle();
  t.same(nodes(plane), ['empty', 'empty', 'full', 'full']);
  checkHistory(t, plane);
});

t.test('a successor that fails off a draining node is followed as the restart policy says, not at once', async t => {
  await using plane = await openLopsided(replicas(1));
  const [original] = plane.running();
  plane.setAgent(task =>
    task.nodeId === 'empty' && ['assigned', 'ready'].includes(task.status.state) && task.desired === 'running'
      ? { state: 'failed', error: 'exit code 3' }
      : obedient(task),
  );
  await plane.setNode('full', node => ({ ...node, spec: { ...node.spec, availability: 'drain' } }));
  await plane.settle();
  for (let second = 0; second < 60; second++) {
    await plane.clock.advance(1_000);
    await plane.settle();
  }
  const made = plane.history.filter(event => event.table === 'task' && event.old === undefined).length - 1;
  t.ok(made >= 3 && made <= 8, `${made} successors in a minute`);
  t.same(
    plane.running().map(({ id }) => id),
    [original?.id],
    'the task on the draining node runs on',
  );
  checkHistory(t, plane);
});

t.test(
  'whatever the cluster looks like, a rebalance ends, keeps all rules, and leaves nothing to the next one',
  async t => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed);
      const below = (most: number): number => Math.floor(random.fraction() * most);
      await using plane = await openPlane({ nodes: ['n0', 'n1'] });
      const services = 1 + below(5);
      for (let at = 0; at < services; at++) await create(plane, randomSpec(`s${at}`, below));
      for (let at = 2; at < 3 + below(4); at++) {
        const labels: Record<string, string> = below(2) === 0 ? { disk: 'ssd' } : {};
        await plane.addNode(`n${at}`, { spec: { name: `n${at}`, labels, availability: 'active' } });
      }
      await plane.settle();
      const counts = countsOf(plane);
      let lacking = 0;
      plane.setAgent(task => {
        for (const [name, count] of counts) lacking = Math.max(lacking, count - plane.running(name).length);
        return obedient(task);
      });
      const { moves } = await rebalance(plane);
      await plane.settle();
      t.equal(lacking, 0, `seed ${seed}: never fewer than before`);
      t.same(countsOf(plane), counts, `seed ${seed}: as many as before`);
      for (const { taskId, slot, serviceName, toNode } of moves) {
        const now = plane.running(serviceName).filter(task => task.slot === slot);
        t.same([now.length, now[0]?.nodeId], [1, toNode], `seed ${seed}: it is where the plan said`);
        t.not(now[0]?.id, taskId);
      }
      t.same(brokenRules(plane), [], `seed ${seed}`);
      t.same((await rebalance(plane)).moves, [], `seed ${seed}: nothing is left to do`);
      checkHistory(t, plane);
    }
  },
);

function randomSpec(name: string, below: (most: number) => number): Partial<ServiceSpec> {
  const constraints = below(4) === 0 ? ['node.labels.disk!=ssd'] : [];
  const placement = { constraints, perNodeMax: below(4) === 0 ? 2 : 0, spread: [] };
  const reservations = { cpuNanos: below(3) * 5e8, memoryBytes: below(3) * 2 ** 30, pids: 0 };
  const task = taskSpec({ placement, reservations });
  return { name, ...replicas(1 + below(6)), ...update({ parallelism: below(3) }), task };
}

function countsOf(plane: Plane): ReadonlyMap<string, number> {
  const names = [...plane.store.view().list('service')].map(({ spec }) => spec.name);
  return new Map(names.map(name => [name, plane.running(name).length]));
}

/** Nodes with more than they have or a service lets them have. */
function brokenRules(plane: Plane): readonly string[] {
  const broken: string[] = [];
  for (const node of plane.store.view().list('node')) {
    const here = plane.running().filter(task => task.nodeId === node.id);
    const sum = (what: (task: Task) => number): number => here.reduce((total, task) => total + what(task), 0);
    if (sum(({ spec }) => spec.reservations?.cpuNanos ?? 0) > node.description.cpuNanos)
      broken.push(`cpu of ${node.id}`);
    if (sum(({ spec }) => spec.reservations?.memoryBytes ?? 0) > node.description.memoryBytes)
      broken.push(`memory of ${node.id}`);
    for (const [name, tasks] of Map.groupBy(here, task => task.serviceName)) {
      const { placement } = tasks[0]?.spec ?? serviceSpec().task;
      if (placement.perNodeMax > 0 && tasks.length > placement.perNodeMax) broken.push(`${name} on ${node.id}`);
      if (placement.constraints.length > 0 && node.spec.labels['disk'] === 'ssd') broken.push(`${name} on ${node.id}`);
    }
  }
  return broken;
}
