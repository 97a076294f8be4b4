/** Attempts that a node opened while it heard no manager, as the managers take them when it is back. */
import t from 'tap';
import { checkHistory, create } from './plane-checks.js';
import { obedient, openPlane } from './plane-fixtures.js';

t.test('a task that its node started again by itself is the task that it was: nothing is replaced', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  const before = plane.tasks().map(({ id }) => id);
  const [away] = plane.tasks().filter(({ nodeId }) => nodeId === 'c');
  plane.mute.add('c');
  await plane.report(away?.id ?? '', { attempt: 2, state: 'running' });
  plane.mute.delete('c');
  await plane.settle();
  t.same(
    plane.tasks().map(({ id }) => id),
    before,
  );
  t.match(
    plane.tasks().find(({ id }) => id === away?.id),
    { status: { attempt: 2, state: 'running' }, desired: 'running' },
  );
  checkHistory(t, plane);
});

t.test('one that the managers have replaced meanwhile leaves one task in the slot', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  const [away] = plane.tasks().filter(({ nodeId }) => nodeId === 'c');
  // Its end was told, and the session was lost before the managers had another one run in its place.
  await plane.report(away?.id ?? '', { state: 'failed', errorCode: 'container-exit' });
  await plane.clock.advance(5_000);
  await plane.settle();
  t.equal(plane.running().length, 3);
  await plane.report(away?.id ?? '', { attempt: 1, state: 'running', errorCode: '' });
  await plane.settle();
  t.equal(plane.running().length, 3, 'one task for each place');
  t.equal(new Set(plane.running().map(({ slot }) => slot)).size, 3);
  checkHistory(t, plane);
});

t.test('an attempt on a node that was lost: the original stays, its replacement is stopped', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  const [away] = plane.tasks().filter(({ nodeId }) => nodeId === 'c');
  plane.mute.add('c');
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  await plane.settle();
  plane.mute.delete('c');
  plane.setAgent(obedient);
  await plane.report(away?.id ?? '', { attempt: 1, state: 'running' });
  await plane.setNode('c', node => ({ ...node, status: { ...node.status, state: 'ready' } }));
  await plane.settle();
  t.match(
    plane.tasks().find(({ id }) => id === away?.id),
    { desired: 'running', superseded: false, status: { attempt: 1 } },
  );
  t.equal(plane.running().length, 3);
  checkHistory(t, plane);
});
