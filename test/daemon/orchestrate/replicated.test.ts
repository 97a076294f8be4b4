import t from 'tap';
import { planReplicas } from '../../../src/daemon/orchestrate/replicated.js';
import type { Circumstances, Step } from '../../../src/daemon/orchestrate/slot.js';
import type { Task } from '../../../src/gen/types.js';
import { noUpdate, task, taskSpec } from '../object-fixtures.js';

const calm: Circumstances = {
  isCurrent: () => true,
  nowMs: 0,
  reconcile: 'keep-original',
  room: () => ({ kind: 'instead', message: '' }),
  update: noUpdate,
  footing: each => (each.nodeId === '' ? 'unplaced' : 'fine'),
};
const on = (nodeId: string, slot: number, over: Parameters<typeof task>[1] = {}): Task =>
  task(`${nodeId}${slot}`, { nodeId: nodeId as Task['nodeId'], slot, ...over });
const created = (steps: readonly Step[]): readonly number[] =>
  steps.flatMap(step => (step.kind === 'create' ? [step.slot] : []));
const retired = (steps: readonly Step[], desired: string): readonly string[] =>
  steps.flatMap(step => (step.kind === 'retire' && step.desired === desired ? [step.task] : []));

t.test('as many as wanted: nothing to do', async t => {
  t.same(planReplicas(2, [on('a', 1), on('b', 2)], calm), []);
  t.same(planReplicas(0, [], calm), []);
});

t.test('scaling up fills the lowest free slots first', async t => {
  t.same(created(planReplicas(4, [on('a', 2)], calm)), [1, 3, 4]);
});

t.test('a slot that is being given up is free', async t => {
  t.same(created(planReplicas(2, [on('a', 1), on('b', 2, { desired: 'remove' })], calm)), [2]);
});

t.test('scaling down takes what does not run, then from the most crowded node, then the highest slot', async t => {
  const tasks = [on('a', 1), on('a', 2), on('a', 3), on('b', 4), on('c', 5, { state: 'preparing' })];
  t.same(retired(planReplicas(4, tasks, calm), 'remove'), ['c5']);
  t.same(retired(planReplicas(3, tasks, calm), 'remove'), ['c5', 'a3']);
  t.same(retired(planReplicas(2, tasks, calm), 'remove'), ['c5', 'a3', 'a2']);
  t.same(retired(planReplicas(0, tasks, calm), 'remove').length, 5);
});

t.test('two crowded nodes give in turn', async t => {
  const tasks = [on('a', 1), on('a', 2), on('b', 3), on('b', 4), on('c', 5)];
  t.same(retired(planReplicas(3, tasks, calm), 'remove'), ['b4', 'a2']);
});

t.test('a slot goes with its history', async t => {
  const tasks = [on('a', 1), on('b', 2), on('c', 2, { state: 'failed', desired: 'shutdown' })];
  t.same([...retired(planReplicas(1, tasks, calm), 'remove')].sort(), ['b2', 'c2']);
});

t.test('old specs: those that do not run at once, those that run one at a time', async t => {
  const next = { ...calm, isCurrent: (each: Task) => each.specVersion === 2 };
  t.same(retired(planReplicas(3, [on('a', 1), on('b', 2), on('c', 3)], next), 'shutdown'), ['a1']);
  t.same(
    retired(
      planReplicas(3, [on('a', 1, { state: 'preparing' }), on('b', 2, { state: 'pending' }), on('c', 3)], next),
      'shutdown',
    ),
    ['a1', 'b2'],
  );
  t.same(retired(planReplicas(3, [on('a', 1, { specVersion: 2 }), on('b', 2), on('c', 3)], next), 'shutdown'), ['b2']);
  t.same(
    retired(
      planReplicas(3, [on('a', 1, { specVersion: 2, state: 'preparing' }), on('b', 2), on('c', 3)], next),
      'shutdown',
    ),
    [],
    'the first has to run before the second goes',
  );
  t.same(
    retired(planReplicas(3, [on('a', 1, { desired: 'shutdown' }), on('b', 2), on('c', 3)], next), 'shutdown'),
    [],
    'the first is still stopping',
  );
});

t.test('a new spec that failed holds the others back, restarted or not; one that completed does not', async t => {
  const next = { ...calm, isCurrent: (each: Task) => each.specVersion === 2 };
  const ended = (state: 'failed' | 'rejected' | 'complete', condition: 'any' | 'none') =>
    on('a', 1, { state, specVersion: 2, spec: taskSpec({ restart: { condition, attemptsMax: 0, windowMs: 0 } }) });
  for (const state of ['failed', 'rejected'] as const) {
    for (const condition of ['any', 'none'] as const) {
      const steps = planReplicas(3, [ended(state, condition), on('b', 2), on('c', 3)], next);
      t.notOk(retired(steps, 'shutdown').includes('b2'), `${state}, ${condition}`);
    }
  }
  t.same(retired(planReplicas(3, [ended('complete', 'none'), on('b', 2), on('c', 3)], next), 'shutdown'), ['b2']);
});
