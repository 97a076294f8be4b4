/** Which images go, and which never do. */
import t from 'tap';
import { planPrune, planRoom } from '../../../src/tasks/image/prune.js';

const image = (digest: string, over: object = {}) => ({
  digest,
  names: [`${digest}:1`],
  createdAtMs: 1_000,
  inUse: false,
  origins: [`site/${digest}@sha256:1`],
  sizeBytes: 100,
  usedMs: 0,
  ...over,
});

t.test('what a task uses never goes; without --all only what has no name does', async t => {
  const all = [image('named'), image('nameless', { names: [] }), image('used', { names: [], inUse: true })];
  t.same(planPrune(all, { all: false, untilMs: 0 }), ['nameless']);
  t.same(planPrune(all, { all: true, untilMs: 0 }), ['named', 'nameless']);
});

t.test('until spares what was made later', async t => {
  const all = [image('old', { createdAtMs: 5 }), image('new', { createdAtMs: 50 })];
  t.same(planPrune(all, { all: true, untilMs: 50 }), ['old']);
});

t.test(
  'a disk above its mark loses the longest unused of what can be pulled again, and no more than needed',
  async t => {
    const all = [
      image('used', { inUse: true, usedMs: -1 }),
      image('imported', { origins: [], usedMs: -1 }),
      image('late', { usedMs: 90 }),
      image('early', { usedMs: 10 }),
      image('never', { usedMs: -1 }),
    ];
    const disk = (freeBytes: number) => ({ totalBytes: 1_000, freeBytes });
    t.same(planRoom(all, disk(150), 85), [], 'at the mark');
    t.same(planRoom(all, disk(149), 85), ['never']);
    t.same(planRoom(all, disk(50), 85), ['never', 'early']);
    t.same(planRoom(all, disk(0), 85), ['never', 'early'], 'down to 80 %');
    t.same(planRoom(all, disk(0), 30), ['never', 'early', 'late'], 'all that may');
    t.same(planRoom(all, disk(0), 0), [], 'switched off');
  },
);
