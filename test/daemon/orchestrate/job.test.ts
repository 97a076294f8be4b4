/** Jobs: how much is worked on at a time, what is never done twice, and what begins it anew. */
import t from 'tap';
import {
  type JobCircumstances,
  jobTaskSpec,
  planGlobalJob,
  planReplicatedJob,
} from '../../../src/daemon/orchestrate/job.js';
import type { Step } from '../../../src/daemon/orchestrate/slot.js';
import type { ServiceSpec, Task, TaskState } from '../../../src/gen/types.js';
import { node, noUpdate, serviceSpec, task, taskSpec } from '../object-fixtures.js';
import { type Behaviour, callerOf, obedient, openPlane, type Plane } from '../plane-fixtures.js';

const circumstances: JobCircumstances = {
  isCurrent: each => each.specVersion === 1,
  runVersion: 1,
  nowMs: 10_000,
  reconcile: 'keep-original',
  room: () => ({ kind: 'instead', message: '' }),
  update: noUpdate,
  footing: each => (each.nodeId === '' ? 'unplaced' : 'fine'),
};
const onFailure = taskSpec({
  restart: { condition: 'on-failure', delayMs: 1_000, delayMaxMs: undefined, attemptsMax: 1, windowMs: 0 },
});
const at = (slot: number, state: TaskState, over: Parameters<typeof task>[1] = {}): Task =>
  task(`t${slot}-${state}`, { slot, state, spec: onFailure, ...over });
const job = (completions: number, concurrentMax = 0) =>
  ({ kind: 'replicatedJob', completions, concurrentMax }) as const;
const said = (steps: readonly Step[]): readonly string[] =>
  steps.map(step => {
    if (step.kind === 'create') return `create ${step.nodeId ?? step.slot}${step.startAfterMs > 0 ? ' later' : ''}`;
    if (step.kind === 'retire') return `${step.desired} ${step.task}`;
    return step.kind;
  });

t.test('so many at a time, the next when one is done, and no more than asked for', async t => {
  const table: readonly (readonly [string, number, number, readonly Task[], readonly string[]])[] = [
    ['all at once', 3, 0, [], ['create 1', 'create 2', 'create 3']],
    ['two at a time', 5, 2, [], ['create 1', 'create 2']],
    ['both at work', 5, 2, [at(1, 'running'), at(2, 'preparing')], []],
    ['one is done', 5, 2, [at(1, 'complete'), at(2, 'running')], ['create 3']],
    ['the last ones', 3, 2, [at(1, 'complete'), at(2, 'complete'), at(3, 'running')], []],
    ['all are done', 2, 2, [at(1, 'complete'), at(2, 'complete')], []],
    ['nothing to do', 0, 0, [], []],
    ['fewer than before', 1, 0, [at(1, 'complete'), at(2, 'running')], ['remove t2-running']],
    ['more than before', 3, 0, [at(1, 'complete'), at(2, 'complete')], ['create 3']],
  ];
  for (const [title, completions, concurrentMax, tasks, expected] of table)
    t.strictSame(said(planReplicatedJob(job(completions, concurrentMax), tasks, circumstances)), expected, title);
});

t.test('what fails is tried again as the policy says, and holds its turn meanwhile; then others go on', async t => {
  const failed = at(1, 'failed', { endedAtMs: 9_900 });
  t.strictSame(said(planReplicatedJob(job(3, 1), [failed], circumstances)), ['create 1 later', 'shutdown t1-failed']);
  const spent = at(1, 'failed', { endedAtMs: 9_900, restarts: { count: 1, atMs: [] } });
  t.strictSame(said(planReplicatedJob(job(3, 1), [spent], circumstances)), ['create 2'], 'given up');
  const waiting = at(1, 'ready', { desired: 'ready', startAfterMs: 11_000 });
  t.strictSame(said(planReplicatedJob(job(3, 1), [waiting], circumstances)), ['wake'], 'it waits for its restart');
});

t.test('what has completed is not run again, even where its node was given up', async t => {
  const twice = [at(1, 'complete', { superseded: true }), at(1, 'running')];
  t.strictSame(said(planReplicatedJob(job(1), twice, circumstances)), ['shutdown t1-running']);
  const lost = { ...circumstances, footing: () => 'lost' as const };
  t.strictSame(said(planReplicatedJob(job(1), [at(1, 'complete')], lost)), []);
  const gone = said(planReplicatedJob(job(1), [at(1, 'running')], lost));
  t.strictSame([...gone].sort(), ['create 1', 'supersede'], 'what was under way is begun elsewhere');
  const spec = serviceSpec({ mode: job(1) });
  t.equal(jobTaskSpec(spec).restart.condition, 'on-failure', 'the default policy restarts no completed one');
  t.equal(jobTaskSpec(serviceSpec()).restart.condition, spec.task.restart.condition, 'of other services it does');
});

t.test('work is let be on a node that drains, until the drain is over', async t => {
  const where = (footing: 'draining' | 'expelled') =>
    said(planReplicatedJob(job(1), [at(1, 'running')], { ...circumstances, footing: () => footing }));
  t.strictSame(where('draining'), ['say'], 'what keeps the drain waiting is told');
  t.strictSame([...where('expelled')].sort(), ['create 1', 'shutdown t1-running']);
});

