/** The control plane as a whole: nodes that are lost, come back, drain or go, and specs that change. */
import t from 'tap';
import { isEnded } from '../../src/raft/store.js';
import { taskSpec } from './object-fixtures.js';
import { checkHistory, create, nodes } from './plane-checks.js';
import { callerOf, obedient, openPlane } from './plane-fixtures.js';

t.test('a lost node: its tasks are filled a second time, and kept when nobody could stand in', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  plane.mute.add('c');
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.settle();
  const lost = plane.tasks().filter(task => task.nodeId === 'c');
  t.match(
    lost,
    [{ superseded: true, status: { state: 'running' }, desired: 'running' }],
    'nothing is said about a task that nobody can see',
  );
  t.equal(plane.running().filter(task => task.nodeId !== 'c').length, 3);
  plane.mute.delete('c');
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'ready' } }));
  await plane.settle();
  t.equal(plane.running().length, 3);
  t.match(
    plane.tasks().find(task => task.id === lost[0]?.id),
    { desired: 'running', superseded: false, status: { state: 'running', attempt: 0 } },
    'it runs on as if nothing had been, and its replacement is stopped',
  );
  checkHistory(t, plane);
});

t.test('keep-replacement: the replacement stays, and the task of the node that came back is stopped', async t => {
  await using plane = await openPlane();
  const loss = { reconcile: 'keep-replacement', stopAfterDisconnectMs: 0 } as const;
  await create(plane, { mode: { kind: 'replicated', replicas: 3 }, loss });
  plane.mute.add('c');
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.settle();
  const [lost] = plane.tasks().filter(task => task.nodeId === 'c');
  plane.mute.delete('c');
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'ready' } }));
  await plane.settle();
  t.equal(plane.running().length, 3);
  t.match(
    plane.tasks().find(task => task.id === lost?.id),
    { desired: 'shutdown', status: { state: 'shutdown' } },
  );
  checkHistory(t, plane);
});

t.test('lost-after: each service waits so long with its tasks on a silent node, and no longer', async t => {
  await using plane = await openPlane();
  const loss = (lostAfterMs: number) =>
    ({ lostAfterMs, reconcile: 'keep-original', stopAfterDisconnectMs: 0 }) as const;
  await create(plane, { name: 'quick', mode: { kind: 'replicated', replicas: 3 }, loss: loss(2_000) });
  await create(plane, { name: 'plain', mode: { kind: 'replicated', replicas: 3 } });
  await create(plane, { name: 'slow', mode: { kind: 'replicated', replicas: 3 }, loss: loss(60_000) });
  const moved = (name: string): boolean => plane.tasks(name).some(task => task.superseded);
  plane.mute.add('c');
  const silentSinceMs = plane.clock.wallMs() - 2_000;
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, silentSinceMs } }));
  await plane.settle();
  t.same(['quick', 'plain', 'slow'].map(moved), [true, false, false], 'silent for 2 s');
  t.same(
    plane.running('quick').filter(task => task.superseded).length + plane.running('quick').length,
    5,
    'three, and the one that nobody can see',
  );
  await plane.clock.advance(8_000);
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.settle();
  t.same(['quick', 'plain', 'slow'].map(moved), [true, true, false], 'lost after 10 s');
  await plane.clock.advance(49_000);
  await plane.settle();
  t.notOk(moved('slow'), 'silent for 59 s');
  await plane.clock.advance(2_000);
  await plane.settle();
  t.ok(moved('slow'), 'silent for 61 s');
  plane.mute.delete('c');
  await plane.setNode('c', node => ({ ...node, status: { state: 'ready', sinceMs: 0, message: '' } }));
  await plane.settle();
  for (const name of ['quick', 'plain', 'slow']) {
    t.same(
      plane
        .running(name)
        .map(task => [task.nodeId, task.superseded])
        .sort(),
      plane
        .tasks(name)
        .filter(task => task.desired === 'running')
        .map(task => [task.nodeId, false])
        .sort(),
    );
    t.equal(plane.running(name).length, 3, name);
  }
  checkHistory(t, plane);
});

t.test('a node that comes back before its replacement runs keeps its task', async t => {
  await using plane = await openPlane({ nodes: ['a', 'b'] });
  await create(plane, { task: taskSpec({ placement: { constraints: ['node.name==b'], perNodeMax: 0, spread: [] } }) });
  const [original] = plane.running();
  plane.mute.add('b');
  await plane.setNode('b', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.settle();
  const waiting = plane.tasks().find(task => task.status.state === 'pending');
  t.match(waiting?.status.message, 'no node fits: 2 looked at; 1 does not meet node.name==b, 1 is lost');
  plane.mute.delete('b');
  await plane.setNode('b', node => ({ ...node, status: { ...node.status, state: 'ready' } }));
  await plane.settle();
  t.same(
    plane.running().map(task => [task.id, task.superseded]),
    [[original!.id, false]],
  );
  t.equal(plane.tasks().length, 1, 'the one that was never placed is gone');
  checkHistory(t, plane);
});

t.test('a node that is removed: its tasks are orphaned and replaced', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  plane.mute.add('c');
  await t.rejects(plane.control.removeNode({ node: 'c', force: false }, callerOf()), { code: 'node-not-lost' });
  await plane.control.removeNode({ node: 'c', force: true }, callerOf());
  await plane.settle();
  t.same(
    nodes(plane).map(name => name !== 'c'),
    [true, true, true],
  );
  t.match(
    plane.tasks().filter(task => task.nodeId === 'c'),
    [{ status: { state: 'orphaned' } }],
  );
  checkHistory(t, plane);
});

