import t from 'tap';
import { judgeClock, openClockSanity } from '../../src/daemon/clock-sanity.js';
import { describeSkew, followSkew } from '../../src/daemon/session/skew.js';
import { writtenAtMs } from '../../src/version.js';
import { makeFakeClock } from '../fake-clock.js';
import { silent, testLifetime } from './node-fixtures.js';

const dayMs = 86_400_000;
const laterMs = writtenAtMs + 100 * dayMs;

t.test('a clock that shows what is known to be past cannot be right', async t => {
  const facts = { nowMs: laterMs, certifiedMs: 0, confirmedMs: 0 };
  t.equal(judgeClock(facts), undefined);
  t.match(judgeClock({ ...facts, nowMs: 60_000 }), /1970-01-01T00:01:00Z, and this program was written 20/);
  t.match(judgeClock({ ...facts, certifiedMs: laterMs + 1 }), /the certificate of this node begins/);
  t.match(judgeClock({ ...facts, confirmedMs: laterMs + 2 * dayMs }), /a manager confirmed/);
  t.equal(judgeClock({ ...facts, confirmedMs: laterMs + 1_000 }), undefined, 'a small step back is no reason');
});

t.test('the confirmed time is remembered, also when it is earlier than the one of before', async t => {
  const clock = makeFakeClock(laterMs);
  const files = new Map<string, string>([['/clock', `${laterMs + 900 * dayMs}\n`]]);
  const raised: string[] = [];
  const lifetime = testLifetime();
  const sanity = await openClockSanity({
    clock,
    files: {
      findText: async path => files.get(path),
      replace: async (path, content) => void files.set(path, String(content)),
    },
    path: '/clock',
    certifiedMs: () => 0,
    telemetry: {
      log: silent,
      raise: ({ code, message }) => void raised.push(`${code}: ${message}`),
      lower: code => void raised.push(`end of ${code}`),
    },
    lifetime,
  });
  t.notOk(sanity.isSane(), 'it was confirmed years ahead of this');
  t.match(raised, [/^clock-not-set: the clock says .* nothing is judged by it/]);
  sanity.confirm();
  t.ok(sanity.isSane(), 'a manager agrees with it now');
  t.equal(raised.at(-1), 'end of clock-not-set');
  await clock.advance(11_000);
  t.equal(Number(files.get('/clock')), laterMs);
  await lifetime[Symbol.asyncDispose]();
});

t.test('clocks that are apart are told with both times', async t => {
  t.equal(describeSkew(29_000, laterMs), undefined);
  t.match(
    describeSkew(-3_600_000, Date.UTC(2027, 0, 1, 10)),
    "the clock is 3600 s behind the manager's: it says 2027-01-01T10:00:00Z, the manager's 2027-01-01T11:00:00Z",
  );
});

t.test('a clock that is set while a session is open is noticed, and said', async t => {
  const clock = makeFakeClock(laterMs);
  const ending = new AbortController();
  const news: (string | undefined)[] = [];
  let jumps = 0;
  let shiftMs = 0;
  const shifted = { ...clock, wallMs: () => clock.wallMs() + shiftMs };
  const following = followSkew(
    shifted,
    {
      managerMs: laterMs,
      onNews: ({ text }) => void news.push(text),
      onJump: () => {
        jumps += 1;
      },
    },
    ending.signal,
  );
  await clock.advance(10_000);
  t.same(news, [undefined, undefined]);
  shiftMs = 45_000;
  await clock.advance(10_000);
  t.match(news.at(-1), /45 s ahead of the manager's/);
  t.equal(jumps, 1);
  shiftMs = 0;
  await clock.advance(10_000);
  t.equal(news.at(-1), undefined);
  t.equal(jumps, 2);
  ending.abort();
  await t.rejects(following);
});
