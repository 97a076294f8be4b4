import t from 'tap';
import { holdIdentity, type NodeIdentity } from '../../../src/daemon/ca/identity.js';
import { openRenewal, planRenewal } from '../../../src/daemon/ca/renewal.js';
import { CoveyError } from '../../../src/errors.js';
import { asId } from '../../../src/ids.js';
import { makeFakeClock } from '../../fake-clock.js';
import { silent, testLifetime } from '../node-fixtures.js';

const dayMs = 86_400_000;

t.test('a certificate is renewed between 50 and 80 % of its life', async t => {
  const life = { validFromMs: 1_000, validUntilMs: 101_000 };
  t.equal(planRenewal({ ...life, fraction: 0 }), 51_000);
  t.equal(planRenewal({ ...life, fraction: 0.5 }), 66_000);
  t.equal(planRenewal({ ...life, fraction: 1 }), 81_000);
});

t.test('a renewal that fails is tried again after 5 s, 10 s, and so on up to an hour', async t => {
  const clock = makeFakeClock(0);
  const lifetime = testLifetime();
  const identity: NodeIdentity = {
    clusterId: asId('c'),
    nodeId: asId('n'),
    role: 'worker',
    certificate: '',
    key: '',
    root: '',
    validFromMs: 0,
    validUntilMs: 90 * dayMs,
  };
  const asked: number[] = [];
  openRenewal({
    clock,
    random: { bytes: size => new Uint8Array(size), fraction: () => 0.5 },
    log: silent,
    lifetime,
    identity: holdIdentity(identity),
    renew: async () => {
      asked.push(Math.round(clock.wallMs() / 1_000));
      throw new CoveyError('no-connection', 'Cannot reach a manager');
    },
    recover: async () => {
      throw new CoveyError('bug', 'Cannot recover what has not expired');
    },
    save: async () => undefined,
  });
  const dueS = (90 * dayMs * 0.65) / 1_000;
  await clock.advance(dueS * 1_000 - 1);
  t.same(asked, []);
  // Making the key and its request takes real time.
  const rest = async (): Promise<void> => {
    for (let turn = 0; turn < 10; turn += 1) await new Promise(resolve => setTimeout(resolve, 2));
    await clock.advance(0);
  };
  for (const [count, waitMs] of [
    [1, 1],
    [2, 5_000],
    [3, 10_000],
    [4, 20_000],
  ] as const) {
    await clock.advance(waitMs - 1);
    await rest();
    t.equal(asked.length, count - 1, `not before ${waitMs} ms`);
    await clock.advance(1);
    for (let turn = 0; asked.length < count && turn < 500; turn += 1) await rest();
  }
  t.same(asked, [dueS, dueS + 5, dueS + 15, dueS + 35]);
  await lifetime[Symbol.asyncDispose]();
});
