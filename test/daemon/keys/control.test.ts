/**
 * Autolock as people wish for it, and who sees the key.
 */
import t from 'tap';
import { planUnlock, withoutKeys } from '../../../src/daemon/keys/control.js';
import type { UnlockKeys } from '../../../src/gen/types.js';
import { clusterObject } from '../object-fixtures.js';

const keyOf = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const made = { key: keyOf(9), madeAtMs: 90 };
const present: UnlockKeys = {
  key: keyOf(4),
  madeAtMs: 40,
  former: [3, 2, 1].map(fill => ({ key: keyOf(fill), madeAtMs: fill })),
};

const formerAfter = [4, 3, 2].map(fill => ({ key: keyOf(fill), madeAtMs: fill === 4 ? 40 : fill }));

t.test('what asks for what is so already changes nothing, and keeps the key', async t => {
  t.equal(planUnlock(present, { autolock: true }, made), present);
  t.equal(planUnlock(present, {}, made), present);
  t.equal(planUnlock(undefined, { autolock: false }, made), undefined);
});

t.test(
  'turned on it has a new key; turned off none, and the key before is kept for managers that are away',
  async t => {
    t.same(planUnlock(undefined, { autolock: true }, made), { ...made, former: [] });
    const off = planUnlock(present, { autolock: false }, made);
    t.same(
      off,
      { key: new Uint8Array(0), madeAtMs: 90, former: formerAfter },
      'a manager that is away still needs one of those',
    );
    t.equal(planUnlock(off, { autolock: false }, made), off);
    t.throws(() => planUnlock(off, { rotateUnlockKey: true }, made), { code: 'not-autolocked' });
    t.same(planUnlock(off, { autolock: true }, made), { ...made, former: formerAfter });
    t.equal(withoutKeys({ ...clusterObject, unlock: off }).unlock, undefined, 'it shows as off');
  },
);

t.test('rotated, the key before is kept for managers that are away; three at most', async t => {
  const next = planUnlock(present, { rotateUnlockKey: true }, made);
  t.same(next, { ...made, former: formerAfter });
  t.throws(() => planUnlock(undefined, { rotateUnlockKey: true }, made), { code: 'not-autolocked' });
  t.throws(() => planUnlock(present, { autolock: false, rotateUnlockKey: true }, made), { code: 'bad-argument' });
});

t.test('nobody sees a key of the cluster in the cluster', async t => {
  const shown = withoutKeys({ ...clusterObject, rootKey: keyOf(8), unlock: present });
  t.same(shown.rootKey, new Uint8Array(0));
  t.same(shown.unlock, { key: new Uint8Array(0), madeAtMs: 40, former: [] }, 'that there is one, and how old it is');
});
