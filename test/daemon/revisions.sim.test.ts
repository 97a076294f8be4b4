/** Revisions: what makes one, what is kept, and where a rollback leads. */
import t from 'tap';
import { create } from './plane-checks.js';
import { callerOf, obedient, openPlane, type Plane } from './plane-fixtures.js';
import { changeWeb, failing, image, images, pass, rolloutOf, updateConfig, webOf } from './update-fixtures.js';

const replicated = (replicas: number) => ({ kind: 'replicated', replicas }) as const;
const list = async (plane: Plane) => (await plane.control.listRevisions({ object: 'web' }, callerOf())).revisions;
const rollBack = async (plane: Plane, to = 0): Promise<void> => {
  await plane.control.rollbackService({ service: 'web', to }, callerOf());
  await plane.settle();
};

t.test(
  'every change but that of the number of replicas makes a revision, with its author and what it changed',
  async t => {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(2), update: updateConfig() });
    t.match(await list(plane), [{ number: 1, changes: [], meta: { owner: 'uid:0' } }]);
    await changeWeb(plane, spec => ({ ...spec, mode: replicated(3) }));
    await plane.clock.advance(60_000);
    await changeWeb(plane, image('hello:2'));
    await changeWeb(plane, spec => ({ ...spec, labels: { tier: 'front' } }));
    const [third, second, first] = await list(plane);
    t.match(third, { number: 3, changes: ['labels changed'], specVersion: 2 });
    t.match(second, { number: 2, changes: ['image hello:1 -> hello:2'], stable: true, meta: { owner: 'uid:0' } });
    t.match(first, { number: 1, stable: true });
    t.equal((second?.meta.createdAtMs ?? 0) - (first?.meta.createdAtMs ?? 0), 60_000);
    t.match(webOf(plane), { revision: 3, specVersion: 2 }, 'labels replace no task');
  },
);

t.test('the present revision and ten earlier ones are kept, and the last stable one however old', async t => {
  await using plane = await openPlane();
  await create(plane, { update: updateConfig() });
  plane.setAgent(task =>
    task.specVersion > 2 && task.desired === 'running' ? failing(task.spec.containers[0]!.image)(task) : obedient(task),
  );
  for (let at = 2; at < 16; at += 1) await changeWeb(plane, image(`hello:${at}`));
  t.same(
    (await list(plane)).map(({ number }) => number),
    [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 2],
  );
  plane.setAgent(obedient);
  await rollBack(plane);
  t.same(images(plane), ['hello:2'], 'the last that ran');
  await plane.control.removeService({ object: 'web' }, callerOf());
  await plane.settle();
  t.equal(plane.store.view().count('revision'), 0, 'they go with the service');
});

t.test('a rollback leads past specs that never ran', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig() });
  plane.setAgent(task =>
    task.specVersion === 2 || task.specVersion === 3 ? failing(task.spec.containers[0]!.image)(task) : obedient(task),
  );
  await changeWeb(plane, image('hello:2'));
  t.match(rolloutOf(plane), { state: 'paused' });
  await changeWeb(plane, spec => ({ ...image('hello:3')(spec), update: updateConfig({ failureAction: 'rollback' }) }));
  await pass(plane, 5_000);
  t.match(rolloutOf(plane), { state: 'rolled-back' });
  t.same(images(plane), Array(3).fill('hello:1'));
});

t.test('a rollback leaves the number of replicas, and replaces nothing that is as it should be', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(2), update: updateConfig() });
  await changeWeb(plane, image('hello:2'));
  await changeWeb(plane, image('hello:3'));
  await changeWeb(plane, spec => ({ ...spec, mode: replicated(4) }));
  await rollBack(plane, 1);
  t.same(images(plane), Array(4).fill('hello:1'));
  t.match((await list(plane))[0], { number: 4, changes: ['back to revision 1'] });
  const before = plane.running('web').map(task => task.id);
  await rollBack(plane);
  t.same(images(plane), Array(4).fill('hello:3'), 'and the other way round');
  await rollBack(plane, 4);
  t.equal(plane.running('web').filter(task => before.includes(task.id)).length, 0, 'those were stopped meanwhile');
});

t.test('a forced replacement takes no earlier task for granted', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(2), update: updateConfig({ delayMs: 60_000 }) });
  const force = (plane: Plane) =>
    changeWeb(plane, spec => ({ ...spec, task: { ...spec.task, force: spec.task.force + 1 } }));
  await force(plane);
  await rollBack(plane);
  await force(plane);
  t.match(rolloutOf(plane), { sameVersions: [], total: 2 });
});

t.test('what there is no way back to is refused, with what there is', async t => {
  await using plane = await openPlane();
  await create(plane, { update: updateConfig() });
  await t.rejects(plane.control.rollbackService({ service: 'web', to: 0 }, callerOf()), {
    code: 'no-revision',
    state: 'there is one revision only',
  });
  await changeWeb(plane, image('hello:2'));
  for (const to of [2, 7]) {
    await t.rejects(plane.control.rollbackService({ service: 'web', to }, callerOf()), {
      code: 'no-revision',
      state: 'kept are 1, 2; present is 2',
    });
  }
});
