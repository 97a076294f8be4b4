/** Who may take a task from which state to which: all pairs. */
import t from 'tap';
import type { DesiredState, TaskState } from '../../../src/gen/types.js';
import {
  type Actor,
  actorsOf,
  hasPath,
  refuseTaskDeletion,
  refuseTaskWrite,
  stateRank,
  taskEdges,
} from '../../../src/raft/store.js';
import { status, task } from '../../daemon/object-fixtures.js';

const states: readonly TaskState[] = [
  'new',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'orphaned',
];
const roles = (...names: readonly Actor[]): ReadonlySet<string> => new Set(names);
const everybody = roles('orchestrate', 'allocate', 'schedule', 'agent', 'reconcile', 'reap');

t.test('states only rise, whoever asks', async t => {
  for (const from of states) {
    for (const to of states) {
      if (hasPath(from, to, everybody)) t.ok(stateRank(to) > stateRank(from), `${from} to ${to}`);
    }
  }
});

t.test('each pair of states has the owners that the table gives it', async t => {
  const onNode = states.slice(2, 8);
  for (const from of states) {
    for (const to of states) {
      const byAgent = onNode.includes(from) && stateRank(to) > stateRank(from) && to !== 'orphaned';
      t.equal(hasPath(from, to, roles('agent')), byAgent, `agent: ${from} to ${to}`);
      t.equal(hasPath(from, to, roles('allocate')), from === 'new' && to === 'pending', `allocate: ${from} to ${to}`);
      t.equal(
        hasPath(from, to, roles('schedule')),
        from === 'pending' && to === 'assigned',
        `schedule: ${from} to ${to}`,
      );
      t.equal(
        hasPath(from, to, roles('reconcile')),
        onNode.includes(from) && to === 'orphaned',
        `reconcile: ${from} to ${to}`,
      );
      t.equal(hasPath(from, to, roles('reap', 'orchestrate')), false, `reap and orchestrate: ${from} to ${to}`);
    }
  }
});

t.test('several edges at once need all of their owners', async t => {
  t.ok(hasPath('none', 'assigned', roles('orchestrate', 'allocate', 'schedule')));
  t.notOk(hasPath('none', 'assigned', roles('orchestrate', 'schedule')));
  t.notOk(hasPath('none', 'running', roles('orchestrate', 'allocate', 'schedule')));
});

t.test('a principal is who it says', async t => {
  t.same([...actorsOf('node:a').roles], ['agent']);
  t.equal(actorsOf('node:a').nodeId, 'a');
  t.same([...actorsOf('system:schedule+reap').roles], ['schedule', 'reap']);
  t.same([...actorsOf('system').roles], []);
  t.same([...actorsOf('uid:0').roles], ['reconcile', 'restart'], 'people remove nodes and restart tasks');
  t.same([...actorsOf('anonymous').roles], []);
});

const loops = actorsOf('system:orchestrate+allocate+schedule+reconcile+reap');
const agent = actorsOf('node:a');

t.test('what is desired only rises, and orchestrate alone raises it', async t => {
  const order: readonly DesiredState[] = ['ready', 'running', 'shutdown', 'remove'];
  for (const [at, from] of order.entries()) {
    for (const [to, desired] of order.entries()) {
      const refusal = refuseTaskWrite(task('t', { desired: from }), task('t', { desired }), loops);
      t.equal(refusal === undefined, to >= at, `${from} to ${desired}`);
    }
  }
  t.match(refuseTaskWrite(task('t'), task('t', { desired: 'shutdown' }), agent), 'only orchestrate');
});

t.test('what never changes, never changes', async t => {
  const old = task('t');
  t.match(refuseTaskWrite(old, { ...old, slot: 2 }, loops), 'never change');
  t.match(refuseTaskWrite(old, { ...old, specVersion: 2 }, loops), 'never change');
  t.match(refuseTaskWrite(old, { ...old, nodeId: task('t', { state: 'new' }).nodeId }, loops), 'never moves');
  t.match(
    refuseTaskWrite(
      undefined,
      { ...old, status: status('assigned'), nodeId: task('t', { state: 'new' }).nodeId },
      loops,
    ),
    'no node',
  );
  t.match(refuseTaskWrite(undefined, old, loops), 'may not be made as running');
});

t.test('an agent speaks for its own node', async t => {
  const old = task('t', { state: 'starting' });
  t.equal(refuseTaskWrite(old, task('t'), agent), undefined);
  t.match(refuseTaskWrite(old, task('t'), actorsOf('node:b')), 'its own node');
  t.equal(refuseTaskWrite(old, task('t'), actorsOf('system:agent')), undefined, 'the dispatcher speaks for all');
});

t.test('another attempt is opened by the agent alone, and the later one wins', async t => {
  const failed = task('t', { state: 'failed' });
  const next = { ...failed, status: status('preparing', { attempt: 1 }) };
  t.equal(refuseTaskWrite(failed, next, agent), undefined);
  t.match(refuseTaskWrite(failed, next, actorsOf('system:orchestrate')), 'only its agent');
  t.match(refuseTaskWrite(next, failed, agent), 'attempt 0 after 1');
  t.match(refuseTaskWrite(task('t', { state: 'orphaned' }), next, agent), 'no attempt');
  t.match(refuseTaskWrite(failed, { ...next, status: status('orphaned', { attempt: 1 }) }, agent), 'may not begin');
});

t.test('only reap deletes, and only what has ended or was never placed', async t => {
  for (const state of states) {
    const isFree = stateRank(state) < 2 || stateRank(state) > 7;
    t.equal(refuseTaskDeletion(task('t', { state }), actorsOf('system:reap')) === undefined, isFree, state);
    t.match(refuseTaskDeletion(task('t', { state }), agent), 'only reap');
  }
});

t.test('every state but the first can be reached', async t => {
  for (const state of states)
    t.ok(
      taskEdges.some(edge => edge.to.includes(state)),
      state,
    );
});
