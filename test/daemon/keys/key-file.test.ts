/**
 * Keys as people hold them, and keys.json through all its changes: what was sealed opens with the right key and with no other.
 */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import {
  findKek,
  newKeyFile,
  parseKeyFile,
  renderKeyFile,
  ringOf,
  sealText,
  unlockKek,
  unsealText,
  withLock,
  withNewKey,
  withoutUnused,
} from '../../../src/daemon/keys/key-file.js';
import { makeUnlockKey, parseUnlockKey, renderUnlockKey, unlockKeyId } from '../../../src/daemon/keys/unlock-key.js';

const making = { random: (size: number) => new Uint8Array(randomBytes(size)), nowMs: 1_000 };
const keyOf = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

/** A file with two keys of the log, open. */
function openFile() {
  const file = newKeyFile(making);
  const kek = findKek(file) ?? new Uint8Array();
  return withNewKey(withNewKey(file, kek, making).file, kek, making);
}

t.test('an unlock key survives being written down; slips are told apart from other keys', async t => {
  const key = makeUnlockKey(making.random);
  const text = renderUnlockKey(key);
  t.match(text, /^CVKEY-1-[0-9a-z]{50}-[0-9a-z]{4}$/);
  t.same(parseUnlockKey(` ${text}\n`), key);
  const slips: readonly (readonly [string, RegExp])[] = [
    ['', /it has 0 characters/],
    [text.slice(0, -1), /an unlock key is CVKEY-1-/],
    [text.toUpperCase(), /an unlock key is CVKEY-1-/],
    [`CVKEY-1-${'z'.repeat(50)}-0000`, /mistyped/],
    [
      text
        .replace(/-(.)/u, (_, digit: string) => `-${digit}`)
        .replace(/.(?=-....$)/u, last => (last === '0' ? '1' : '0')),
      /mistyped/,
    ],
  ];
  for (const [slip, state] of slips) t.throws(() => parseUnlockKey(slip), { code: 'unlock-key-wrong', state }, slip);
  t.match(unlockKeyId(key), /^[0-9a-f]{8}$/);
  t.not(unlockKeyId(keyOf(1)), unlockKeyId(keyOf(2)));
});

t.test('each key of the log is new, and all of them open', async t => {
  const { file, ring, kek } = openFile();
  t.equal(ring.currentId, 2);
  t.same([...ring.keys.keys()], [1, 2]);
  t.notSame(ring.keys.get(1), ring.keys.get(2));
  t.same(ringOf(parseKeyFile(renderKeyFile(file)), kek), ring, 'through the file');
});

t.test('locked: nothing in the file opens anything; the unlock key, and no other, opens all', async t => {
  const before = openFile();
  const made = withLock(before.file, before.kek, { ...making, unlock: { key: keyOf(7), madeAtMs: 5 } });
  const file = parseKeyFile(renderKeyFile(made.file));
  t.equal(findKek(file), undefined);
  t.equal(unlockKek(file, keyOf(8)), undefined);
  const kek = unlockKek(file, keyOf(7));
  if (kek === undefined) throw new Error('it does not open');
  t.same(ringOf(file, kek), made.ring);
  t.same([...made.ring.keys].slice(0, 2), [...before.ring.keys], 'what was written before is still readable');
  t.equal(made.ring.currentId, 3, 'and what is written from now on is under a new key');
});

t.test('what lay in the clear before a lock opens nothing afterwards', async t => {
  const before = openFile();
  const made = withLock(before.file, before.kek, { ...making, unlock: { key: keyOf(7), madeAtMs: 5 } });
  t.throws(() => ringOf(made.file, before.kek), { code: 'state-damaged' });
  const off = withLock(made.file, made.kek, { ...making, unlock: undefined });
  t.same(findKek(off.file), off.kek, 'turned off, it opens by itself');
  t.throws(() => ringOf(off.file, made.kek), { code: 'state-damaged' });
  const on = withLock(off.file, off.kek, { ...making, unlock: { key: keyOf(7), madeAtMs: 9 } });
  t.throws(() => ringOf(on.file, off.kek), { code: 'state-damaged' }, 'on again, with the same key even');
});

t.test('parts of another file, of another epoch or for another purpose do not open', async t => {
  const one = openFile();
  const other = openFile();
  const swapped = { ...one.file, keys: [...one.file.keys.slice(0, 1), ...other.file.keys.slice(1)] };
  t.throws(() => ringOf(swapped, one.kek), { code: 'state-damaged', state: /key 2/ });
  const [first, second] = one.file.keys;
  if (first === undefined || second === undefined) throw new Error('too few keys');
  const exchanged = { ...one.file, keys: [{ ...first, sealed: second.sealed }, second] };
  t.throws(() => ringOf(exchanged, one.kek), { code: 'state-damaged', state: /key 1/ });
  const unlock = { key: keyOf(7), madeAtMs: 5 };
  const locked = withLock(one.file, one.kek, { ...making, unlock });
  t.equal(unlockKek({ ...locked.file, epoch: 9 }, keyOf(7)), undefined);
});

t.test('keys that nothing is written under go; the current one stays', async t => {
  const { file, kek } = openFile();
  const three = withNewKey(file, kek, making).file;
  t.same(
    withoutUnused(three, [2]).keys.map(({ id }) => id),
    [2, 3],
  );
  t.same(
    withoutUnused(three, []).keys.map(({ id }) => id),
    [3],
  );
  t.equal(withNewKey(withoutUnused(three, []), kek, making).ring.currentId, 4, 'no number is given twice');
});

t.test('a private key is sealed and opened, and not by another key', async t => {
  const sealed = sealText(keyOf(1), 'PEM', making.random);
  t.equal(unsealText(keyOf(1), sealed), 'PEM');
  t.equal(unsealText(keyOf(2), sealed), undefined);
  t.equal(unsealText(keyOf(1), sealed.subarray(0, 10)), undefined);
});

t.test('a file that is none is refused by name, and one of a newer covey too', async t => {
  const text = renderKeyFile(openFile().file);
  for (const broken of [
    '',
    '{}',
    'null',
    text.slice(0, -20),
    text.replace('"keys": [', '"keys": [3,'),
    text.replace('open', 'ajar'),
  ])
    t.throws(() => parseKeyFile(broken), { code: 'state-damaged' }, broken.slice(0, 30));
  t.throws(() => parseKeyFile(text.replace('"version": 1', '"version": 2')), { code: 'newer-schema' });
});
