/**
 * The time of day jumps by an hour, to and fro (F11 of the engine's failures): nothing is restarted for it, nothing waits for it,
 * and no certificate is renewed before its time.
 */
import t from 'tap';
import { holdIdentity } from '../../src/daemon/ca/identity.js';
import { openRenewal } from '../../src/daemon/ca/renewal.js';
import { CoveyError } from '../../src/errors.js';
import { asId } from '../../src/ids.js';
import { makeFakeClock } from '../fake-clock.js';
import { silent, testLifetime } from './node-fixtures.js';
import { taskSpec } from './object-fixtures.js';
import { checkHistory, create } from './plane-checks.js';
import { obedient, openPlane } from './plane-fixtures.js';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

for (const jumpMs of [hourMs, -hourMs]) {
  const title = jumpMs > 0 ? 'an hour forward' : 'an hour back';

  t.test(`F11: ${title}: what runs is left alone`, async t => {
    await using plane = await openPlane();
    await create(plane, { mode: { kind: 'replicated', replicas: 6 } });
    const before = plane.running().map(task => task.id);
    plane.clock.jump(jumpMs);
    await plane.clock.advance(120_000);
    await plane.settle();
    plane.clock.jump(-jumpMs);
    await plane.clock.advance(120_000);
    await plane.settle();
    t.strictSame(
      plane.running().map(task => task.id),
      before,
    );
    checkHistory(t, plane);
  });

  t.test(`F11: ${title} while a restart waits: it comes after its delay at the latest`, async t => {
    await using plane = await openPlane();
    const restart = { condition: 'any', attemptsMax: 0, windowMs: 0, delayMs: 5_000, delayMaxMs: 60_000 } as const;
    await create(plane, { mode: { kind: 'replicated', replicas: 1 }, task: taskSpec({ restart }) });
    const [first] = plane.running();
    plane.setAgent(task => (task.id === first?.id ? undefined : obedient(task)));
    await plane.report(first?.id ?? '', { state: 'failed', error: 'exit code 1' });
    await plane.settle();
    t.equal(plane.running().length, 0, 'it waits');
    plane.clock.jump(jumpMs);
    await plane.clock.advance(5_100);
    await plane.settle();
    t.equal(plane.running().length, 1, 'it waited five seconds, not an hour');
    checkHistory(t, plane);
  });

  t.test(`F11: ${title}: of a hundred certificates none is renewed before its time`, async t => {
    const clock = makeFakeClock(100 * dayMs);
    const lifetime = testLifetime();
    t.teardown(() => lifetime[Symbol.asyncDispose]());
    let asked = 0;
    for (let node = 0; node < 100; node += 1) {
      openRenewal({
        clock,
        random: { bytes: size => new Uint8Array(size), fraction: () => node / 100 },
        log: silent,
        lifetime,
        identity: holdIdentity({
          clusterId: asId('c'),
          nodeId: asId('n'),
          role: 'worker',
          certificate: '',
          key: '',
          root: '',
          validFromMs: 99 * dayMs,
          validUntilMs: 189 * dayMs,
        }),
        renew: async () => {
          asked += 1;
          throw new CoveyError('no-connection', 'Cannot reach a manager');
        },
        recover: () => Promise.reject(new CoveyError('bug', 'Cannot recover what has not expired')),
        save: async () => undefined,
      });
    }
    await clock.advance(dayMs);
    clock.jump(jumpMs);
    await clock.advance(2 * hourMs);
    clock.pause(45_000);
    await clock.advance(2 * hourMs);
    t.equal(asked, 0);
  });
}
