/**
 * Registries that lie, loop, stall and lead astray: each is refused with its reason, nothing is stored, nothing is left, and no
 * credential goes where it does not belong.
 */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { codeOf, messageOf } from '../../../src/errors.js';
import { tarOf } from './archives.js';
import { flipped, type Hook, isBlob, layerOf, lies } from './lying-registries.js';
import { type Mock, openMock, packed, refuse } from './mock-registry.js';
import { contents, isRoot, openTestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const layer = tarOf([{ path: 'file', data: randomBytes(200_000) }]);
const quick = { delayFirstMs: 1, delayMaxMs: 10, giveUpMs: 20_000 };
const impatient = { ...quick, giveUpMs: 400, windowMs: 150, windowMinBytes: 4_096 };
const basic = `Basic ${Buffer.from('robot:secret').toString('base64')}`;

t.test('what a registry says wrong is refused, and nothing of it stays', { skip, timeout: 600_000 }, async t => {
  await using patient = await openTestStore({ patience: quick });
  await using short = await openTestStore({ patience: impatient });
  for (const { title, hook, code, endless, ...more } of lies) {
    const made = endless === true ? short : patient;
    const before = contents(made.directory);
    await using mock = await openMock({ image: packed([layer]), hook });
    const image = `${mock.host}/${'image' in more && more.image !== undefined ? more.image : 'app:1'}`;
    fs.writeFileSync(
      join(made.scratch, 'auth.json'),
      JSON.stringify({ auths: { [mock.host]: { auth: basic.slice(6) } } }),
    );
    let found = 'it was taken';
    let why = '';
    try {
      for await (const _ of made.store.pullImage({ image, platform: '' }, AbortSignal.timeout(20_000)));
    } catch (error) {
      found = codeOf(error);
      why = messageOf(error);
    }
    t.equal(found, code, `${title}: ${why}`);
    t.ok(mock.requests.length < 200, `${title}: ${mock.requests.length} requests`);
    await made.store.prune({ all: true, untilMs: 0 });
    t.same(contents(made.directory), before, `${title}: nothing stays`);
  }
});

/** A registry that wants a token, and the realm that gives it. */
function tokenRegistry(realm: () => string): Hook {
  return (request, response) => {
    const authorization = request.headers.authorization ?? '';
    if (authorization === 'Bearer good') return false;
    refuse(response, 401, 'UNAUTHORIZED', 'who are you', {
      'www-authenticate': `Bearer realm="${realm()}",service="here",scope="repository:app:pull"`,
    });
    return true;
  };
}

const authFor = (host: string): string => JSON.stringify({ auths: { [host]: { auth: basic.slice(6) } } });

async function pull(made: Awaited<ReturnType<typeof openTestStore>>, image: string): Promise<string> {
  try {
    for await (const _ of made.store.pullImage({ image, platform: '' }, AbortSignal.timeout(20_000)));
    return 'pulled';
  } catch (error) {
    return codeOf(error);
  }
}

const authorizations = (mock: Mock): readonly string[] => [...new Set(mock.requests.map(seen => seen.authorization))];

t.test(
  'a token is fetched once, with the credential, and used for all; an expired one is renewed once',
  { skip },
  async t => {
    let tokens = 0;
    let revokedAt = Number.POSITIVE_INFINITY;
    await using mock = await openMock({
      image: packed([layer, tarOf([{ path: 'two' }])]),
      hook: (request, response, { host }) => {
        if ((request.url ?? '').startsWith('/token')) {
          tokens += 1;
          response.end(JSON.stringify({ token: 'good', expires_in: 300 }));
          return true;
        }
        revokedAt -= 1;
        if (revokedAt === 0) {
          refuse(response, 401, 'UNAUTHORIZED', 'expired', {
            'www-authenticate': `Bearer realm="http://${host}/token"`,
          });
          return true;
        }
        return tokenRegistry(() => `http://${host}/token`)(request, response, {
          nth: 1,
          layout: { files: new Map(), manifests: [] },
          host,
        });
      },
    });
    await using made = await openTestStore({ patience: quick });
    fs.writeFileSync(join(made.scratch, 'auth.json'), authFor(mock.host));
    t.equal(await pull(made, `${mock.host}/app:1`), 'pulled');
    t.equal(tokens, 1);
    const asked = mock.requests.find(({ url }) => url.startsWith('/token'));
    t.match(asked, { url: /service=here.*scope=repository%3Aapp%3Apull.*account=robot/, authorization: basic });
    t.notOk(mock.requests.some(({ url, authorization }) => !url.startsWith('/token') && authorization === basic));
    await made.store.remove(`${mock.host}/app:1`);
    revokedAt = 4;
    t.equal(await pull(made, `${mock.host}/app:1`), 'pulled');
    t.equal(tokens, 3, 'one for the pull, one for the renewal');
  },
);

t.test('a realm on another host without TLS gets nothing', { skip }, async t => {
  await using mock = await openMock({
    image: packed([layer]),
    hook: tokenRegistry(() => 'http://elsewhere.invalid/token'),
  });
  await using made = await openTestStore({ patience: quick });
  fs.writeFileSync(join(made.scratch, 'auth.json'), authFor(mock.host));
  t.equal(await pull(made, `${mock.host}/app:1`), 'registry-denied');
  t.same(authorizations(mock), ['']);
});

t.test('a redirect to another host takes no proof along, and is followed', { skip }, async t => {
  await using store = await openMock({ image: packed([layer]) });
  await using mock = await openMock({
    image: packed([layer]),
    hook: (request, response) => {
      if (request.headers.authorization !== basic) {
        refuse(response, 401, 'UNAUTHORIZED', 'who', { 'www-authenticate': 'Basic realm="x"' });
        return true;
      }
      if (!isBlob(request.url)) return false;
      response.writeHead(307, { location: `http://${store.host}${request.url}` });
      response.end();
      return true;
    },
  });
  await using made = await openTestStore({ patience: quick });
  fs.writeFileSync(join(made.scratch, 'auth.json'), authFor(mock.host));
  t.equal(await pull(made, `${mock.host}/app:1`), 'pulled');
  t.ok(store.requests.length > 0);
  t.same(authorizations(store), [''], 'no credential at the other host');
});

t.test(
  'mirrors come first and in order, get no credential of the registry, and are told whose they are',
  { skip, timeout: 600_000 },
  async t => {
    await using origin = await openMock({
      image: packed([layer]),
      hook: (request, response) => {
        if (request.headers.authorization === basic) return false;
        refuse(response, 401, 'UNAUTHORIZED', 'who', { 'www-authenticate': 'Basic realm="x"' });
        return true;
      },
    });
    const wantsProof: Hook = (_request, response) => {
      refuse(response, 401, 'UNAUTHORIZED', 'who', { 'www-authenticate': 'Basic realm="x"' });
      return true;
    };
    const liesAboutLayers = layerOf((bytes, _q, response) => response.end(flipped(bytes)));
    for (const [title, second, servedBy] of [
      ['the second mirror serves', undefined, 'second'],
      ['a mirror that lies about a layer is left for the registry', liesAboutLayers, 'origin'],
    ] as const) {
      await using one = await openMock({ hook: wantsProof });
      await using two = await openMock({ image: packed([layer]), ...(second === undefined ? {} : { hook: second }) });
      const rules = `registries:\n  - prefix: ${origin.host}\n    mirrors:\n      - location: ${one.host}/hub\n      - location: ${two.host}/hub\n`;
      await using made = await openTestStore({ patience: quick, rules });
      fs.writeFileSync(join(made.scratch, 'auth.json'), authFor(origin.host));
      const before = origin.requests.length;
      t.equal(await pull(made, `${origin.host}/team/app:1`), 'pulled', title);
      t.match(one.requests[0]?.url, `/v2/hub/team/app/manifests/1?ns=${encodeURIComponent(origin.host)}`);
      for (const mirror of [one, two]) t.same(authorizations(mirror), [''], `${title}: no credential at a mirror`);
      t.equal(origin.requests.length > before, servedBy === 'origin', title);
      t.same(made.store.list()[0]?.names, [`${origin.host}/team/app:1`]);
    }
  },
);

t.test('a blocked registry is not even asked', { skip }, async t => {
  await using mock = await openMock({ image: packed([layer]) });
  await using made = await openTestStore({ rules: `registries:\n  - { prefix: ${mock.host}, blocked: true }\n` });
  t.equal(await pull(made, `${mock.host}/app:1`), 'registry-blocked');
  t.same(mock.requests, []);
});

t.test('a credential is kept when the registry takes it, and readable by root alone', { skip }, async t => {
  await using mock = await openMock({
    hook: (request, response) => {
      if (request.headers.authorization === basic) return false;
      refuse(response, 401, 'UNAUTHORIZED', 'who', { 'www-authenticate': 'Basic realm="x"' });
      return true;
    },
  });
  await using made = await openTestStore({ patience: quick });
  const path = join(made.scratch, 'auth.json');
  const signal = AbortSignal.timeout(10_000);
  const login = (password: string) => made.store.login({ registry: mock.host, username: 'robot', password }, signal);
  await t.rejects(login('wrong'), { code: 'registry-denied' });
  t.notOk(fs.existsSync(path));
  await login('secret');
  t.equal(fs.statSync(path).mode & 0o777, 0o600);
  t.match(JSON.parse(fs.readFileSync(path, 'utf8')), { auths: { [mock.host]: { auth: basic.slice(6) } } });
  t.equal(await made.store.logout(mock.host), true);
  t.equal(await made.store.logout(mock.host), false);
  t.same(JSON.parse(fs.readFileSync(path, 'utf8')), { auths: {} });
});
