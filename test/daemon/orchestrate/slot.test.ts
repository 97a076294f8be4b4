/** What happens within one place of a service, as a table of situations. */
import t from 'tap';
import {
  byAge,
  type Circumstances,
  type Footing,
  planSlot,
  type Slot,
  type Step,
} from '../../../src/daemon/orchestrate/slot.js';
import type { Task } from '../../../src/gen/types.js';
import { meta, noUpdate, status, task, taskSpec } from '../object-fixtures.js';

const nowMs = 100_000;

/** Tasks by age; the footing of each by its node's name. */
function plan(
  tasks: readonly Task[],
  over: Partial<Circumstances> & { readonly mayCreate?: boolean; readonly specVersion?: number } = {},
): readonly Step[] {
  const { mayCreate = true, specVersion = 1, ...rest } = over;
  const footing = (each: Task): Footing =>
    each.nodeId === ''
      ? 'unplaced'
      : ((['draining', 'expelled', 'lost', 'gone'] as const).find(name => name === each.nodeId) ?? 'fine');
  const slot: Slot = { number: 1, nodeId: undefined, tasks: [...tasks].sort(byAge), mayCreate };
  return planSlot(slot, {
    isCurrent: each => each.specVersion === specVersion,
    nowMs,
    footing,
    room: () => ({ kind: 'instead', message: '' }),
    update: noUpdate,
    reconcile: 'keep-original',
    ...rest,
  }).steps;
}

const on = (nodeId: string, over: Parameters<typeof task>[1] = {}): Task =>
  task(`on-${nodeId}`, { nodeId: nodeId as Task['nodeId'], ...over });
const newer = (over: Task): Task => ({
  ...over,
  id: `${over.id}-newer` as Task['id'],
  meta: { ...meta, createdAtMs: 2_000 },
});
const at = (updatedAtMs: number) => ({ ...meta, createdAtMs: updatedAtMs - 100, updatedAtMs });
const create = (over: Partial<Extract<Step, { kind: 'create' }>> = {}): Step => ({
  kind: 'create',
  slot: 1,
  nodeId: undefined,
  startAfterMs: 0,
  failures: 0,
  restarts: undefined,
  ...over,
});

t.test('a task that lives fills its slot', async t => {
  for (const state of [
    'new',
    'pending',
    'assigned',
    'accepted',
    'preparing',
    'ready',
    'starting',
    'running',
  ] as const) {
    t.same(plan([task('t', { state })]), [], state);
  }
});

t.test('an empty slot gets a task, unless it may not', async t => {
  t.same(plan([]), [create()]);
  t.same(plan([], { mayCreate: false }), []);
});

t.test('a task that failed is replaced after its delay, and becomes history', async t => {
  const failed = task('t', { state: 'failed', meta: at(nowMs) });
  t.same(plan([failed]), [
    create({ startAfterMs: nowMs + 1_000, failures: 1 }),
    { kind: 'retire', task: 't', desired: 'shutdown' },
  ]);
  t.same(
    plan([{ ...failed, meta: at(nowMs - 1_000) }]),
    [create({ failures: 1 }), { kind: 'retire', task: 't', desired: 'shutdown' }],
    'the delay is over',
  );
});

t.test('what failed before it could start is not prepared again before its time', async t => {
  const rejected = task('t', { state: 'rejected', meta: at(nowMs) });
  const early = task('t', { state: 'failed', desired: 'ready', startAfterMs: nowMs + 9, meta: at(nowMs) });
  for (const ended of [rejected, early]) {
    t.same(plan([ended]), [{ kind: 'wake', atMs: nowMs + 1_000 }]);
    t.same(plan([{ ...ended, meta: at(nowMs - 1_000) }]), [
      create({ failures: 1 }),
      { kind: 'retire', task: 't', desired: 'shutdown' },
    ]);
  }
});

t.test('a task that is not restarted stands for its slot', async t => {
  const restart = { condition: 'none', attemptsMax: 0, windowMs: 0 } as const;
  t.same(plan([task('t', { state: 'failed', spec: taskSpec({ restart }) })]), []);
});

t.test('one that is not restarted is replaced when the spec changes', async t => {
  const restart = { condition: 'none', attemptsMax: 0, windowMs: 0 } as const;
  t.same(plan([task('t', { state: 'failed', spec: taskSpec({ restart }) })], { specVersion: 2 }), [
    create(),
    { kind: 'retire', task: 't', desired: 'shutdown' },
  ]);
});

