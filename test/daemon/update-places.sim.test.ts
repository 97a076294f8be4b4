/** Updates and places: spread over nodes, global services, nodes that are lost or paused, and too little room. */
import t from 'tap';
import { taskSpec } from './object-fixtures.js';
import { checkHistory, create, nodes } from './plane-checks.js';
import { openPlane } from './plane-fixtures.js';
import { changeWeb, image, images, pass, rolloutOf, updateConfig, watchRunning } from './update-fixtures.js';

const replicated = (replicas: number) => ({ kind: 'replicated', replicas }) as const;

t.test('replicas stay spread over the nodes, however often they are replaced', async t => {
  for (const order of ['stop-first', 'start-first'] as const) {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(3), update: updateConfig({ order }) });
    for (let version = 2; version < 8; version += 1) {
      await changeWeb(plane, image(`hello:${version}`));
      t.same(nodes(plane), ['a', 'b', 'c'], `${order}, version ${version}`);
    }
  }
});

t.test('a global service goes from node to node; a lost node follows when it is back', async t => {
  for (const [order, fewest, most] of [
    ['stop-first', 3, 4],
    ['start-first', 4, 5],
  ] as const) {
    await using plane = await openPlane({ nodes: ['a', 'b', 'c', 'd'] });
    await create(plane, { mode: { kind: 'global' }, update: updateConfig({ order }) });
    plane.mute.add('d');
    await plane.setNode('d', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
    const seen = watchRunning(plane);
    await changeWeb(plane, image('hello:2'));
    t.match(rolloutOf(plane), { state: 'completed', total: 3 });
    t.same(seen, { fewest, most });
    plane.mute.delete('d');
    await plane.setNode('d', node => ({ ...node, status: { ...node.status, state: 'ready' } }));
    await plane.settle();
    t.same(images(plane), Array(4).fill('hello:2'));
    t.same(nodes(plane), ['a', 'b', 'c', 'd']);
    checkHistory(t, plane);
  }
});

t.test('a paused node holds no global update up', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'global' }, update: updateConfig() });
  await plane.setNode('b', node => ({ ...node, spec: { ...node.spec, availability: 'pause' } }));
  await changeWeb(plane, image('hello:2'));
  t.match(rolloutOf(plane), { state: 'completed' });
  t.same(images(plane), ['hello:1', 'hello:2', 'hello:2']);
});

t.test(
  'where there is no room for both, the old task goes first, and started first it waits until the deadline',
  async t => {
    const tight = { cpuNanos: 0, memoryBytes: 5 * 2 ** 30, pids: 0 };
    for (const [order, state] of [
      ['stop-first', 'completed'],
      ['start-first', 'paused'],
    ] as const) {
      await using plane = await openPlane();
      await create(plane, {
        mode: replicated(3),
        update: updateConfig({ order, deadlineMs: 20_000 }),
        task: taskSpec({ reservations: tight }),
      });
      await changeWeb(plane, image('hello:2'));
      await pass(plane, 40_000, 5_000);
      t.match(rolloutOf(plane), { state });
      t.equal(plane.running('web').length, 3);
    }
  },
);
