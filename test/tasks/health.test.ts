import t from 'tap';
import {
  afterCheck,
  findHealthcheck,
  type HealthCheck,
  nextCheckMs,
  runHealth,
  startHealth,
} from '../../src/tasks/health.js';
import { makeFakeClock } from '../fake-clock.js';
import { emptyImage, plainContainer } from './fixtures.js';

const check: HealthCheck = {
  args: ['true'],
  intervalMs: 30_000,
  timeoutMs: 1_000,
  startPeriodMs: 0,
  startIntervalMs: 5_000,
  retries: 3,
};
const answer = (ok: boolean, atMs: number) => ({ ok, output: ok ? '' : 'refused', atMs });

t.test('the spec replaces the check of the image, and NONE takes it away', async t => {
  const times = { intervalMs: 0, timeoutMs: 0, startPeriodMs: 0, startIntervalMs: 0, retries: 0 };
  const image = { ...emptyImage, healthcheck: { ...times, test: ['CMD', 'from-image'] } };
  const rows = [
    { name: 'inherited', spec: undefined, args: ['from-image'] },
    { name: 'replaced', spec: ['CMD', 'own', 'x'], args: ['own', 'x'] },
    { name: 'a shell', spec: ['CMD-SHELL', 'a || b'], args: ['/bin/sh', '-c', 'a || b'] },
    { name: 'none', spec: ['NONE'], args: undefined },
  ];
  for (const { name, spec, args } of rows) {
    const container =
      spec === undefined ? plainContainer : { ...plainContainer, healthcheck: { ...times, test: spec } };
    t.strictSame(findHealthcheck(container, image)?.args, args, name);
  }
  t.match(findHealthcheck(plainContainer, image), {
    intervalMs: 30_000,
    timeoutMs: 30_000,
    startIntervalMs: 5_000,
    retries: 3,
  });
});

t.test('one success makes it healthy, retries failures in a row make it unhealthy', async t => {
  let state = startHealth(0);
  state = afterCheck(check, state, answer(true, 100));
  t.equal(state.health, 'healthy');
  for (const atMs of [30_000, 60_000]) state = afterCheck(check, state, answer(false, atMs));
  t.equal(state.health, 'healthy', 'two of three');
  state = afterCheck(check, afterCheck(check, state, answer(true, 90_000)), answer(false, 120_000));
  t.equal(state.health, 'healthy', 'a success starts the count anew');
  for (const atMs of [150_000, 180_000]) state = afterCheck(check, state, answer(false, atMs));
  t.match(state, { health: 'unhealthy', output: 'refused' });
});

t.test('before the first success it is asked often, and those questions count for nothing', async t => {
  let state = startHealth(0);
  const waits: number[] = [];
  for (let at = 0; at < 6; at += 1) {
    waits.push(nextCheckMs(check, state));
    state = afterCheck(check, state, answer(false, 1_000 * at));
  }
  t.strictSame(waits, [100, 400, 1_000, 2_000, 5_000, 5_000]);
  t.equal(state.failures, 0, 'no interval has passed');
  for (const atMs of [30_000, 35_000, 60_000, 65_000]) state = afterCheck(check, state, answer(false, atMs));
  t.match(state, { failures: 2, health: 'starting' }, 'one failure counts each interval');
  t.equal(afterCheck(check, state, answer(false, 90_000)).health, 'unhealthy');
});

t.test('failures in the start period do not count', async t => {
  const patient = { ...check, intervalMs: 1_000, startPeriodMs: 60_000 };
  let state = startHealth(0);
  for (let atMs = 1_000; atMs <= 60_000; atMs += 1_000) state = afterCheck(patient, state, answer(false, atMs));
  t.equal(state.failures, 0);
  for (const atMs of [61_000, 62_000, 63_000]) state = afterCheck(patient, state, answer(false, atMs));
  t.equal(state.health, 'unhealthy');
});

t.test('it asks until unhealthy, an interval apart, and tells each change once', async t => {
  const clock = makeFakeClock();
  const asked: number[] = [];
  const told: string[] = [];
  const ending = new AbortController();
  const run = runHealth({
    check: { ...check, intervalMs: 1_000, retries: 2 },
    clock,
    ask: async () => {
      asked.push(clock.monotonicMs());
      return { ok: asked.length <= 2, output: 'gone' };
    },
    onChange: state => told.push(state.health),
    signal: ending.signal,
  });
  for (let at = 0; at < 6; at += 1) await clock.advance(1_000);
  await run;
  t.strictSame(told, ['healthy', 'unhealthy']);
  t.strictSame(asked, [100, 1_100, 2_100, 3_100]);
});

t.test('its end is no failure of the check', async t => {
  const clock = makeFakeClock();
  const ending = new AbortController();
  const run = runHealth({
    check,
    clock,
    ask: async () => ({ ok: false, output: '' }),
    onChange: () => t.fail('nothing changed'),
    signal: ending.signal,
  });
  ending.abort(new Error('over'));
  await t.rejects(run, /over/);
  t.equal(clock.pending(), 0, 'no timer stays');
});
