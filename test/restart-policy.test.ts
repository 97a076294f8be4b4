/** Whether and when an ended task gets a successor. */
import t from 'tap';
import type { RestartPolicy, Task } from '../src/gen/types.js';
import { delayMs, planRestart } from '../src/restart-policy.js';
import { meta, status, task, taskSpec } from './daemon/object-fixtures.js';

const policy = (over: Partial<RestartPolicy> = {}): RestartPolicy => ({
  condition: 'any',
  attemptsMax: 0,
  windowMs: 0,
  ...over,
});
const ended = (
  over: Parameters<typeof task>[1] & { readonly restart?: Partial<RestartPolicy>; readonly ranMs?: number } = {},
): Task => {
  const { restart, ranMs = 100, ...rest } = over;
  return task('t', {
    state: 'failed',
    spec: taskSpec({ restart: policy(restart) }),
    meta: { ...meta, createdAtMs: 50_000 - ranMs, updatedAtMs: 50_000 },
    ...rest,
  });
};

t.test('the condition says which ends count', async t => {
  const table = [
    ['any', 'failed', 'restart'],
    ['any', 'complete', 'restart'],
    ['any', 'rejected', 'restart'],
    ['on-failure', 'failed', 'restart'],
    ['on-failure', 'rejected', 'restart'],
    ['on-failure', 'complete', 'stay'],
    ['none', 'failed', 'stay'],
    ['none', 'complete', 'stay'],
    ['none', 'orphaned', 'restart'],
    ['on-failure', 'shutdown', 'restart'],
  ] as const;
  for (const [condition, state, kind] of table) {
    t.equal(planRestart(ended({ state, restart: { condition } })).kind, kind, `${condition}, ${state}`);
  }
});

t.test('the delay doubles with each failure in a row, up to its limit', async t => {
  t.same(
    [1, 2, 3, 7, 8, 40].map(failures => delayMs(policy(), failures)),
    [1_000, 2_000, 4_000, 60_000, 60_000, 60_000],
  );
  t.same(
    [1, 2, 3].map(failures => delayMs(policy({ delayMs: 0 }), failures)),
    [0, 0, 0],
  );
  t.same(
    [1, 9].map(failures => delayMs(policy({ delayMs: 90_000 }), failures)),
    [90_000, 90_000],
    'a first delay above the limit is the limit',
  );
  t.match(planRestart(ended({ failures: 3 })), { failures: 4, startAfterMs: 50_000 + 8_000 });
});

t.test('a task that ran for ten times its delay starts the count anew', async t => {
  t.match(planRestart(ended({ failures: 3, ranMs: 39_999 })), { failures: 4 });
  t.match(planRestart(ended({ failures: 3, ranMs: 40_000 })), { failures: 1, startAfterMs: 51_000 });
});

t.test('attempts are counted for the slot and its spec', async t => {
  const restart = { attemptsMax: 2 };
  t.match(planRestart(ended({ restart })), { restarts: { count: 1 } });
  t.match(planRestart(ended({ restart, restarts: { count: 1, atMs: [] } })), { restarts: { count: 2 } });
  t.match(planRestart(ended({ restart, restarts: { count: 2, atMs: [] } })), {
    kind: 'stay',
    because: '2 of 2 attempts are used up',
  });
  t.same(
    planRestart(ended()),
    { kind: 'restart', startAfterMs: 51_000, failures: 1, restarts: undefined },
    'without a limit nothing is counted',
  );
});

t.test('with a window only what lies within it counts', async t => {
  const restart = { attemptsMax: 2, windowMs: 10_000 };
  t.match(planRestart(ended({ restart, restarts: { count: 7, atMs: [30_000, 41_000] } })), {
    restarts: { count: 8, atMs: [41_000, 50_000] },
  });
  t.match(planRestart(ended({ restart, restarts: { count: 7, atMs: [41_000, 45_000] } })), { kind: 'stay' });
});

t.test('attempts that a node opened by itself count among the restarts', async t => {
  const spec = taskSpec({ restart: { condition: 'any', attemptsMax: 3, windowMs: 0 } });
  const failed = (attempt: number) => ({
    ...task('t', { state: 'failed', spec }),
    status: { ...status('failed'), attempt },
    restarts: { count: 1, atMs: [] },
  });
  t.match(planRestart(failed(1)), { kind: 'restart', restarts: { count: 3 } });
  t.match(planRestart(failed(2)), { kind: 'stay', because: '3 of 3 attempts are used up' });
});
