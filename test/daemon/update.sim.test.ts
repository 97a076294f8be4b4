/** Updates as a whole: every field of the config, failures, rollbacks, pauses, and what people do meanwhile. */
import t from 'tap';
import { isEnded } from '../../src/raft/store.js';
import { checkHistory, create } from './plane-checks.js';
import { callerOf, obedient, openPlane } from './plane-fixtures.js';
import {
  changeWeb,
  failing,
  image,
  images,
  pass,
  rolloutOf,
  updateConfig,
  watchRunning,
  webOf,
} from './update-fixtures.js';

const replicated = (replicas: number) => ({ kind: 'replicated', replicas }) as const;

t.test('so many at a time: stopped first none is too many, started first none is missing', async t => {
  for (const [order, parallelism, fewest, most] of [
    ['stop-first', 1, 5, 6],
    ['stop-first', 2, 4, 6],
    ['start-first', 1, 6, 7],
    ['start-first', 3, 6, 9],
    ['stop-first', 0, 0, 6],
  ] as const) {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(6), update: updateConfig({ order, parallelism }) });
    const seen = watchRunning(plane);
    await changeWeb(plane, image('hello:2'));
    t.same(images(plane), Array(6).fill('hello:2'), order);
    t.match(rolloutOf(plane), { state: 'completed', total: 6, done: 6, message: '6 of 6 replaced' });
    t.same(seen, { fewest, most }, `${order}, ${parallelism} at a time`);
    checkHistory(t, plane);
  }
});

t.test('started first, an old task that takes its time to stop holds the next slot up', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(4), update: updateConfig({ order: 'start-first' }) });
  plane.setAgent(task => (task.desired === 'shutdown' ? undefined : obedient(task)));
  await changeWeb(plane, image('hello:2'));
  t.equal(plane.tasks('web').filter(task => task.status.state === 'running').length, 5);
  plane.setAgent(obedient);
  await plane.settle();
  t.match(rolloutOf(plane), { state: 'completed' });
});

t.test(
  'a task that runs is not enough: the next slot, and the end of the old task, wait until it is ready',
  async t => {
    for (const [order, left] of [
      ['stop-first', 2],
      ['start-first', 3],
    ] as const) {
      await using plane = await openPlane();
      await create(plane, { mode: replicated(3), update: updateConfig({ order, monitorMs: 5_000 }) });
      plane.setAgent(task => {
        const next = obedient(task);
        return next?.state === 'running' ? { ...next, ready: 'waiting' } : next;
      });
      await changeWeb(plane, image('hello:2'));
      await pass(plane, 20_000, 5_000);
      t.equal(images(plane).filter(each => each === 'hello:1').length, left, order);
      t.match(rolloutOf(plane), { state: 'updating', done: 0 });
      plane.setAgent(task => (task.status.ready === 'waiting' ? { ready: 'ready' } : obedient(task)));
      await plane.settle();
      t.same(images(plane), Array(3).fill('hello:2'), 'without a hint but the readiness');
      t.match(rolloutOf(plane), { state: 'updating', done: 3 }, 'the monitor time begins with the readiness');
      await pass(plane, 6_000);
      t.match(rolloutOf(plane), { state: 'completed' });
      checkHistory(t, plane);
    }
  },
);

t.test('the delay passes between one task and the next', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig({ delayMs: 10_000 }) });
  await changeWeb(plane, image('hello:2'));
  const counts = [images(plane).filter(each => each === 'hello:2').length];
  for (let step = 0; step < 4; step += 1) {
    await pass(plane, 5_000, 5_000);
    counts.push(images(plane).filter(each => each === 'hello:2').length);
  }
  t.same(counts, [1, 1, 2, 2, 3]);
  t.match(rolloutOf(plane), { state: 'completed' });
});

t.test('a clock that is set back makes no wait longer than it is', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig({ delayMs: 10_000, monitorMs: 5_000 }) });
  await changeWeb(plane, image('hello:2'));
  plane.clock.jump(-86_400_000);
  await plane.reelect();
  await pass(plane, 60_000, 5_000);
  t.same(images(plane), Array(3).fill('hello:2'));
  t.match(rolloutOf(plane), { state: 'completed' });
});

t.test('the monitor time passes after the last task, and a failure within it counts', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(2), update: updateConfig({ monitorMs: 5_000 }) });
  await changeWeb(plane, image('hello:2'));
  t.same(images(plane), ['hello:2', 'hello:2']);
  t.match(rolloutOf(plane), { state: 'updating', done: 2 });
  await pass(plane, 4_000);
  await plane.report(plane.running('web')[1]!.id, { state: 'failed', error: 'exit code 3' });
  await plane.settle();
  t.match(rolloutOf(plane), {
    state: 'paused',
    message: /1 failed, the last in slot \d: exit code 3; 1 of 2 replaced/,
  });
  await changeWeb(plane, image('hello:3'));
  await pass(plane, 6_000);
  t.match(rolloutOf(plane), { state: 'completed' });
});

