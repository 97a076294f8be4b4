import t from 'tap';
import { openCoalescer } from '../../src/netns/coalesce.js';
import { makeFakeClock } from '../fake-clock.js';

t.test('the first after a quiet time waits 5 ms, a burst is taken together, runs never overlap', async t => {
  const clock = makeFakeClock();
  const log: string[] = [];
  let running = 0;
  const run = async (): Promise<void> => {
    running += 1;
    t.equal(running, 1);
    log.push(`${clock.monotonicMs()}`);
    await clock.sleep(10, new AbortController().signal);
    running -= 1;
  };
  const coalescer = openCoalescer({ clock, run, firstMs: 5, burstMs: 20 });
  const done: number[] = [];
  const ask = (): void => void coalescer.request().then(() => done.push(clock.monotonicMs()));
  ask();
  ask();
  await clock.advance(7);
  ask();
  await clock.advance(100);
  t.same(log, ['5', '55'], 'one for both, one that began after the third');
  t.same(done, [15, 15, 65]);
  ask();
  await clock.advance(50);
  t.same(log, ['5', '55', '112']);
});

t.test('a run that takes long is followed by a pause in proportion, but not for ever', async t => {
  const clock = makeFakeClock();
  const log: number[] = [];
  let takesMs = 30;
  const run = async (): Promise<void> => {
    log.push(clock.monotonicMs());
    await clock.sleep(takesMs, new AbortController().signal);
  };
  const coalescer = openCoalescer({ clock, run, firstMs: 5, burstMs: 20 });
  const ask = (): void => void coalescer.request();
  ask();
  await clock.advance(10);
  ask();
  await clock.advance(200);
  t.same(log, [5, 155], 'it began at 5, took 30, and 120 went by');
  takesMs = 1_000;
  ask();
  await clock.advance(100);
  ask();
  await clock.advance(3_000);
  t.equal((log[3] ?? 0) - (log[2] ?? 0), 1_250);
});

t.test('a failed run fails those who waited for it, and no others', async t => {
  const clock = makeFakeClock();
  let turn = 0;
  const run = async (): Promise<void> => {
    turn += 1;
    if (turn === 1) throw new Error('once');
  };
  const coalescer = openCoalescer({ clock, run, firstMs: 5, burstMs: 20 });
  const first = t.rejects(coalescer.request(), /once/);
  await clock.advance(5);
  await first;
  const second = coalescer.request();
  await clock.advance(30);
  await second;
  t.equal(turn, 2);
});

t.test('closing rejects what waits and starts nothing more', async t => {
  const clock = makeFakeClock();
  const coalescer = openCoalescer({ clock, run: async () => void t.fail('ran'), firstMs: 5, burstMs: 20 });
  const waiting = t.rejects(coalescer.request(), /ending/);
  coalescer.close(new Error('ending'));
  await waiting;
  await t.rejects(coalescer.request(), /ending/);
  await clock.advance(100);
  t.equal(clock.pending(), 0);
});