t.test('what was stopped by us is replaced when it has ended, not before', async t => {
  t.same(plan([task('t', { desired: 'shutdown' })]), [], 'it still runs');
  t.same(plan([task('t', { desired: 'shutdown', state: 'shutdown' })]), [create()]);
  t.same(plan([task('t', { desired: 'shutdown', state: 'pending' })]), [create()], 'it was never placed');
});

t.test('a task whose time has come is started', async t => {
  t.same(plan([task('t', { desired: 'ready', startAfterMs: nowMs })]), [{ kind: 'start', task: 't' }]);
  t.same(plan([task('t', { desired: 'ready', startAfterMs: nowMs + 7 })]), [{ kind: 'wake', atMs: nowMs + 7 }]);
});

t.test('a lost node: a second task, and the first is marked, once', async t => {
  const lost = on('lost');
  t.same(plan([lost]), [create(), { kind: 'supersede', task: 'on-lost', superseded: true }]);
  t.same(plan([{ ...lost, superseded: true }, newer(on('b'))]), []);
});

t.test(
  'a node that comes back: its policy says which of two that serve stays; who serves never goes for who does not',
  async t => {
    const keepsOriginal = [
      { kind: 'retire', task: 'on-b-newer', desired: 'shutdown' },
      { kind: 'supersede', task: 'on-a', superseded: false },
    ];
    const keepsReplacement = [{ kind: 'retire', task: 'on-a', desired: 'shutdown' }];
    const table: readonly [Task['status']['state'], Task['status']['state'], Circumstances['reconcile'], unknown][] = [
      ['running', 'running', 'keep-original', keepsOriginal],
      ['running', 'running', 'keep-replacement', keepsReplacement],
      ['running', 'preparing', 'keep-original', keepsOriginal],
      ['running', 'preparing', 'keep-replacement', keepsOriginal],
      ['starting', 'running', 'keep-original', keepsReplacement],
      ['starting', 'running', 'keep-replacement', keepsReplacement],
      ['starting', 'pending', 'keep-original', keepsOriginal],
      ['failed', 'running', 'keep-original', keepsReplacement],
      ['failed', 'running', 'keep-replacement', keepsReplacement],
      ['failed', 'preparing', 'keep-original', keepsReplacement],
      ['orphaned', 'running', 'keep-original', keepsReplacement],
    ];
    for (const [original, replacement, reconcile, expected] of table) {
      const tasks = [{ ...on('a', { state: original }), superseded: true }, newer(on('b', { state: replacement }))];
      t.same(plan(tasks, { reconcile }), expected, `${reconcile}: ${original}, ${replacement}`);
    }
    const original = { ...on('a'), superseded: true };
    t.same(
      plan([on('b'), newer(original)], { reconcile: 'keep-replacement' }),
      [{ kind: 'retire', task: 'on-a-newer', desired: 'shutdown' }],
      'whatever the clocks said',
    );
    t.same(plan([original]), [{ kind: 'supersede', task: 'on-a', superseded: false }]);
  },
);

t.test('a draining node: the task goes when its replacement runs', async t => {
  const draining = on('draining');
  t.same(plan([draining]), [create()]);
  t.same(plan([draining, newer(on('b', { state: 'preparing' }))]), []);
  t.same(plan([draining, newer(on('b'))]), [{ kind: 'retire', task: 'on-draining', desired: 'shutdown' }]);
  t.same(plan([draining], { mayCreate: false }), []);
});

t.test('a drain whose deadline is over: the task goes at once, and another one is made', async t => {
  const gone = { kind: 'retire', task: 'on-expelled', desired: 'shutdown' };
  t.same(plan([on('expelled')]), [create(), gone]);
  t.same(plan([on('expelled'), newer(on('b', { state: 'pending' }))]), [gone]);
  t.same(plan([on('expelled'), newer(on('b'))]), [gone]);
});

t.test('ended tasks behind a living one become history', async t => {
  t.same(plan([task('old', { state: 'failed' }), newer(task('t'))]), [
    { kind: 'retire', task: 'old', desired: 'shutdown' },
  ]);
});

t.test('a task that its agent stopped unasked is replaced at once', async t => {
  t.same(plan([{ ...task('t'), status: status('shutdown') }]), [
    create(),
    { kind: 'retire', task: 't', desired: 'shutdown' },
  ]);
  t.same(plan([{ ...task('t'), status: status('orphaned') }]), [
    create(),
    { kind: 'retire', task: 't', desired: 'shutdown' },
  ]);
});
