import t from 'tap';
import { afterReadyAnswer, firstReady, nextReadyMs, readyTimes, runReady } from '../../src/tasks/readiness.js';
import { makeFakeClock } from '../fake-clock.js';

const probe = { kind: 'tcp', port: 80 } as const;
const none = { intervalMs: 0, timeoutMs: 0, initialDelayMs: 0, failures: 0, successes: 0 };
const times = readyTimes({ ...none, probe });
const ok = { ok: true, output: '' };
const bad = { ok: false, output: 'refused' };

t.test('what is not said has its default', async t => {
  t.strictSame(times, { intervalMs: 5_000, timeoutMs: 3_000, initialDelayMs: 0, failuresMax: 3, successesMin: 1 });
});

t.test('it is ready after so many successes in a row, and unready after so many failures in a row', async t => {
  const strict = { ...times, successesMin: 2, failuresMax: 2 };
  const seen = [firstReady];
  for (const answer of [bad, ok, bad, ok, ok, bad, ok, bad, bad, bad, ok, ok])
    seen.push(afterReadyAnswer(strict, seen.at(-1) ?? firstReady, answer));
  t.strictSame(
    seen.slice(1).map(state => state.ready),
    [
      ...['waiting', 'waiting', 'waiting', 'waiting', 'ready'],
      ...['ready', 'ready', 'ready', 'unready', 'unready', 'unready', 'ready'],
    ],
  );
  t.equal(seen.at(10)?.output, 'refused');
  t.equal(seen.at(-1)?.output, '');
});

t.test('before the first success it is asked often, later at the interval', async t => {
  t.equal(nextReadyMs(times, firstReady), 20);
  t.equal(nextReadyMs({ ...times, initialDelayMs: 700 }, firstReady), 700);
  t.equal(nextReadyMs(times, { ...firstReady, checks: 3 }), 200);
  t.equal(nextReadyMs(times, { ...firstReady, checks: 50 }), 5_000);
  t.equal(nextReadyMs(times, { ...firstReady, checks: 9, ready: 'ready' }), 5_000);
  t.equal(nextReadyMs(times, { ...firstReady, ready: 'ready' }), 20, 'one that was ready before the daemon restarted');
});

t.test('changes are told, and new words while it is not ready', async t => {
  const clock = makeFakeClock();
  const answers = [bad, bad, { ok: false, output: 'slow' }, ok, ok, bad, bad, bad, ok];
  const told: string[] = [];
  const ending = new AbortController();
  const running = t.rejects(
    runReady({
      times,
      clock,
      first: firstReady,
      ask: async () => {
        const answer = answers.shift();
        if (answer === undefined) ending.abort();
        return answer ?? ok;
      },
      onChange: state => told.push(`${state.ready} ${state.output}`.trim()),
      signal: ending.signal,
    }),
  );
  while (!ending.signal.aborted) await clock.advance(5_000);
  await running;
  t.strictSame(told, ['waiting refused', 'waiting slow', 'ready', 'unready refused', 'ready']);
});
