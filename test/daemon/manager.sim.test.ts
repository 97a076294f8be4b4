/** The control plane as a whole on a clock that stands still: what people ask for comes true, and stays true. */
import t from 'tap';
import { isEnded } from '../../src/raft/store.js';
import { serviceSpec, taskSpec } from './object-fixtures.js';
import { checkHistory, create, nodes, slots } from './plane-checks.js';
import { callerOf, openPlane } from './plane-fixtures.js';

t.test('a new service is placed by one write of the log, and runs', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const before = plane.log.entries.length;
  await plane.control.createService({ spec: serviceSpec() }, callerOf());
  plane.mute.add('a').add('b').add('c');
  await plane.settle();
  t.equal(plane.log.entries.length - before, 2, 'the request, and one pass of the loop');
  t.match(plane.tasks(), [{ status: { state: 'assigned' }, endpoints: [{ addresses: [/^10\.208\./] }] }]);
  plane.mute.clear();
  await plane.settle();
  t.equal(plane.running().length, 1);
  checkHistory(t, plane);
});

t.test('replicas spread over the nodes', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 6 } });
  t.same(nodes(plane), ['a', 'a', 'b', 'b', 'c', 'c']);
  checkHistory(t, plane);
});

t.test('a hundred replicas take few transactions', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const before = plane.log.entries.length;
  plane.mute.add('a').add('b').add('c');
  await create(plane, { mode: { kind: 'replicated', replicas: 100 } });
  t.equal(plane.log.entries.length - before, 3, 'the request, and two passes');
  const addresses = plane.tasks().flatMap(task => task.endpoints.flatMap(endpoint => endpoint.addresses));
  t.equal(new Set(addresses).size, 100, 'every address has one owner');
  checkHistory(t, plane);
});

t.test('scaling to more than one transaction holds goes in pieces', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 450 } });
  t.equal(plane.running().length, 450);
  t.same(
    slots(plane),
    Array.from({ length: 450 }, (_, at) => at + 1),
  );
  checkHistory(t, plane);
});

t.test('scaling down takes from the most crowded node, and scaling up fills the lowest free slots', async t => {
  await using plane = await openPlane();
  const { id } = await create(plane, { mode: { kind: 'replicated', replicas: 5 } });
  const scale = async (replicas: number): Promise<void> => {
    const present = plane.store.view().find('service', id);
    await plane.control.updateService(
      {
        service: id,
        version: present?.meta.version ?? 0,
        spec: { ...present!.spec, mode: { kind: 'replicated', replicas } },
      },
      callerOf(),
    );
    await plane.settle();
  };
  await scale(3);
  t.same(nodes(plane), ['a', 'b', 'c']);
  t.equal(plane.tasks().length, 3, 'nothing is left of the others');
  const left = slots(plane);
  await scale(4);
  t.same(slots(plane), [...left, [1, 2, 3, 4, 5].find(slot => !left.includes(slot))].sort());
  await scale(0);
  t.equal(plane.tasks().length, 0);
  checkHistory(t, plane);
});

t.test('a task that fails is replaced in its slot after a delay that doubles', async t => {
  await using plane = await openPlane();
  await create(plane);
  const waits: number[] = [];
  for (let failure = 0; failure < 4; failure++) {
    const [present] = plane.running();
    await plane.report(present!.id, { state: 'failed', exitCode: 1 });
    await plane.settle();
    const next = plane.tasks().find(task => task.desired === 'ready');
    waits.push(next!.startAfterMs - plane.clock.wallMs());
    t.equal(next?.status.state, 'ready', 'it is prepared meanwhile');
    await plane.clock.advance(waits.at(-1) ?? 0);
    await plane.settle();
    t.equal(plane.running().length, 1);
  }
  t.same(waits, [1_000, 2_000, 4_000, 8_000]);
  await plane.clock.advance(100_000);
  await plane.report(plane.running()[0]!.id, { state: 'failed' });
  await plane.settle();
  t.equal(
    plane.tasks().find(task => task.desired === 'ready')!.startAfterMs - plane.clock.wallMs(),
    1_000,
    'it had proved itself',
  );
  checkHistory(t, plane);
});

t.test('a task that is refused on every node is tried ever more rarely', async t => {
  await using plane = await openPlane();
  let tries = 0;
  plane.setAgent(task => {
    if (isEnded(task.status.state)) return undefined;
    tries += 1;
    return { state: 'rejected', error: 'no such image' };
  });
  await create(plane);
  const seen: number[] = [];
  for (let second = 0; second < 64; second++) {
    seen.push(tries);
    await plane.clock.advance(1_000);
    await plane.settle();
  }
  t.same([seen[0], seen[1], seen[3], seen[7], seen[15], seen[31], seen[63]], [1, 2, 3, 4, 5, 6, 7]);
  checkHistory(t, plane);
});