t.test('another spec begins the work anew, in each slot after what was at work there', async t => {
  const next = { ...circumstances, isCurrent: (each: Task) => each.specVersion === 2, runVersion: 2 };
  t.strictSame(said(planReplicatedJob(job(2), [at(1, 'complete'), at(2, 'running')], next)), [
    'shutdown t1-complete',
    'shutdown t2-running',
    'create 1',
  ]);
  const ending = at(2, 'running', { desired: 'shutdown' });
  t.strictSame(said(planReplicatedJob(job(2), [ending, at(1, 'running', { specVersion: 2 })], next)), []);
});

t.test('a global job is done once on each node that its constraints admit', async t => {
  const nodes = [node('a'), node('b', { spec: { ...node('b').spec, availability: 'pause' } }), node('c')];
  const plan = (tasks: readonly Task[], admitted = ['a', 'b', 'c'], more: Partial<JobCircumstances> = {}) =>
    said(planGlobalJob({ nodes, admits: ({ id }) => admitted.includes(id) }, tasks, { ...circumstances, ...more }));
  const there = (nodeId: string, state: TaskState): Task =>
    task(`${nodeId}-${state}`, { nodeId: nodeId as Task['nodeId'], slot: 0, state, spec: onFailure });
  t.strictSame(plan([]), ['create a', 'create c'], 'not where nothing new is taken');
  t.strictSame(plan([there('a', 'complete'), there('c', 'running')]), []);
  t.strictSame(plan([there('a', 'running')], ['c']), ['shutdown a-running', 'create c']);
  t.strictSame(
    plan([there('c', 'running'), there('a', 'running')], undefined, { footing: () => 'lost' }),
    [],
    'it waits',
  );
  t.strictSame(plan([there('x', 'running'), there('a', 'complete'), there('c', 'complete')]), ['remove x-running']);
});

// ---- in a whole plane of managers ---------------------------------------------------------------------------------------

/** Runs, and ends with success when `works` says so. */
const working =
  (works: (task: Task) => TaskState): Behaviour =>
  each => {
    if (each.status.state !== 'running' || each.desired !== 'running') return obedient(each);
    const state = works(each);
    return state === 'running' ? undefined : { state };
  };

async function listed(plane: Plane, name: string): Promise<string> {
  const answer = await plane.control.listServices({ objects: [name], stack: '' }, callerOf());
  const id = answer.services[0]?.id ?? '';
  return `${answer.running[id]} running, ${answer.completed[id]} of ${answer.wanted[id]}`;
}

const jobSpec = (over: Partial<ServiceSpec> = {}): ServiceSpec =>
  serviceSpec({ name: 'work', mode: job(5, 2), ...over });

t.test('a job runs to its end over an election, keeps what is done, and runs anew when it is changed', async t => {
  let isHeld = true;
  const done = new Set<string>();
  const behave = working(each => {
    if (isHeld && done.size >= 2) return 'running';
    done.add(each.id);
    return 'complete';
  });
  await using plane = await openPlane({ behave });
  await plane.settle();
  const made = await plane.control.createService({ spec: jobSpec() }, callerOf());
  await plane.settle();
  t.equal(await listed(plane, 'work'), '2 running, 2 of 5');
  await plane.reelect();
  await plane.settle();
  t.equal(await listed(plane, 'work'), '2 running, 2 of 5', 'the next leader goes on');
  isHeld = false;
  await plane.settle();
  t.equal(await listed(plane, 'work'), '0 running, 5 of 5');
  t.equal(done.size, 5, 'each was done once');
  await plane.settle();
  t.equal(done.size, 5);

  const { id, meta, spec } = plane.store.view().find('service', made.id) ?? made;
  const forced = { ...spec, task: { ...spec.task, force: 1 } };
  const changed = await plane.control.updateService({ service: id, version: meta.version, spec: forced }, callerOf());
  t.equal(changed.rollout, undefined, 'it is not rolled out');
  await plane.settle();
  t.equal(await listed(plane, 'work'), '0 running, 5 of 5');
  t.equal(done.size, 10, 'all of it once more');
  t.strictSame(plane.failures, []);
});

t.test('a job that cannot be completed stops trying, and the rest of it is done', async t => {
  const behave = working(each => (each.slot === 1 ? 'failed' : 'complete'));
  await using plane = await openPlane({ behave });
  await plane.settle();
  const restart = {
    condition: 'none',
    delayMs: undefined,
    delayMaxMs: undefined,
    attemptsMax: 0,
    windowMs: 0,
  } as const;
  await plane.control.createService({ spec: jobSpec({ task: taskSpec({ restart }) }) }, callerOf());
  await plane.settle();
  t.equal(await listed(plane, 'work'), '0 running, 4 of 5');
  t.equal(plane.tasks('work').filter(({ status: { state } }) => state === 'failed').length, 1);
});

t.test('what makes no sense for a job is refused', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const update = { delayMs: 0, failureAction: 'pause', maxFailureRatio: 0, order: 'stop-first' } as const;
  for (const [over, message] of [
    [{ update }, /a job is not updated step by step/],
    [{ mode: job(10_001) }, /spec\.completions: 10001 is more than 10000/],
    [{ mode: job(1, 10_001) }, /spec\.concurrentMax: 10001 is more than/],
  ] as const)
    await t.rejects(plane.control.createService({ spec: jobSpec(over) }, callerOf()), { message }, String(message));
});
