/** Managers that reach each other again: who asks for votes, and when. */
import t from 'tap';
import { watchReunions } from '../../../src/daemon/peers/reunion.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { makeFakeClock } from '../../fake-clock.js';
import { testLifetime } from '../node-fixtures.js';

t.test('managers that meet without a leader ask for votes one after another, until one leads', async t => {
  await using lifetime = testLifetime();
  const clock = makeFakeClock();
  let leader = '';
  const asked: string[] = [];
  const random = { ...linuxHost.random, fraction: () => 0.5 };
  const [first, second, third] = [0, 1, 2].map(turn =>
    watchReunions({
      clock,
      random,
      lifetime,
      turn: () => turn,
      isLeaderless: () => leader === '',
      onLeaderless: () => {
        asked.push(`${turn} after ${clock.monotonicMs()} ms`);
        // The first one's log is too old: nobody votes for it.
        if (turn === 1) leader = 'second';
      },
    }),
  );
  // Several links to several members come back at about the same time.
  for (const met of [first, second, third, second, first]) met?.();
  await clock.advance(5_000);
  t.same(asked, ['0 after 35 ms', '1 after 235 ms']);

  first?.();
  await clock.advance(5_000);
  t.equal(asked.length, 2, 'somebody leads: nothing is asked');
  leader = '';
  first?.();
  await clock.advance(5_000);
  t.same(asked.slice(2), ['0 after 10035 ms']);
});
