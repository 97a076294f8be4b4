import t from 'tap';
import {
  fullnessOf,
  type LookLimits,
  startWarnings,
  stepWarnings,
  type TaskLook,
  type WarningState,
} from '../../../src/tasks/usage/warnings.js';

const mib = 2 ** 20;
const noneYet = startWarnings(0);
const limits: LookLimits = { memoryBytes: 100 * mib, cpuNanos: 5e8, pids: 20 };
const calm: TaskLook = {
  atMs: 0,
  memoryBytes: 10 * mib,
  fileBytes: 0,
  periods: 0,
  throttledPeriods: 0,
  pidsRefused: 0,
  oomKills: 0,
  fullMounts: [],
  logDisk: undefined,
};

/** Looks 5 s apart, each as the one before with that changed; the codes that are told after each. */
function codesOf(...changes: readonly Partial<TaskLook>[]): readonly string[] {
  let state: WarningState = noneYet;
  let look = calm;
  return changes.map((change, at) => {
    look = { ...look, atMs: at * 5_000, ...change };
    state = stepWarnings(state, look, limits);
    return state.warnings.map(warning => warning.code).join();
  });
}

t.test('a task within its limits is told nothing about', async t => {
  t.strictSame(codesOf({}, { periods: 40 }, { periods: 90, throttledPeriods: 5 }), ['', '', '']);
  // While it had no limit nothing was counted: what was before says nothing of now.
  t.strictSame(codesOf({ periods: undefined }, { periods: 900, throttledPeriods: 800 }), ['', '']);
});

t.test('throttled in a quarter of the time is told at the next look, and until it is below a tenth', async t => {
  t.strictSame(
    codesOf(
      { periods: 100, throttledPeriods: 90 },
      { periods: 150, throttledPeriods: 130 },
      { periods: 200, throttledPeriods: 140 },
      { periods: 250, throttledPeriods: 143 },
      { periods: 253, throttledPeriods: 146 },
    ),
    ['', 'cpu-throttled', 'cpu-throttled', '', ''],
    'what was before the first look, and three periods, say nothing',
  );
});

t.test('memory counts without the pages of files, and with two thresholds', async t => {
  t.strictSame(
    codesOf(
      { memoryBytes: 95 * mib, fileBytes: 50 * mib },
      { fileBytes: 0 },
      { memoryBytes: 85 * mib },
      { memoryBytes: 79 * mib },
    ),
    ['', 'memory-near-limit', 'memory-near-limit', ''],
  );
  const unlimited = stepWarnings(noneYet, { ...calm, memoryBytes: 1e12 }, { ...limits, memoryBytes: 0 });
  t.strictSame(unlimited.warnings, []);
});

t.test('a killed process is told for five minutes, with how many there were', async t => {
  const first = stepWarnings(startWarnings(7), { ...calm, oomKills: 7 }, limits);
  t.strictSame(first.warnings, [], 'those of an earlier daemon are no news');
  const second = stepWarnings(first, { ...calm, atMs: 5_000, oomKills: 8 }, limits);
  t.match(second.warnings, [
    { code: 'killed-for-memory', message: /^one of its processes was killed.*100 MiB$/, sinceMs: 5_000 },
  ]);
  const third = stepWarnings(second, { ...calm, atMs: 10_000, oomKills: 10 }, limits);
  t.match(third.warnings, [{ message: /^3 of its processes were killed/, sinceMs: 5_000 }]);
  t.strictSame(stepWarnings(third, { ...calm, atMs: 309_000, oomKills: 10 }, limits).warnings, third.warnings);
  t.strictSame(stepWarnings(third, { ...calm, atMs: 311_000, oomKills: 10 }, limits).warnings, []);
});

t.test('refused processes and full disks are told while it is so', async t => {
  t.strictSame(
    codesOf(
      {},
      { pidsRefused: 3 },
      {},
      {},
      {},
      { fullMounts: ['volume data at /data is full'] },
      { fullMounts: [], logDisk: 'x' },
    ),
    ['', 'pids-limit', 'pids-limit', 'pids-limit', '', 'volume-full', 'log-disk-full'],
  );
});

t.test('a warning that lasts keeps its time and its words', async t => {
  const one = stepWarnings(noneYet, { ...calm, memoryBytes: 95 * mib }, limits);
  const two = stepWarnings(one, { ...calm, atMs: 5_000, memoryBytes: 97 * mib }, limits);
  t.equal(two.warnings[0], one.warnings[0]);
});

t.test('a disk is full with less than a hundredth, or 64 MiB of a large one, or no inode', async t => {
  const space = (freeBytes: number, totalBytes: number, freeInodes = 5) => ({
    totalBytes,
    freeBytes,
    totalInodes: 10,
    freeInodes,
  });
  t.equal(fullnessOf(space(mib, 100 * mib)), undefined);
  t.match(fullnessOf(space(mib - 1, 100 * mib)), /of 100 MiB are free/);
  t.equal(fullnessOf(space(65 * mib, 2 ** 43)), undefined, 'a hundredth of a large disk is plenty');
  t.match(fullnessOf(space(63 * mib, 2 ** 43)), /63 MiB of 8 TiB are free/);
  t.equal(fullnessOf(space(50 * mib, 100 * mib, 0)), 'all of its 10 inodes are in use');
  t.equal(
    fullnessOf({ ...space(0, 0), totalInodes: 0, freeInodes: 0 }),
    undefined,
    'a file system that counts nothing',
  );
});
