import t from 'tap';
import { openLive } from '../../../src/cli/output/live.js';
import { makeFakeClock } from '../../fake-clock.js';
import { fakeConsole } from '../fake-console.js';

t.test('a screen is drawn ten times a second at most, and ends with the last picture', async t => {
  const clock = makeFakeClock();
  const { stdout, out } = fakeConsole({ terminal: { rows: 10, columns: 40 } });
  let draws = 0;
  const live = openLive(
    {
      ...stdout,
      write: async text => {
        draws += 1;
        await stdout.write(text);
      },
    },
    clock,
  );
  for (let at = 0; at < 100; at += 1) {
    live.show([`picture ${at}`]);
    await clock.advance(10);
  }
  t.ok(draws >= 9 && draws <= 11, `${draws} draws in a second`);
  await live.end();
  t.match(out(), /picture 99\n[^a-z]*$/);
});

t.test('the same picture is not drawn again', async t => {
  const clock = makeFakeClock();
  const { stdout, out } = fakeConsole({ terminal: { rows: 10, columns: 40 } });
  const live = openLive(stdout, clock);
  live.show(['a']);
  await clock.advance(1_000);
  live.show(['a']);
  t.equal(out().split('a').length - 1, 1);
});

t.test('what has ended is not drawn over any more', async t => {
  const clock = makeFakeClock();
  const { stdout, out } = fakeConsole({ terminal: { rows: 10, columns: 40 } });
  const live = openLive(stdout, clock);
  live.show(['a', 'b']);
  await live.end();
  const drawn = out();
  await stdout.write('Stopped waiting\n');
  await live.end([]);
  live.show(['c']);
  await clock.advance(1_000);
  t.equal(out(), `${drawn}Stopped waiting\n`);
});
