/** Credentials in the form of Docker's config.json: whose they are, and which of them another program keeps. */
import { Buffer } from 'node:buffer';
import t from 'tap';
import {
  findCredential,
  parseCredentials,
  pickCredentials,
  renderCredentials,
} from '../../../../src/tasks/image/registry/credentials.js';

const auth = (user: string, password: string): object => ({
  auth: Buffer.from(`${user}:${password}`).toString('base64'),
});
const parse = (file: object) => parseCredentials('/auth.json', JSON.stringify(file));

t.test('the longest part of a name that has a credential decides', async t => {
  const found = parse({
    auths: { 'https://index.docker.io/v1/': auth('d', '1'), 'r:5/team': auth('t', '2'), 'r:5': auth('r', '3') },
  });
  for (const [host, repository, username] of [
    ['docker.io', 'library/x', 'd'],
    ['r:5', 'team/x', 't'],
    ['r:5', 'teams/x', 'r'],
    ['other', 'x', undefined],
  ] as const)
    t.match(
      findCredential(found, host, repository) ?? {},
      username === undefined ? {} : { username },
      `${host}/${repository}`,
    );
  t.equal(findCredential(found, 'other', 'x'), undefined);
});

t.test('where a helper keeps the credential that is said, instead of asking the registry without one', async t => {
  const found = parse({
    credsStore: 'desktop',
    credHelpers: { 'cloud.example': 'ecr-login', 'both.example': 'pass' },
    auths: { 'kept.example': {}, 'both.example': auth('b', '1'), 'own.example': auth('o', '2') },
  });
  for (const [host, helper] of [
    ['cloud.example', 'ecr-login'],
    ['kept.example', 'desktop'],
  ] as const) {
    t.throws(
      () => findCredential(found, host, 'team/x'),
      { code: 'credential-helper', state: new RegExp(`"${helper}"`), hint: `covey login ${host}` },
      host,
    );
  }
  t.match(findCredential(found, 'own.example', 'x'), { username: 'o' }, 'what is in the file is used');
  t.match(findCredential(found, 'both.example', 'x'), { username: 'b' }, 'and wins over a helper');
  t.equal(findCredential(found, 'unknown.example', 'x'), undefined, 'nobody logged in there');
  t.same(parse({ auths: { 'empty.example': {} } }).size, 0, 'without a store an empty entry is none');
});

t.test('a login replaces what a helper had, and keeps all else of the file', async t => {
  const before = JSON.stringify({ credHelpers: { 'cloud.example': 'ecr-login' }, auths: {}, detachKeys: 'ctrl-x' });
  const credential = { kind: 'password', username: 'me', password: 'secret' } as const;
  const after = renderCredentials(before, 'cloud.example', credential);
  t.match(findCredential(parseCredentials('/auth.json', after), 'cloud.example', 'x'), credential);
  t.match(JSON.parse(after), { detachKeys: 'ctrl-x', credHelpers: { 'cloud.example': 'ecr-login' } });
});

t.test('what is picked for images is for their registries alone, a person before the node', async t => {
  const person = parse({
    credHelpers: { 'cloud.example': 'ecr-login', 'far.example': 'pass' },
    auths: {
      'https://index.docker.io/v1/': auth('d', '1'),
      'r:5': auth('mine', '2'),
      'unasked.example': auth('u', '9'),
    },
  });
  const machine = parse({
    auths: { 'r:5': auth('machine', '3'), 's:5/team': auth('s', '4'), 'cloud.example': auth('c', '5') },
  });
  const image = (registry: string, repository: string) => ({ registry, repository });
  const images = [
    image('docker.io', 'library/x'),
    image('r:5', 'a'),
    image('s:5', 'team/b'),
    image('cloud.example', 'c'),
  ];
  const { text, missing } = pickCredentials([person, machine], [...images, image('open.example', 'd')]);
  t.strictSame(Object.keys(JSON.parse(text).auths).sort(), [
    'cloud.example',
    'https://index.docker.io/v1/',
    'r:5',
    's:5/team',
  ]);
  const again = parseCredentials('/picked', text);
  t.match(findCredential(again, 'r:5', 'a'), { username: 'mine', password: '2' });
  t.match(findCredential(again, 'cloud.example', 'c'), { username: 'c' }, 'the node has what a helper has');
  t.equal(findCredential(again, 's:5', 'other'), undefined, 'a credential for a part of a registry stays one');
  t.strictSame(missing, ['open.example']);
  t.throws(() => pickCredentials([person, machine], [image('far.example', 'x')]), { code: 'credential-helper' });
  t.strictSame(JSON.parse(pickCredentials([], images).text), { auths: {} });
});
