/** The leader's half begins and ends with its leadership, and there is never a second one beside it. */
import t from 'tap';
import { openLeadership } from '../../../src/daemon/group/leadership.js';
import { eventually, testLifetime } from '../node-fixtures.js';

function rig() {
  const lifetime = testLifetime();
  const running = new Set<number>();
  const seen: string[] = [];
  let letEnd: (() => void) | undefined;
  const leadership = openLeadership<{ readonly term: number }>({
    lifetime: lifetime.child('leading'),
    open: (term, scope) => {
      running.add(term);
      seen.push(`begin ${term} beside ${running.size - 1}`);
      scope.run('work', async signal => {
        await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }));
        await new Promise<void>(resolve => {
          letEnd = resolve;
        });
        running.delete(term);
        seen.push(`end ${term}`);
      });
      return { term };
    },
  });
  const end = () =>
    eventually('it ends', () => {
      const call = letEnd;
      letEnd = undefined;
      call?.();
      return call === undefined ? undefined : true;
    });
  return { lifetime, leadership, seen, end };
}

t.test('a leadership that ends is found by nobody at once, and awaited before the next begins', async t => {
  const { lifetime, leadership, seen, end } = rig();
  leadership.begin(3);
  await eventually('it began', () => leadership.find());
  t.equal(leadership.find()?.parts.term, 3);
  leadership.end();
  t.equal(leadership.find(), undefined);
  leadership.begin(5);
  t.equal(leadership.find(), undefined, 'the old one still runs');
  t.same(seen, ['begin 3 beside 0']);
  await end();
  await eventually('the next began', () => leadership.find());
  t.same(seen, ['begin 3 beside 0', 'end 3', 'begin 5 beside 0']);
  const closing = lifetime[Symbol.asyncDispose]();
  t.equal(leadership.find(), undefined, 'it ends with the node');
  await end();
  await closing;
  t.equal(seen.at(-1), 'end 5');
});

t.test('one that was over before it began is never begun', async t => {
  const { lifetime, leadership, seen, end } = rig();
  leadership.begin(3);
  await eventually('it began', () => leadership.find());
  leadership.begin(4);
  leadership.end();
  leadership.begin(6);
  await end();
  await eventually('the last one began', () => leadership.find());
  t.same(seen, ['begin 3 beside 0', 'end 3', 'begin 6 beside 0']);
  const closing = lifetime[Symbol.asyncDispose]();
  await end();
  await closing;
});