t.test('a failure after the monitor time is none of the update', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(2), update: updateConfig({ monitorMs: 5_000, delayMs: 20_000 }) });
  await changeWeb(plane, image('hello:2'));
  await pass(plane, 6_000);
  const fresh = plane.running('web').find(task => task.specVersion === 2);
  await plane.report(fresh!.id, { state: 'failed' });
  await plane.settle();
  t.match(rolloutOf(plane), { state: 'updating', failed: [] });
  await pass(plane, 60_000, 5_000);
  t.match(rolloutOf(plane), { state: 'completed' });
});

t.test('a spec that can not be prepared takes down none, one that fails when it runs takes down one', async t => {
  for (const [order, state, left] of [
    ['stop-first', 'rejected', 3],
    ['stop-first', 'failed', 2],
    ['start-first', 'failed', 3],
  ] as const) {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(3), update: updateConfig({ order }) });
    plane.setAgent(task => {
      if (task.specVersion !== 2 || isEnded(task.status.state)) return obedient(task);
      return state === 'rejected' || task.desired === 'running' ? { state, error: 'bad' } : obedient(task);
    });
    await changeWeb(plane, image('hello:2'));
    await pass(plane, 30_000);
    t.equal(images(plane).filter(each => each === 'hello:1').length, left, `${order}, ${state}`);
    t.match(rolloutOf(plane), { state: 'paused', failed: [/./] });
    checkHistory(t, plane);
  }
});

t.test('too many failures roll back by themselves, and only what was replaced is replaced again', async t => {
  for (const order of ['stop-first', 'start-first'] as const) {
    await using plane = await openPlane();
    await create(plane, {
      mode: replicated(6),
      update: updateConfig({ order, failureAction: 'rollback', maxFailureRatio: 0.2 }),
      rollback: updateConfig({ order }),
    });
    const first = new Set(plane.running('web').map(task => task.id));
    const seen = watchRunning(plane);
    plane.setAgent(failing('hello:2', task => task.slot % 2 === 0));
    await changeWeb(plane, image('hello:2'));
    await pass(plane, 10_000);
    t.same(images(plane), Array(6).fill('hello:1'));
    t.match(rolloutOf(plane), { state: 'rolled-back', because: /back to revision 1: 2 failed, the last in slot 4/ });
    // Slots 1 to 4 were touched; started first, the failed ones never went.
    t.equal(plane.running('web').filter(task => first.has(task.id)).length, order === 'start-first' ? 4 : 2);
    t.ok(seen.fewest >= (order === 'start-first' ? 6 : 4), `${seen.fewest} ran at any time`);
    checkHistory(t, plane);
  }
});

t.test('the ratio is that of failures to all that were to be replaced, and has to be exceeded', async t => {
  for (const [ratio, bad, state] of [
    [0, 1, 'paused'],
    [0.25, 1, 'completed'],
    [0.25, 2, 'paused'],
    [1, 4, 'completed'],
  ] as const) {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(4), update: updateConfig({ maxFailureRatio: ratio }) });
    plane.setAgent(failing('hello:2', task => task.slot <= bad));
    await changeWeb(plane, image('hello:2'));
    await pass(plane, 20_000);
    t.match(rolloutOf(plane), { state }, `${bad} of 4 fail, ${ratio} may`);
  }
});

t.test('continue goes on whatever fails, and says how many did', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(4), update: updateConfig({ failureAction: 'continue' }) });
  plane.setAgent(failing('hello:2', task => task.slot < 3));
  await changeWeb(plane, image('hello:2'));
  await pass(plane, 10_000);
  t.match(rolloutOf(plane), { state: 'completed', message: '2 of 4 replaced, 2 failed' });
  plane.setAgent(obedient);
  await pass(plane, 60_000);
  t.same(images(plane), Array(4).fill('hello:2'), 'they are started again by their policy');
});

t.test('a rollback that fails pauses, and is not rolled back', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig({ failureAction: 'rollback' }) });
  plane.setAgent(task =>
    isEnded(task.status.state) || task.desired !== 'running' ? obedient(task) : { state: 'failed' },
  );
  await changeWeb(plane, image('hello:2'));
  await pass(plane, 30_000);
  t.match(rolloutOf(plane), { state: 'rollback-paused' });
  t.match(webOf(plane), { revision: 3 });
});

t.test('an update in which nothing goes on ends by its deadline, with the reason', async t => {
  for (const [failureAction, state] of [
    ['pause', 'paused'],
    ['continue', 'paused'],
    ['rollback', 'rolled-back'],
  ] as const) {
    await using plane = await openPlane({ nodes: ['a'] });
    await create(plane, { mode: replicated(2), update: updateConfig({ failureAction, deadlineMs: 60_000 }) });
    await changeWeb(plane, spec => ({
      ...spec,
      task: { ...spec.task, placement: { constraints: ['node.labels.disk==ssd'], perNodeMax: 0, spread: [] } },
    }));
    await pass(plane, 60_000, 10_000);
    t.match(rolloutOf(plane), { state: 'updating' });
    await pass(plane, 20_000, 10_000);
    t.match(rolloutOf(plane), { state }, failureAction);
    t.equal(plane.running('web').length, 2, 'nothing was taken down');
  }
});

