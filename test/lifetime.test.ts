import t from 'tap';
import { CoveyError } from '../src/errors.js';
import { deadline, fairDeadline, openLifetime } from '../src/lifetime.js';
import { makeFakeClock, settle } from './fake-clock.js';

function recorder(): { failures: string[]; onFailure: (name: string, error: unknown) => void } {
  const failures: string[] = [];
  return {
    failures,
    onFailure: (name, error) => failures.push(`${name}: ${error instanceof Error ? error.message : ''}`),
  };
}

t.test('the end cancels work, waits for it, then disposes last-in first-out', async t => {
  const order: string[] = [];
  const lifetime = openLifetime('l', recorder());
  lifetime.defer('first', () => void order.push('first'));
  lifetime.own({ [Symbol.dispose]: () => void order.push('second') });
  lifetime.run('work', async signal => {
    await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()));
    await settle();
    order.push('work');
  });
  await lifetime[Symbol.asyncDispose]();
  t.same(order, ['work', 'second', 'first']);
});

t.test('a failure of work is reported with its name and ends nothing else', async t => {
  const { failures, onFailure } = recorder();
  const lifetime = openLifetime('daemon', { onFailure });
  lifetime.run('bad', async () => {
    throw new Error('boom');
  });
  await settle();
  t.same(failures, ['daemon/bad: boom']);
  t.equal(lifetime.signal.aborted, false);
  await lifetime[Symbol.asyncDispose]();
});

t.test('being cancelled is no failure', async t => {
  const { failures, onFailure } = recorder();
  const clock = makeFakeClock();
  const lifetime = openLifetime('l', { onFailure });
  lifetime.run('sleeper', signal => clock.sleep(1_000, signal));
  await lifetime[Symbol.asyncDispose]();
  t.same(failures, []);
});

t.test('disposal goes on past failures and throws them together', async t => {
  const order: string[] = [];
  const lifetime = openLifetime('l', recorder());
  lifetime.defer('a', () => void order.push('a'));
  lifetime.defer('b', () => {
    throw new Error('b failed');
  });
  await t.rejects(async () => await lifetime[Symbol.asyncDispose](), AggregateError);
  t.same(order, ['a']);
});

t.test('a child ends with its parent, and may end before it', async t => {
  const order: string[] = [];
  const parent = openLifetime('p', recorder());
  const early = parent.child('early');
  early.defer('x', () => void order.push('early'));
  await early[Symbol.asyncDispose]();
  const late = parent.child('late');
  late.defer('x', () => void order.push('late'));
  await parent[Symbol.asyncDispose]();
  t.same(order, ['early', 'late']);
  t.equal(late.signal.aborted, true);
});

t.test('a deadline aborts after its time with its reason, or with its parent', async t => {
  const clock = makeFakeClock();
  const parent = new AbortController();
  const make = () =>
    deadline(clock, { ms: 100, parent: parent.signal, reason: () => new CoveyError('timeout', 'Cannot wait') });
  using first = make();
  await clock.advance(99);
  t.equal(first.signal.aborted, false);
  await clock.advance(1);
  t.match(first.signal.reason, { code: 'timeout' });
  using second = make();
  parent.abort(new Error('parent'));
  t.match(second.signal.reason, { message: 'parent' });
});

t.test('a fair deadline counts only the time in which the process ran', async t => {
  const parent = new AbortController().signal;
  const reason = (): Error => new Error('late');
  let nowMs = 0;
  let due: (() => void) | undefined;
  /** A clock whose timers fire when the test says so. */
  const clock = {
    monotonicMs: () => nowMs,
    after: (_ms: number, call: () => void) => {
      due = call;
      return {
        cancel: () => {
          due = undefined;
        },
      };
    },
  };
  const fire = (lateMs: number): void => {
    nowMs += 100 + lateMs;
    due?.();
  };
  using limit = fairDeadline(clock, { ms: 250, parent, reason });
  fire(0);
  fire(300);
  t.notOk(limit.signal.aborted, 'half a second is over, of which the process had 0.2 s');
  fire(0);
  t.match(limit.signal.reason, { message: 'late' });
  using starved = fairDeadline(clock, { ms: 1_000, parent, reason });
  fire(2_950);
  t.notOk(starved.signal.aborted, 'sockets are looked at once more');
  fire(0);
  t.ok(starved.signal.aborted, 'it ends within three times its length');
  const given = new AbortController();
  using dropped = fairDeadline(clock, { ms: 1_000, parent: given.signal, reason });
  given.abort(new Error('given up'));
  t.match(dropped.signal.reason, { message: 'given up' });
});
