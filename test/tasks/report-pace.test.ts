import t from 'tap';
import { freshPace, nextReport } from '../../src/tasks/report-pace.js';

/** Waits that changes of these tasks at these times are given. */
function waitsOf(changes: readonly (readonly [nowMs: number, taskId: string])[]): readonly number[] {
  let pace = freshPace;
  return changes.map(([nowMs, taskId]) => {
    const next = nextReport(pace, nowMs, taskId);
    pace = next.pace;
    return next.waitMs;
  });
}

t.test('the changes of one task are told at once, and those of tasks one after the other', async t => {
  t.same(waitsOf([0, 5, 12, 20, 31].map(nowMs => [nowMs, 'a'])), [1, 1, 1, 1, 1]);
  const oneByOne = Array.from({ length: 60 }, (_, at) => [at * 7, `task ${Math.floor(at / 6)}`] as const);
  t.same(new Set(waitsOf(oneByOne)), new Set([1]));
});

t.test('what changes together is gathered after the first few, until there is quiet', async t => {
  const many = Array.from({ length: 200 }, (_, at) => [at * 2, `task ${at % 50}`] as const);
  const waits = waitsOf(many);
  t.same(waits.slice(0, 4), [1, 1, 1, 30]);
  t.same(new Set(waits.slice(4)), new Set([30]), 'the next windows too');
  t.same(waitsOf([...many, [700, 'late']]).at(-1), 1);
});
