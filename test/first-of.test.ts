/** Ways that are tried side by side: who begins when, who wins, what is given back. */
import t from 'tap';
import { type Attempts, firstOf } from '../src/first-of.js';
import { type FakeClock, makeFakeClock } from './fake-clock.js';

interface Played extends AsyncDisposable {
  readonly way: string;
}

/** Each way takes so long and then succeeds or fails; `Infinity` never ends by itself. */
function play(script: Readonly<Record<string, { readonly ms: number; readonly fails?: boolean }>>) {
  const clock: FakeClock = makeFakeClock();
  const log: string[] = [];
  const say = (what: string): void => void log.push(`${clock.monotonicMs()} ${what}`);
  const attempts: Attempts<string, Played> = {
    clock,
    headStartMs: () => 200,
    attempt: async (way, signal) => {
      say(`${way} begins`);
      const { ms, fails = false } = script[way] ?? { ms: 0 };
      await new Promise<void>((resolve, reject) => {
        if (ms !== Infinity) clock.after(ms, resolve);
        // A stubborn one: it is made although nobody wants it any more.
        if (!way.startsWith('stubborn')) signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
      if (fails) throw new Error(`${way} fails`);
      return { way, [Symbol.asyncDispose]: async () => say(`${way} given back`) };
    },
    onFailed: way => say(`${way} failed`),
  };
  return { clock, log, attempts };
}

t.test('the next way begins after the head start of the one before, and the first that answers wins', async t => {
  const { clock, log, attempts } = play({ a: { ms: Infinity }, b: { ms: 250 }, c: { ms: 1_000 } });
  const found = firstOf(['a', 'b', 'c', 'd'], attempts, never());
  await clock.advance(1_000);
  t.equal((await found).way, 'b');
  t.same(log, ['0 a begins', '200 b begins', '400 c begins']);
});

t.test('a way that fails does not use its head start up', async t => {
  const { clock, log, attempts } = play({ a: { ms: 20, fails: true }, b: { ms: 30 } });
  const found = firstOf(['a', 'b'], attempts, never());
  await clock.advance(100);
  t.equal((await found).way, 'b');
  t.same(log, ['0 a begins', '20 a failed', '20 b begins']);
});

t.test('what was made too late is given back before the winner is handed out', async t => {
  const { clock, log, attempts } = play({ 'stubborn a': { ms: 500 }, b: { ms: 100 } });
  const found = firstOf(['stubborn a', 'b'], attempts, never());
  found.then(
    ({ way }) => log.push(`${clock.monotonicMs()} ${way} won`),
    () => undefined,
  );
  await clock.advance(1_000);
  t.same(log, ['0 stubborn a begins', '200 b begins', '500 stubborn a given back', '500 b won']);
});

t.test('when all fail, the last failure is told; when nobody wants it any more, why', async t => {
  const { clock, attempts } = play({ a: { ms: 300, fails: true }, b: { ms: 20, fails: true } });
  const failed = firstOf(['a', 'b'], attempts, never()).catch(String);
  await clock.advance(1_000);
  t.equal(await failed, 'Error: a fails');

  const second = play({ a: { ms: Infinity } });
  const controller = new AbortController();
  const given = firstOf(['a', 'b'], second.attempts, controller.signal).catch(String);
  await second.clock.advance(10);
  controller.abort(new Error('not wanted'));
  await second.clock.advance(1_000);
  t.equal(await given, 'Error: not wanted');
  t.same(second.log, ['0 a begins']);
});

function never(): AbortSignal {
  return new AbortController().signal;
}