t.test('a task that never gets to run is counted as failed by the deadline', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig({ failureAction: 'rollback', deadlineMs: 30_000 }) });
  plane.setAgent(task =>
    task.specVersion === 2 && !isEnded(task.status.state) && task.desired !== 'shutdown' ? undefined : obedient(task),
  );
  await changeWeb(plane, image('hello:2'));
  await pass(plane, 45_000);
  t.match(rolloutOf(plane), { state: 'rolled-back', because: /1 did not run within 30 s: slot 1/ });
  t.same(images(plane), Array(3).fill('hello:1'));
});

t.test('a second update takes over, and no task of the first is left', async t => {
  for (const order of ['stop-first', 'start-first'] as const) {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(6), update: updateConfig({ order, delayMs: 5_000 }) });
    await changeWeb(plane, image('hello:2'));
    await pass(plane, 5_000);
    t.equal(images(plane).filter(each => each === 'hello:2').length, 2);
    const seen = watchRunning(plane);
    await changeWeb(plane, image('hello:3'));
    await pass(plane, 60_000, 5_000);
    t.same(images(plane), Array(6).fill('hello:3'));
    t.match(rolloutOf(plane), { state: 'completed', specVersion: 3, total: 6 });
    t.ok(seen.fewest >= 5 && seen.most <= 7);
    checkHistory(t, plane);
  }
});

t.test('a rollback during an update leaves alone what was not replaced yet', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(4), update: updateConfig({ delayMs: 5_000 }) });
  const first = new Set(plane.running('web').map(task => task.id));
  await changeWeb(plane, image('hello:2'));
  await plane.control.rollbackService({ service: 'web', to: 0 }, callerOf());
  await plane.settle();
  await pass(plane, 6_000);
  t.same(images(plane), Array(4).fill('hello:1'));
  t.match(rolloutOf(plane), { state: 'rolled-back', total: 1, because: '' });
  t.equal(plane.running('web').filter(task => first.has(task.id)).length, 3);
});

t.test('an election neither forgets nor repeats an update', async t => {
  await using plane = await openPlane();
  await create(plane, {
    mode: replicated(4),
    update: updateConfig({ delayMs: 10_000, maxFailureRatio: 0.25, failureAction: 'rollback' }),
  });
  plane.setAgent(failing('hello:2', task => task.slot === 1 || task.slot === 3));
  await changeWeb(plane, image('hello:2'));
  for (let round = 0; round < 12; round += 1) {
    await plane.reelect();
    await pass(plane, 5_000, 5_000);
  }
  t.match(rolloutOf(plane), { state: 'rolled-back', because: /2 failed/ });
  t.same(images(plane), Array(4).fill('hello:1'));
  checkHistory(t, plane);
});

t.test('paused by a person: nothing more is replaced, scaling works, and it goes on when told', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig({ delayMs: 5_000 }) });
  await t.rejects(plane.control.holdUpdate({ service: 'web', paused: true }, callerOf()), { code: 'no-update' });
  await changeWeb(plane, image('hello:2'));
  await plane.control.holdUpdate({ service: 'web', paused: true }, callerOf());
  await pass(plane, 60_000, 10_000);
  t.same(images(plane), ['hello:1', 'hello:1', 'hello:2']);
  await changeWeb(plane, spec => ({ ...spec, mode: replicated(5) }));
  t.equal(plane.running('web').length, 5);
  await changeWeb(plane, spec => ({ ...spec, mode: replicated(4) }));
  t.equal(plane.running('web').length, 4);
  t.match(rolloutOf(plane), { state: 'paused', message: /by order; 1 of 3 replaced/ });
  await plane.control.holdUpdate({ service: 'web', paused: false }, callerOf());
  await pass(plane, 60_000, 5_000);
  t.same(images(plane), Array(4).fill('hello:2'));
  t.match(rolloutOf(plane), { state: 'completed' });
});

t.test('any update of a paused service lets it go on, with its failures forgiven', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(3), update: updateConfig() });
  plane.setAgent(failing('hello:2'));
  await changeWeb(plane, image('hello:2'));
  t.match(rolloutOf(plane), { state: 'paused' });
  plane.setAgent(obedient);
  await pass(plane, 60_000);
  await changeWeb(plane, spec => spec);
  t.match(rolloutOf(plane), { state: 'completed' });
  t.same(images(plane), Array(3).fill('hello:2'));
});

t.test('scaling during an update is no failure, and the update ends with the new number', async t => {
  for (const replicas of [1, 8]) {
    await using plane = await openPlane();
    await create(plane, { mode: replicated(4), update: updateConfig({ delayMs: 5_000 }) });
    await changeWeb(plane, image('hello:2'));
    await changeWeb(plane, spec => ({ ...spec, mode: replicated(replicas) }));
    await pass(plane, 60_000, 5_000);
    t.same(images(plane), Array(replicas).fill('hello:2'));
    t.match(rolloutOf(plane), { state: 'completed', failed: [] });
  }
});

t.test('a service of no replicas is updated at once', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: replicated(0) });
  await changeWeb(plane, image('hello:2'));
  t.match(rolloutOf(plane), { state: 'completed', message: '0 of 0 replaced' });
});
