/** How a client proves itself after a 401, and what it makes of the realm's answer. */
import { Buffer } from 'node:buffer';
import t from 'tap';
import { parseChallenges } from '../../../../src/tasks/image/registry/challenge.js';
import type { Credential } from '../../../../src/tasks/image/registry/credentials.js';
import { parseToken, planProof } from '../../../../src/tasks/image/registry/tokens.js';

const bearer = 'Bearer realm="https://auth.site/token",service="registry.site"';
const password = { kind: 'password', username: 'robot', password: 'secret' } as const;
const basic = `Basic ${Buffer.from('robot:secret').toString('base64')}`;

function plan(
  header: string,
  credential?: Credential,
  more: {
    readonly insecure?: boolean;
    readonly url?: string;
    readonly scope?: string;
    readonly offline?: boolean;
  } = {},
) {
  const plain = { host: 'registry.site', repository: 'team/app', mirrorOf: undefined, ca: '', cert: '', key: '' };
  return planProof(parseChallenges(header), {
    endpoint: { ...plain, insecure: more.insecure ?? false, credential },
    url: new URL(more.url ?? 'https://registry.site/v2/team/app/manifests/1'),
    scope: 'scope' in more ? more.scope : 'repository:team/app:pull',
    offline: more.offline,
  });
}

t.test('a token is asked for anonymously, for a password, or for an identity token', async t => {
  const anonymous = plan(bearer);
  t.match(anonymous, { kind: 'token', request: { method: 'GET', headers: {} } });
  if (anonymous.kind !== 'token') throw new Error(anonymous.kind);
  const { url } = anonymous.request;
  t.equal(url.origin + url.pathname, 'https://auth.site/token');
  t.strictSame(Object.fromEntries(url.searchParams), { service: 'registry.site', scope: 'repository:team/app:pull' });

  const known = plan(bearer, password);
  if (known.kind !== 'token') throw new Error(known.kind);
  t.strictSame(known.request.headers, { authorization: basic });
  t.equal(known.request.url.searchParams.get('account'), 'robot');
  t.equal(known.request.url.searchParams.has('offline_token'), false, 'a pull needs no identity token');

  const login = plan(bearer, password, { offline: true });
  if (login.kind !== 'token') throw new Error(login.kind);
  t.equal(login.request.url.searchParams.get('offline_token'), 'true');

  const identity = plan(bearer, { kind: 'identity', username: 'robot', token: 'refresh' });
  if (identity.kind !== 'token') throw new Error(identity.kind);
  t.equal(identity.request.method, 'POST');
  t.equal(identity.request.url.search, '', 'the identity token is in no URL, which logs keep');
  t.strictSame(Object.fromEntries(new URLSearchParams(identity.request.body)), {
    service: 'registry.site',
    scope: 'repository:team/app:pull',
    grant_type: 'refresh_token',
    client_id: 'covey',
    refresh_token: 'refresh',
  });
});

t.test('the scope of the challenge wins over the one that covey would ask for', async t => {
  const asked = plan(`${bearer},scope="repository:other:pull"`);
  t.match(asked, { kind: 'token' });
  t.equal(asked.kind === 'token' && asked.request.url.searchParams.get('scope'), 'repository:other:pull');
});

t.test('a bearer token and a password are sent as they are where that is asked for', async t => {
  t.strictSame(plan(bearer, { kind: 'bearer', token: 'abc' }), { kind: 'header', authorization: 'Bearer abc' });
  t.strictSame(plan('Basic realm="x"', password), { kind: 'header', authorization: basic });
  t.match(plan('Basic realm="x"'), { kind: 'none', because: /a user and a password/ });
  t.match(plan('Basic realm="x"', { kind: 'identity', username: 'robot', token: 'x' }), { kind: 'none' });
  t.match(plan('Negotiate'), { kind: 'none', because: /no way to prove oneself/ });
});

t.test('nothing is sent to a realm that is no address, or on another host without TLS', async t => {
  t.match(plan('Bearer realm="nowhere"', password), { kind: 'none', because: /no address/ });
  t.match(plan('Bearer realm="file:///etc/passwd"', password), { kind: 'none' });
  t.match(plan('Bearer realm="http://evil.site/token"', password), { kind: 'none', because: /without TLS/ });
  const plain = { insecure: true, url: 'http://registry.site/v2/' };
  t.match(plan('Bearer realm="http://registry.site/token"', password, plain), { kind: 'token' });
  t.match(plan('Bearer realm="http://evil.site/token"', password, plain), { kind: 'none' });
});

t.test('an answer of the realm gives a token, its life, and perhaps an identity token', async t => {
  const read = (value: object) => parseToken('the token', JSON.stringify(value));
  t.strictSame(read({ token: 'a' }), { authorization: 'Bearer a', lifeMs: 60_000 });
  t.strictSame(read({ access_token: 'a', expires_in: 300 }), { authorization: 'Bearer a', lifeMs: 300_000 });
  t.strictSame(
    read({ token: 'a', expires_in: 1 }),
    { authorization: 'Bearer a', lifeMs: 10_000 },
    'not asked each time',
  );
  t.match(read({ token: 'a', refresh_token: 'r' }), { refreshToken: 'r' });
  for (const value of [{}, { token: '' }, { token: 'a b' }, { token: 'a\nx: y' }, { token: 5 }]) {
    t.throws(() => read(value), { code: 'registry-answer' }, JSON.stringify(value));
  }
  t.throws(() => parseToken('the token', '<html>'), { code: 'registry-answer' });
});