t.test('an election neither forgets nor repeats: delay, attempts and tasks stay what they were', async t => {
  await using plane = await openPlane();
  await create(plane, {
    task: taskSpec({ restart: { condition: 'any', attemptsMax: 2, windowMs: 0, delayMs: 5_000 } }),
  });
  await plane.report(plane.running()[0]!.id, { state: 'failed' });
  await plane.settle();
  const before = plane.tasks().length;
  await plane.reelect();
  await plane.settle();
  t.equal(plane.tasks().length, before, 'no second replacement');
  await plane.clock.advance(5_000);
  await plane.settle();
  t.equal(plane.running().length, 1, 'the new leader keeps the time');
  for (let failure = 0; failure < 2; failure++) {
    for (const task of plane.running()) await plane.report(task.id, { state: 'failed' });
    await plane.settle();
    await plane.reelect();
    await plane.clock.advance(60_000);
    await plane.settle();
  }
  t.equal(plane.running().length, 0, 'two attempts were allowed');
  checkHistory(t, plane);
});

t.test('history is kept up to its limit, for each slot', async t => {
  await using plane = await openPlane();
  await create(plane);
  for (let failure = 0; failure < 9; failure++) {
    await plane.report(plane.running()[0]!.id, { state: 'failed' });
    await plane.settle();
    await plane.clock.advance(60_000);
    await plane.settle();
  }
  t.equal(plane.tasks().filter(task => isEnded(task.status.state)).length, 5);
  checkHistory(t, plane);
});

t.test('removal stops the tasks first, then the service goes, and its addresses come back', async t => {
  await using plane = await openPlane();
  const { id } = await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  plane.mute.add('a').add('b').add('c');
  await plane.control.removeService({ object: 'web' }, callerOf());
  await plane.settle();
  t.match(plane.store.view().find('service', id), { removing: true });
  t.same(
    plane.tasks().map(task => task.desired),
    ['remove', 'remove', 'remove'],
  );
  plane.mute.clear();
  await plane.settle();
  t.equal(plane.store.view().find('service', id), undefined);
  t.equal(plane.tasks().length, 0);
  const [network] = [...plane.store.view().list('network')].filter(each => each.spec.name === 'default');
  t.equal(network?.ledger?.freed.length, 4, 'three tasks and the virtual address');
  checkHistory(t, plane);
});

t.test('an address is not given again for ten seconds, and its lack is the reason that people see', async t => {
  await using plane = await openPlane();
  await plane.control.createNetwork(
    {
      spec: {
        name: 'tiny',
        labels: {},
        stack: '',
        driver: 'overlay',
        subnets: ['10.9.0.0/29'],
        internal: false,
        attachable: false,
      },
    },
    callerOf(),
  );
  const task = taskSpec({
    networks: [{ network: 'tiny', aliases: [] }],
    restart: { condition: 'none', attemptsMax: 0, windowMs: 0 },
  });
  await create(plane, { task, mode: { kind: 'replicated', replicas: 5 } });
  t.equal(plane.running().length, 4, 'five addresses, one of them is the virtual one');
  t.match(plane.tasks().find(each => each.status.state === 'new')?.status, {
    errorCode: 'subnet-exhausted',
    message: 'no free address on network "tiny": 10.9.0.0/29: 5 of 5 in use',
  });
  const [first] = plane.running();
  await plane.report(first!.id, { state: 'complete' });
  await plane.settle();
  t.match(
    plane.tasks().find(each => each.status.state === 'new')?.status.message,
    '4 of 5 in use, 1 free again within 10 s',
  );
  await plane.clock.advance(9_999);
  await plane.settle();
  t.equal(plane.running().length, 3);
  await plane.clock.advance(1);
  await plane.settle();
  t.equal(plane.running().length, 4);
  checkHistory(t, plane);
});

t.test('what waits for resources is placed as soon as they are there', async t => {
  await using plane = await openPlane({ nodes: ['a'] });
  const big = taskSpec({ reservations: { cpuNanos: 0, memoryBytes: 6 * 2 ** 30, pids: 0 } });
  await create(plane, { name: 'one', task: big });
  await create(plane, { name: 'two', task: big });
  t.match(plane.tasks('two')[0]?.status, {
    state: 'pending',
    errorCode: 'no-node-fits',
    message: 'no node fits: 1 looked at; 1 has too little memory (wants 6.0 GiB, most free is 2.0 GiB on a)',
  });
  await plane.control.removeService({ object: 'one' }, callerOf());
  await plane.settle();
  t.equal(plane.running('two').length, 1);
  checkHistory(t, plane);
});

t.test('ending a manager ends its loops: nothing is written afterwards', async t => {
  const plane = await openPlane();
  await create(plane);
  await plane.report(plane.running()[0]!.id, { state: 'failed' });
  await plane.settle();
  t.equal(plane.clock.pending(), 1, 'it waits for the delay of a restart');
  await plane[Symbol.asyncDispose]();
  t.equal(plane.clock.pending(), 0, 'no timer is left');
});
