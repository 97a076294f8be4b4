import t from 'tap';
import { applyEvent, emptySeen, progressOf } from '../../src/cli/converge.js';
import { plainProgress, renderBar, renderDone, renderProgress } from '../../src/cli/output/progress.js';
import type { Rollout, Service, Task } from '../../src/gen/types.js';
import { service, task } from './objects.js';

const nodes = { n1: 'rack1', n2: 'rack2' };

function progress(
  tasks: readonly Task[],
  changes: { readonly service?: Service; readonly wanted?: number } = {},
): ReturnType<typeof progressOf> {
  return progressOf({
    service: changes.service ?? service({ replicas: 2 }),
    tasks,
    nodes,
    wanted: changes.wanted ?? 2,
  });
}

t.test('a service has converged when all that is wanted runs and nothing else is alive', async t => {
  const running = [task({ slot: 1 }), task({ slot: 2 })];
  const rows: readonly (readonly [string, readonly Task[], string])[] = [
    ['all run', running, 'done'],
    ['one is missing', [task({ slot: 1 })], 'waiting'],
    ['one still starts', [task({ slot: 1 }), task({ slot: 2, state: 'starting' })], 'waiting'],
    ['one of the old spec is alive', [...running, task({ slot: 1, specVersion: 0, desired: 'shutdown' })], 'waiting'],
    ['old ones have ended', [...running, task({ slot: 1, specVersion: 0, state: 'shutdown' })], 'done'],
    ['one too many', [...running, task({ slot: 3 })], 'waiting'],
    ['one is on its way out', [...running, task({ slot: 3, desired: 'remove' })], 'waiting'],
    ['failures of the past', [...running, task({ slot: 1, state: 'failed', createdAtMs: 1 })], 'done'],
    [
      'one waits for a node',
      [task({ slot: 1 }), task({ slot: 2, state: 'pending', message: 'no node fits' })],
      'waiting',
    ],
  ];
  for (const [title, tasks, expected] of rows) t.equal(progress(tasks).outcome.kind, expected, title);
  t.equal(progress([], { wanted: 0, service: service({ replicas: 0 }) }).outcome.kind, 'done', 'nothing is wanted');
});

t.test('what is to end is shown as stopping', async t => {
  const [line] = progress([task({ slot: 1, desired: 'shutdown' })]).lines;
  t.match(line, { name: 'web.1', state: 'stopping' });
});

t.test('waiting ends where it cannot help', async t => {
  const once = service({ replicas: 1, condition: 'none' });
  const failed = (fields: object = {}): Task =>
    task({ slot: 1, state: 'failed', error: 'exit code 3', errorCode: 'container-exit', exitCode: 3, ...fields });
  t.match(progress([failed()], { service: once, wanted: 1 }).outcome, {
    kind: 'failed',
    task: 'web.1',
    why: 'exit code 3',
    code: 'container-exit',
  });
  t.equal(
    progress([failed()], { wanted: 1, service: service({ replicas: 1 }) }).outcome.kind,
    'waiting',
    'it will be started again',
  );
  t.equal(
    progress([task({ slot: 1, state: 'complete' })], { service: once, wanted: 1 }).outcome.kind,
    'done',
    'a job that ended',
  );
  const refused = (createdAtMs: number): Task =>
    task({ slot: 1, state: 'rejected', error: 'no such image', errorCode: 'image-not-found', createdAtMs });
  const next = task({ slot: 1, state: 'pending', createdAtMs: 3 });
  const always = service({ replicas: 1 });
  t.equal(progress([refused(1), next], { service: always, wanted: 1 }).outcome.kind, 'waiting', 'refused once');
  t.equal(
    progress([refused(1), refused(2), next], { service: always, wanted: 1 }).outcome.kind,
    'failed',
    'refused twice for what lasts',
  );
  const later = { ...always, meta: { ...always.meta, updatedAtMs: always.meta.updatedAtMs + 60_000 } };
  t.equal(
    progressOf({ service: later, asked: later, tasks: [refused(1), refused(2), next], nodes, wanted: 1 }).outcome.kind,
    'waiting',
    'what was refused before the change counts no more',
  );
  t.equal(
    progress([failed({ createdAtMs: 1 }), failed({ createdAtMs: 2 }), next], { service: always, wanted: 1 }).outcome
      .kind,
    'waiting',
    'exit codes may change',
  );
  const limited = service({ replicas: 1, attemptsMax: 1 });
  t.equal(
    progress([failed({ createdAtMs: 1 }), failed({ createdAtMs: 2 })], { service: limited, wanted: 1 }).outcome.kind,
    'failed',
    'no attempts left',
  );
});

t.test('the watch is remembered object by object', async t => {
  const seen = emptySeen();
  const one = task({ slot: 1 });
  applyEvent(seen, { kind: 'task', ...one });
  applyEvent(seen, { kind: 'service', ...service({}) });
  applyEvent(seen, { kind: 'synced' });
  t.ok(seen.synced);
  t.equal(seen.tasks.size, 1);
  applyEvent(seen, { kind: 'deletion', table: 'task', id: one.id });
  applyEvent(seen, { kind: 'deletion', table: 'service', id: service({}).id });
  t.equal(seen.tasks.size + seen.services.size, 0);
});

