import t from 'tap';
import { freshPace, nextReport } from '../../src/tasks/report-pace.js';

/** Waits that reports at these times are given. */
function waitsOf(timesMs: readonly number[]): readonly number[] {
  let pace = freshPace;
  return timesMs.map(nowMs => {
    const next = nextReport(pace, nowMs);
    pace = next.pace;
    return next.waitMs;
  });
}

t.test('the changes of one task are told at once', async t => {
  t.same(waitsOf([0, 5, 12, 20, 31]), [1, 1, 1, 1, 1]);
});

t.test('what changes together is gathered after the first few, until there is quiet', async t => {
  t.same(waitsOf([0, 2, 4, 6, 8, 10, 12, 22, 32]), [1, 1, 1, 1, 1, 1, 10, 10, 10]);
  t.same(waitsOf([0, 2, 4, 6, 8, 10, 12, 100]).at(-1), 1, 'a new window');
});
