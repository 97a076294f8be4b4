import t from 'tap';
import { applyEvent, emptySeen, progressOf } from '../../src/cli/converge.js';
import { plainProgress, renderBar, renderDone, renderProgress } from '../../src/cli/output/progress.js';
import type { Service, Task } from '../../src/gen/types.js';
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