t.test('a drained node gives its tasks up only when their replacements run', async t => {
  await using plane = await openPlane({ nodes: ['a', 'b'] });
  await create(plane, { mode: { kind: 'replicated', replicas: 4 } });
  let fewest = 4;
  plane.setAgent(task => {
    fewest = Math.min(fewest, plane.running().length);
    return obedient(task);
  });
  await plane.control.updateNode(
    { node: 'b', version: 0, availability: 'drain', labelsAdd: {}, labelsRemove: [] },
    callerOf(),
  );
  await plane.settle();
  t.same(nodes(plane), ['a', 'a', 'a', 'a']);
  t.equal(fewest, 4, 'there were always four');
  checkHistory(t, plane);
});

t.test('a node that does not meet the constraints any more gives the task up, when there is another place', async t => {
  await using plane = await openPlane({ nodes: ['a', 'b'] });
  const label = async (node: string, disk: string): Promise<void> => {
    await plane.control.updateNode({ node, version: 0, labelsAdd: { disk }, labelsRemove: [] }, callerOf());
    await plane.settle();
  };
  await label('a', 'ssd');
  await create(plane, {
    task: taskSpec({ placement: { constraints: ['node.labels.disk==ssd'], perNodeMax: 0, spread: [] } }),
  });
  await label('a', 'tape');
  t.same(nodes(plane), ['a'], 'it goes on meanwhile');
  await label('b', 'ssd');
  t.same(nodes(plane), ['b']);
  checkHistory(t, plane);
});

t.test('a new spec replaces one task after the other, stopped first', async t => {
  await using plane = await openPlane();
  const { id } = await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  const present = plane.store.view().find('service', id)!;
  let fewest = 3;
  let most = 0;
  plane.setAgent(task => {
    fewest = Math.min(fewest, plane.running().length);
    const up = plane.tasks().filter(each => each.status.state === 'running');
    most = Math.max(most, up.length - new Set(up.map(each => each.slot)).size);
    return obedient(task);
  });
  await plane.control.updateService(
    { service: id, version: present.meta.version, spec: { ...present.spec, task: { ...present.spec.task, force: 1 } } },
    callerOf(),
  );
  await plane.settle();
  t.same(
    plane.running().map(task => task.specVersion),
    [2, 2, 2],
  );
  t.equal(fewest, 2, 'one at a time');
  t.equal(most, 0, 'no slot ever ran two');
  checkHistory(t, plane);
});

t.test('a new spec that does not start takes down one task and no more', async t => {
  await using plane = await openPlane();
  const { id } = await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  const present = plane.store.view().find('service', id)!;
  plane.setAgent(task =>
    task.specVersion === 2 && !isEnded(task.status.state) && task.desired === 'running'
      ? { state: 'rejected', error: 'no such image' }
      : obedient(task),
  );
  await plane.control.updateService(
    { service: id, version: present.meta.version, spec: { ...present.spec, task: { ...present.spec.task, force: 1 } } },
    callerOf(),
  );
  await plane.settle();
  for (let second = 0; second < 30; second++) {
    await plane.clock.advance(1_000);
    await plane.settle();
  }
  t.same(
    plane.running().map(task => task.specVersion),
    [1, 1],
  );
  checkHistory(t, plane);
});

t.test('a new spec that fits nowhere takes down none, says why, and goes on when it fits', async t => {
  await using plane = await openPlane({ nodes: ['a'] });
  const { id } = await create(plane, { mode: { kind: 'replicated', replicas: 2 } });
  const present = plane.store.view().find('service', id)!;
  const placement = { constraints: ['node.labels.disk==ssd'], perNodeMax: 0, spread: [] };
  await plane.control.updateService(
    {
      service: id,
      version: present.meta.version,
      spec: { ...present.spec, task: { ...present.spec.task, placement } },
    },
    callerOf(),
  );
  await plane.settle();
  t.same(
    plane.running().map(task => task.specVersion),
    [1, 1],
  );
  t.match(
    plane.running()[0]?.status.message,
    'waits to be replaced: no node fits: 1 looked at; 1 does not meet node.labels.disk==ssd',
  );
  await plane.control.updateNode({ node: 'a', version: 0, labelsAdd: { disk: 'ssd' }, labelsRemove: [] }, callerOf());
  await plane.settle();
  t.same(
    plane.running().map(task => task.specVersion),
    [2, 2],
  );
  checkHistory(t, plane);
});

