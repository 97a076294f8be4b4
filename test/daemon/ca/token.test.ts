import t from 'tap';
import {
  digestOf,
  findToken,
  hashSecret,
  parseToken,
  renderToken,
  tokenRefusal,
} from '../../../src/daemon/ca/token.js';
import { codeOf } from '../../../src/errors.js';
import type { JoinToken } from '../../../src/gen/types.js';
import { asId } from '../../../src/ids.js';

const secret = 'abcdefghijklmnopqrstuvwxy';

const token: JoinToken = {
  id: asId('t1'),
  meta: { version: 1, createdAtMs: 0, updatedAtMs: 0, owner: '' },
  role: 'worker',
  secretHash: hashSecret(secret),
  expiresAtMs: 0,
  usesMax: 0,
  uses: 0,
  labels: {},
};

t.test('a token is the digest of the root and a secret, 50 and 25 characters of base 36', async t => {
  for (const byte of [0, 1, 127, 255]) {
    const rootDigest = new Uint8Array(32).fill(byte);
    const text = renderToken({ rootDigest, secret });
    t.match(text, /^CVTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    t.same(parseToken(` ${text}\n`), { rootDigest, secret, returns: false });
    const own = renderToken({ rootDigest, secret, returns: true });
    t.match(own, /^CVNODE-1-/, 'one that brings a node back is told apart');
    t.same(parseToken(own), { rootDigest, secret, returns: true });
  }
});

t.test('what is no token is refused before anything is sent anywhere', async t => {
  const good = renderToken({ rootDigest: digestOf(new Uint8Array(3)), secret });
  const bad = {
    empty: '',
    'cut short': good.slice(0, -1),
    'another version': good.replace('CVTKN-1', 'CVTKN-2'),
    'of another system': good.replace('CVTKN', 'SWMTKN'),
    'upper case': good.toUpperCase(),
    'a digest of more than 256 bits': `CVTKN-1-${'z'.repeat(50)}-${secret}`,
  };
  for (const [name, text] of Object.entries(bad)) {
    t.throws(() => parseToken(text), { code: 'bad-token' }, name);
  }
});

t.test('a token is found by its secret alone', async t => {
  const other = { ...token, id: asId<JoinToken['id']>('t2'), secretHash: hashSecret('other') };
  t.equal(findToken([other, token], secret)?.id, 't1');
  t.equal(findToken([other], secret), undefined);
});

t.test('why a token may not be used', async t => {
  const cases: readonly [string, JoinToken | undefined, string | undefined][] = [
    ['good without limits', token, undefined],
    ['unknown', undefined, 'bad-token'],
    ['ends later', { ...token, expiresAtMs: 1_001 }, undefined],
    ['ends now', { ...token, expiresAtMs: 1_000 }, 'token-expired'],
    ['one use left', { ...token, usesMax: 2, uses: 1 }, undefined],
    ['no use left', { ...token, usesMax: 2, uses: 2 }, 'token-used-up'],
  ];
  for (const [name, given, code] of cases) {
    const refusal = tokenRefusal(given, 1_000);
    t.equal(refusal === undefined ? undefined : codeOf(refusal), code, name);
  }
});
