/** What may pass is repeated, ever more rarely, until the patience is over; what may not is told at once. */
import t from 'tap';
import { CoveyError } from '../../../../src/errors.js';
import {
  type PatienceLimits,
  patienceLimits,
  patiently,
  planDelay,
} from '../../../../src/tasks/image/registry/patience.js';
import { makeFakeClock } from '../../../fake-clock.js';

const limits: PatienceLimits = { ...patienceLimits, delayFirstMs: 500, delayMaxMs: 30_000, giveUpMs: 120_000 };
const busy = (state: string): CoveyError => new CoveyError('registry-unreachable', 'Cannot get anything', { state });

t.test('delays double up to their limit, with a random half', async t => {
  const at = (attempts: number, fraction: number) => planDelay({ attempts, asked: undefined, fraction }, limits);
  t.same(
    [0, 1, 2, 10, 1_000].map(attempts => at(attempts, 1)),
    [500, 1_000, 2_000, 30_000, 30_000],
  );
  t.same(
    [0, 1, 2, 10].map(attempts => at(attempts, 0)),
    [250, 500, 1_000, 15_000],
  );
});

t.test('never sooner than the registry asks, and not all at once then', async t => {
  t.equal(planDelay({ attempts: 0, asked: 7_000, fraction: 0 }, limits), 7_000);
  t.equal(planDelay({ attempts: 0, asked: 7_000, fraction: 1 }, limits), 7_250);
});

async function outcome(errors: readonly (CoveyError | 'fine')[], over: Partial<PatienceLimits> = {}) {
  const clock = makeFakeClock();
  const waits: string[] = [];
  const left = [...errors];
  const parts = {
    clock,
    random: { bytes: () => new Uint8Array(0), fraction: () => 1 },
    limits: { ...limits, ...over },
    onWait: (text: string) => void waits.push(text),
  };
  const result = patiently(parts, AbortSignal.timeout(60_000), async () => {
    const next = left.length > 1 ? left.shift() : left[0];
    if (next !== 'fine') throw next;
    return clock.monotonicMs();
  }).then(
    tookMs => ({ tookMs, error: undefined }),
    (error: CoveyError) => ({ tookMs: clock.monotonicMs(), error }),
  );
  let isDone = false;
  void result.finally(() => {
    isDone = true;
  });
  for (let step = 0; step < 2_000 && !isDone; step += 1) await clock.advance(100);
  return { ...(await result), waits };
}

t.test('what passes is waited for, and said', async t => {
  const { tookMs, waits } = await outcome([busy('it answers 503'), busy('it answers 429, retry-after 3'), 'fine']);
  t.ok((tookMs ?? 0) >= 3_500, `${tookMs}`);
  t.match(waits, [/503.*again in 1 s/, /again in 4 s/]);
});

t.test('a date is understood as well', async t => {
  const { waits } = await outcome([busy('it answers 429, retry-after Tue, 14 Nov 2023 22:13:40 GMT'), 'fine']);
  t.match(waits, [/again in (19|2\d) s/]);
});

t.test('the patience ends, and says after how much', async t => {
  const { error, tookMs } = await outcome([busy('it answers 503')], { giveUpMs: 10_000 });
  t.match(error, { code: 'registry-unreachable', state: /503; \d attempts in \d s/ });
  t.ok((tookMs ?? 0) <= 10_000);
  const asked = await outcome([busy('it answers 429, retry-after 3600')], { giveUpMs: 10_000 });
  t.match(asked.error, { state: /asks to wait 3600 s/ });
  t.same(asked.waits, [], 'not begun when it cannot end in time');
});

t.test('what does not pass is not repeated', async t => {
  for (const code of [
    'registry-denied',
    'image-not-found',
    'registry-answer',
    'image-digest',
    'registry-tls',
  ] as const) {
    const { error, waits } = await outcome([new CoveyError(code, 'Cannot'), 'fine']);
    t.equal(error?.code, code);
    t.same(waits, []);
  }
});