t.test('progress is a bar and a line for each task', async t => {
  const tasks = [
    task({ slot: 1 }),
    task({ slot: 2, nodeId: 'n2', state: 'preparing', message: 'pulling hello:2   41.0 of 66.3 MiB' }),
    task({ slot: 10, nodeId: '', state: 'pending', message: 'no node fits: 3 looked at' }),
  ];
  const picture = progress(tasks, { wanted: 3, service: service({ replicas: 10 }) });
  const screen = { columns: 80, rows: 20, colours: false };
  t.same(renderProgress([picture], screen), [
    'web       ███████░░░░░░░░░░░░░░  1 of 3 running',
    '  web.1   rack1  running',
    '  web.2   rack2  pulling hello:2 41.0 of 66.3 MiB'.replace(':2 41', ':2   41'),
    '  web.10  -      pending: no node fits: 3 looked at',
  ]);
  t.same(
    renderProgress([picture], { ...screen, rows: 3 }),
    [
      'web       ███████░░░░░░░░░░░░░░  1 of 3 running',
      '  web.2   rack2  pulling hello:2   41.0 of 66.3 MiB',
      '  and 2 more',
    ],
    'what does not run comes first',
  );
  t.ok(renderProgress([picture], { ...screen, columns: 30 }).every(line => line.length <= 30));
  t.equal(renderBar(0, 0), '█'.repeat(21));
});

t.test('in a pipe each change is told once', async t => {
  const said = new Map<string, string>();
  const tell = (tasks: readonly Task[]): readonly string[] => plainProgress([progress(tasks)], said);
  t.same(tell([task({ slot: 1, state: 'pending' })]), []);
  t.same(tell([task({ slot: 1, state: 'pending', message: 'no node fits' })]), ['web.1  rack1  pending: no node fits']);
  t.same(tell([task({ slot: 1, state: 'pending', message: 'no node fits' })]), []);
  t.same(tell([task({ slot: 1 })]), ['web.1  rack1  running']);
  t.same(tell([task({ slot: 1 })]), []);
});

t.test('the last line says what runs, how long it took and where it answers', async t => {
  const done = progress([task({ slot: 1 }), task({ slot: 2 })]);
  t.equal(
    renderDone(done, { tookMs: 4_200, url: 'http://10.0.0.11:8080 and every other node' }),
    'web is running: 2 of 2 after 4.2 s · http://10.0.0.11:8080 and every other node',
  );
  t.equal(
    renderDone({ ...done, running: 0, wanted: 0 }, { tookMs: 50, url: undefined }),
    'web has no tasks, as asked, after 50 ms',
  );
});

/** A service whose spec 2 is rolled out, or was. */
function updated(rollout: Partial<Rollout>, over: Partial<Service> = {}): Service {
  const base: Rollout = {
    state: 'updating',
    specVersion: 2,
    startedAtMs: 1,
    endedAtMs: 0,
    message: '',
    total: 2,
    done: 0,
    progressedAtMs: 1,
    failed: [],
    deadlineAtMs: 0,
    because: '',
    sameVersions: [],
  };
  return { ...service({ replicas: 2, specVersion: 2 }), rollout: { ...base, ...rollout }, ...over };
}

t.test('an update is over when the managers say so', async t => {
  const all = [task({ slot: 1, specVersion: 2 }), task({ slot: 2, specVersion: 2 })];
  const half = [task({ slot: 1, specVersion: 2 }), task({ slot: 2, specVersion: 1 })];
  const outcome = (asked: Service, seen: Service, tasks: readonly Task[]) =>
    progressOf({ service: seen, tasks, nodes, wanted: 2, asked });
  const asked = updated({});
  t.match(outcome(asked, updated({ done: 2 }), all), {
    outcome: { kind: 'waiting' },
    note: '2 of 2 replaced, watching',
  });
  t.match(outcome(asked, updated({ done: 1, failed: ['2'] }), half).note, '1 of 2 replaced, 1 failed');
  t.match(outcome(asked, updated({ state: 'completed' }), all).outcome, { kind: 'done' });
  t.match(
    outcome(asked, updated({ state: 'completed' }), half).outcome,
    { kind: 'waiting' },
    'the old one still stops',
  );
  t.match(outcome(asked, updated({ state: 'completed', failed: ['2'], message: '1 failed' }), half).outcome, {
    kind: 'not-updated',
    code: 'update-incomplete',
  });
  const stopped = updated({ state: 'paused', message: 'by order' });
  t.match(outcome(asked, stopped, half).outcome, {
    kind: 'not-updated',
    code: 'update-paused',
    why: 'the update of "web" has stopped: by order',
  });
  t.match(
    outcome(stopped, stopped, half).outcome,
    { kind: 'done' },
    'it was paused before something else was asked for',
  );
});

t.test('an update that was rolled back is a failure, a rollback that was asked for is none', async t => {
  const back = { specVersion: 3, sameVersions: [1], because: 'back to revision 1: 1 failed' };
  const tasks = [task({ slot: 1, specVersion: 3 }), task({ slot: 2, specVersion: 1 })];
  const outcome = (asked: Service, rollout: Partial<Rollout>) =>
    progressOf({ service: updated(rollout, { specVersion: 3 }), tasks, nodes, wanted: 2, asked }).outcome;
  t.match(outcome(updated({}), { ...back, state: 'rolling-back' }), { kind: 'waiting' });
  t.match(outcome(updated({}), { ...back, state: 'rolled-back' }), {
    kind: 'not-updated',
    code: 'update-rolled-back',
    why: 'back to revision 1: 1 failed',
  });
  const ordered = updated({ ...back, because: '' }, { specVersion: 3 });
  t.match(outcome(ordered, { ...back, because: '', state: 'rolled-back' }), { kind: 'done' });
});
