/** What a node starts again by itself while no manager answers. */
import t from 'tap';
import type { Task, TaskStatus } from '../../src/gen/types.js';
import { aloneAfterMs, type Ended, openAlone, planAttempt } from '../../src/tasks/alone.js';
import { meta, status, task, taskSpec } from '../daemon/object-fixtures.js';
import { makeFakeClock } from '../fake-clock.js';

const endedMs = 100_000;
type Policy = Partial<Task['spec']['restart']>;

function ended(over: Partial<Ended> & { readonly policy?: Policy; readonly state?: TaskStatus['state'] } = {}): Ended {
  const { policy = {}, state = 'failed', ...rest } = over;
  const spec = taskSpec({ restart: { condition: 'any', attemptsMax: 0, windowMs: 0, ...policy } });
  return {
    task: { ...task('t1', { state: 'running' }), meta: { ...meta, createdAtMs: endedMs - 5_000 }, spec },
    status: { ...status(state), sinceMs: endedMs, attempt: 0, exitCode: 1, errorCode: 'container-exit' },
    unwanted: false,
    asked: false,
    alone: undefined,
    silentMs: 60_000,
    ...rest,
  };
}

t.test('a task that failed is begun again when the delay of its policy is over, as its next attempt', async t => {
  t.same(planAttempt(ended(), endedMs), { kind: 'later', atMs: endedMs + 1_000 });
  const attempt = planAttempt(ended(), endedMs + 1_000);
  t.match(attempt, { kind: 'begin', status: { state: 'accepted', attempt: 1, error: '' }, alone: { failures: 1 } });
  t.notOk(
    attempt.kind === 'begin' && attempt.status.exitCode !== undefined,
    'what the last one left is not told of the next',
  );
});

t.test('the delay grows from attempt to attempt, and starts anew after one that ran long', async t => {
  let now = endedMs;
  let last = ended();
  const delays: number[] = [];
  for (let at = 0; at < 4; at += 1) {
    const wait = planAttempt(last, now);
    if (wait.kind !== 'later') throw new Error(wait.kind);
    delays.push(wait.atMs - now);
    const begun = planAttempt(last, wait.atMs);
    if (begun.kind !== 'begin') throw new Error(begun.kind);
    now = wait.atMs + 10;
    last = { ...last, status: { ...last.status, attempt: begun.status.attempt, sinceMs: now }, alone: begun.alone };
  }
  t.same(delays, [1_000, 2_000, 4_000, 8_000]);
  t.equal(last.status.attempt, 4);
  const proved = { ...last, status: { ...last.status, sinceMs: now + 600_000 } };
  t.match(planAttempt(proved, now + 600_000), { kind: 'later', atMs: now + 601_000 });
});

t.test('attempts count with those of the managers, and are used up together', async t => {
  const used = ended({ policy: { attemptsMax: 3 } });
  const task2 = { ...used.task, restarts: { count: 2, atMs: [] } };
  const begun = planAttempt({ ...used, task: task2 }, endedMs + 60_000);
  t.match(begun, { kind: 'begin', alone: { restarts: { count: 3 } } });
  if (begun.kind !== 'begin') return;
  const again = { ...used, task: task2, alone: begun.alone, status: { ...used.status, attempt: 1 } };
  t.same(planAttempt(again, endedMs + 120_000), { kind: 'none' });
});

t.test('what was not to go on is not begun again', async t => {
  const late = endedMs + 3_600_000;
  const cases: readonly (readonly [string, Ended])[] = [
    ['condition none', ended({ policy: { condition: 'none' } })],
    ['completed, on-failure', ended({ policy: { condition: 'on-failure' }, state: 'complete' })],
    ['told to end by the managers', ended({ task: { ...ended().task, desired: 'shutdown' } })],
    ['prepared only', ended({ task: { ...ended().task, desired: 'ready' } })],
    ['stopped by its node', ended({ state: 'shutdown' })],
    ['not named any more', ended({ unwanted: true })],
    ['stopped by people here', ended({ asked: true, state: 'complete' })],
    ['another runs in its place', ended({ task: { ...ended().task, superseded: true } })],
  ];
  for (const [what, one] of cases) t.same(planAttempt(one, late), { kind: 'none' }, what);
});

t.test('a task that must not run twice is begun again only while its service puts up with the silence', async t => {
  const tied = { ...ended().task, stopAfterDisconnectMs: 90_000 };
  const late = endedMs + 60_000;
  t.match(planAttempt(ended({ task: tied, silentMs: 60_000 }), late), { kind: 'begin' });
  t.same(planAttempt(ended({ task: tied, silentMs: 90_000 }), late), { kind: 'none' });
  t.same(
    planAttempt(ended({ task: tied, silentMs: undefined }), late),
    { kind: 'none' },
    'how long, nobody knows after a reboot',
  );
  t.match(planAttempt(ended({ silentMs: undefined }), late), { kind: 'begin' }, 'others are');
});

t.test('a node is alone when no manager was heard for longer than an election takes', async t => {
  const clock = makeFakeClock();
  const alone = openAlone(clock);
  await clock.advance(60_000);
  t.notOk(alone.isAlone(), 'before anybody has tried to reach one');
  alone.connected(false);
  await clock.advance(aloneAfterMs - 1);
  alone.connected(false);
  t.notOk(alone.isAlone());
  await clock.advance(1);
  t.ok(alone.isAlone());
  t.equal(alone.silentMs(), undefined, 'none was ever heard');
  alone.connected(true);
  t.notOk(alone.isAlone());
  alone.connected(false);
  await clock.advance(aloneAfterMs);
  t.equal(alone.silentMs(), aloneAfterMs);
});
