/**
 * The simulator as a test: seeds without a violation, and the same trace for the same seed.
 * `npm run sim -- --seeds N --from S` runs more.
 */
import t from 'tap';
import { runSeed } from './run.js';
import { createWorld } from './world.js';

const seeds = 2000;

t.test('2,000 seeds of faults break nothing', { timeout: 900_000 }, async t => {
  let operations = 0;
  for (let seed = 1; seed <= seeds; seed += 1) {
    const { violation, counts } = runSeed(seed);
    operations += counts.ok + counts.reads;
    if (violation !== undefined) t.fail(`seed ${seed}: ${violation}; replay: npm run sim -- --replay ${seed} --shrink`);
  }
  t.ok(operations > seeds * 20, `${operations} operations were answered meanwhile`);
});

t.test('the same seed gives the same trace, event by event', async t => {
  for (const seed of [3, 17, 4242]) {
    const lines: string[][] = [[], []];
    const [first, second] = lines.map(trace => runSeed(seed, { record: line => trace.push(line) }));
    t.equal(first!.hash, second!.hash);
    t.strictSame(lines[0], lines[1]);
  }
});

t.test('events happen in the order of time, then of their making', async t => {
  const order: string[] = [];
  const world = createWorld();
  for (const [delay, name] of [
    [5, 'c'],
    [1, 'a'],
    [5, 'd'],
    [1, 'b'],
    [0, '-'],
  ] as const)
    world.after(delay, name, () => order.push(name));
  while (world.step(10));
  t.same(order, ['-', 'a', 'b', 'c', 'd']);
});
