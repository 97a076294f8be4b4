import t from 'tap';
import { openLifetime } from '../src/lifetime.js';
import { openLoop } from '../src/loop.js';
import { makeFakeClock, settle } from './fake-clock.js';

function setUp(reconcile: (key: string) => Promise<void>, concurrency = 1) {
  const clock = makeFakeClock();
  const lifetime = openLifetime('test', { onFailure: () => undefined });
  const retries: [string, number][] = [];
  const loop = openLoop<string>({
    name: 'loop',
    clock,
    lifetime,
    reconcile,
    concurrency,
    onFailure: (key, _error, inMs) => retries.push([key, inMs]),
  });
  return { clock, lifetime, loop, retries };
}

t.test('a key touched while it is worked on is looked at once more, never twice at once', async t => {
  let running = 0;
  let calls = 0;
  const gates: (() => void)[] = [];
  const { loop, lifetime } = setUp(async () => {
    running += 1;
    calls += 1;
    t.equal(running, 1);
    await new Promise<void>(resolve => gates.push(resolve));
    running -= 1;
  }, 4);
  loop.touch('a');
  await settle();
  loop.touch('a');
  loop.touch('a');
  gates.shift()?.();
  await settle();
  t.equal(calls, 2);
  gates.shift()?.();
  await loop.idle();
  t.equal(calls, 2);
  await lifetime[Symbol.asyncDispose]();
});

t.test('several keys go side by side up to the limit', async t => {
  let most = 0;
  let running = 0;
  const { loop, lifetime } = setUp(async () => {
    running += 1;
    most = Math.max(most, running);
    await settle();
    running -= 1;
  }, 3);
  for (const key of ['a', 'b', 'c', 'd', 'e']) loop.touch(key);
  await loop.idle();
  t.equal(most, 3);
  await lifetime[Symbol.asyncDispose]();
});

t.test('a failing key waits longer each time, and only that key; success resets its wait', async t => {
  let broken = true;
  const seen: string[] = [];
  const { loop, clock, retries, lifetime } = setUp(async key => {
    seen.push(key);
    if (key === 'bad' && broken) throw new Error('no');
  });
  loop.touch('bad');
  loop.touch('good');
  await settle();
  t.same(seen, ['bad', 'good']);
  await clock.advance(100);
  await clock.advance(200);
  t.same(retries, [
    ['bad', 100],
    ['bad', 200],
    ['bad', 400],
  ]);
  broken = false;
  await clock.advance(400);
  broken = true;
  loop.touch('bad');
  await settle();
  t.same(retries.at(-1), ['bad', 100]);
  await lifetime[Symbol.asyncDispose]();
});

t.test('the end of the lifetime cancels waiting retries', async t => {
  let calls = 0;
  const { loop, clock, lifetime } = setUp(async () => {
    calls += 1;
    throw new Error('no');
  });
  loop.touch('a');
  await settle();
  await lifetime[Symbol.asyncDispose]();
  await clock.advance(60_000);
  t.equal(calls, 1);
  t.equal(clock.pending(), 0);
});