t.test('a replica that waits for the place of an old one does not hold the update up', async t => {
  await using plane = await openPlane({ nodes: ['a', 'b'] });
  const { id } = await create(plane, {
    mode: { kind: 'replicated', replicas: 3 },
    task: taskSpec({ placement: { constraints: [], perNodeMax: 1, spread: [] } }),
  });
  t.equal(plane.running().length, 2);
  const present = plane.store.view().find('service', id)!;
  await plane.control.updateService(
    { service: id, version: present.meta.version, spec: { ...present.spec, task: { ...present.spec.task, force: 1 } } },
    callerOf(),
  );
  await plane.settle();
  t.same(
    plane.running().map(task => task.specVersion),
    [2, 2],
  );
  checkHistory(t, plane);
});

t.test(
  'a drain that has no place for its tasks leaves them until its deadline, and --force ends them at once',
  async t => {
    await using plane = await openPlane({ nodes: ['a', 'b'] });
    const task = taskSpec({ placement: { constraints: ['node.name==b'], perNodeMax: 0, spread: [] } });
    const drain = (drainWithinMs?: number) =>
      plane.control.updateNode(
        { node: 'b', version: 0, availability: 'drain', labelsAdd: {}, labelsRemove: [], drainWithinMs },
        callerOf(),
      );
    await create(plane, { mode: { kind: 'replicated', replicas: 2 }, task });
    await drain();
    await plane.clock.advance(3_600_000);
    await plane.settle();
    t.equal(plane.running().length, 2, 'without a deadline');
    await drain(60_000);
    await plane.settle();
    await plane.clock.advance(59_000);
    await plane.settle();
    t.equal(plane.running().length, 2, 'before it');
    await plane.clock.advance(2_000);
    await plane.settle();
    t.equal(plane.running().length, 0, 'after it');
    await plane.control.updateNode(
      { node: 'b', version: 0, availability: 'active', labelsAdd: {}, labelsRemove: [] },
      callerOf(),
    );
    await plane.settle();
    t.equal(plane.running().length, 2, 'active again');
    await drain(0);
    await plane.settle();
    t.equal(plane.running().length, 0, 'forced');
    checkHistory(t, plane);
  },
);

t.test('a global service runs once on every node, and on new ones', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'global' } });
  t.same(nodes(plane), ['a', 'b', 'c']);
  await plane.addNode('d');
  await plane.settle();
  t.same(nodes(plane), ['a', 'b', 'c', 'd']);
  await plane.setNode('a', node => ({ ...node, spec: { ...node.spec, availability: 'drain' } }));
  await plane.settle();
  t.same(nodes(plane), ['b', 'c', 'd']);
  await plane.setNode('a', node => ({ ...node, spec: { ...node.spec, availability: 'active' } }));
  await plane.settle();
  t.same(nodes(plane), ['a', 'b', 'c', 'd']);
  plane.mute.add('b');
  await plane.setNode('b', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.settle();
  t.equal(plane.tasks().filter(task => task.nodeId === 'b').length, 1, 'a lost node keeps its task');
  checkHistory(t, plane);
});

t.test('global tasks leave a node that drains last, with the deadline at the latest', async t => {
  await using plane = await openPlane({ nodes: ['a', 'b'] });
  const drain = async (node: string, drainWithinMs?: number): Promise<void> => {
    await plane.control.updateNode(
      { node, version: 0, availability: 'drain', labelsAdd: {}, labelsRemove: [], drainWithinMs },
      callerOf(),
    );
    await plane.settle();
  };
  await create(plane, { name: 'agent', mode: { kind: 'global' } });
  const task = taskSpec({ placement: { constraints: ['node.name==b'], perNodeMax: 0, spread: [] } });
  await create(plane, { name: 'web', mode: { kind: 'replicated', replicas: 2 } });
  await create(plane, { name: 'bound', task });
  await drain('a');
  t.same([nodes(plane, 'agent'), nodes(plane, 'web')], [['b'], ['b', 'b']], 'all of a went elsewhere, then its agent');
  await drain('b');
  t.same([nodes(plane, 'agent'), nodes(plane, 'bound')], [['b'], ['b']], 'one is left that has no other place');
  t.match(plane.running('agent')[0]?.status.message, 'stops last: 3 tasks of other services still here');
  await plane.setNode('b', node => ({ ...node, spec: { ...node.spec, availability: 'active' } }));
  await plane.settle();
  t.equal(plane.running('agent')[0]?.status.message, '', 'called off');
  await drain('b', 60_000);
  await plane.clock.advance(61_000);
  await plane.settle();
  t.same(plane.running(), [], 'the deadline ends it');
  checkHistory(t, plane);
});

t.test('a lost node never holds up the removal of a service', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  plane.mute.add('c');
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.control.removeService({ object: 'web' }, callerOf());
  await plane.settle();
  t.equal(plane.tasks().length, 0);
  t.equal(plane.store.view().count('service'), 0);
  checkHistory(t, plane);
});
