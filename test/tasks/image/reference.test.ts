/** Image names: the table of Docker's equivalences, and what is refused. */
import t from 'tap';
import { codeOf } from '../../../src/errors.js';
import { familiarName, fullName, parseReference, renderName } from '../../../src/tasks/image/reference.js';

const digest = `sha256:${'a1'.repeat(32)}`;

const same: readonly (readonly [text: string, full: string, familiar: string])[] = [
  ['hello', 'docker.io/library/hello:latest', 'hello:latest'],
  ['hello:1', 'docker.io/library/hello:1', 'hello:1'],
  ['library/hello:1', 'docker.io/library/hello:1', 'hello:1'],
  ['docker.io/hello:1', 'docker.io/library/hello:1', 'hello:1'],
  ['docker.io/library/hello:1', 'docker.io/library/hello:1', 'hello:1'],
  ['index.docker.io/library/hello:1', 'docker.io/library/hello:1', 'hello:1'],
  ['team/app:2', 'docker.io/team/app:2', 'team/app:2'],
  ['library/team/app:2', 'docker.io/library/team/app:2', 'library/team/app:2'],
  ['localhost/x', 'localhost/x:latest', 'localhost/x:latest'],
  ['localhost:5000/x', 'localhost:5000/x:latest', 'localhost:5000/x:latest'],
  ['ghcr.io/a/b_c/d__e/f-g.h:V1.0', 'ghcr.io/a/b_c/d__e/f-g.h:V1.0', 'ghcr.io/a/b_c/d__e/f-g.h:V1.0'],
  ['[2001:db8::1]:5000/x:1', '[2001:db8::1]:5000/x:1', '[2001:db8::1]:5000/x:1'],
  ['Registry/x:1', 'Registry/x:1', 'Registry/x:1'],
];

t.test('texts that Docker takes for one image have one full name and one familiar name', async t => {
  for (const [text, full, familiar] of same) {
    t.equal(fullName(text), full, text);
    t.equal(familiarName(full), familiar, full);
    t.equal(fullName(familiar), full, `${familiar} again`);
  }
});

t.test('a digest is kept beside name and tag', async t => {
  t.same(parseReference(`hello:1@${digest}`), { registry: 'docker.io', repository: 'library/hello', tag: '1', digest });
  t.same(parseReference(`hello@${digest}`).tag, undefined);
  t.equal(renderName(parseReference(`hello@${digest}`)), 'docker.io/library/hello');
});

t.test('a digest of another algorithm is refused with what to use instead', async t => {
  t.throws(() => parseReference(`hello@sha512:${'a1'.repeat(64)}`), {
    code: 'image-bad-name',
    message: /digests are sha256 here, and "sha512" is another algorithm/,
  });
});

const bad: readonly string[] = [
  '',
  ':1',
  'hello:',
  '/hello',
  'hello/',
  'a//b',
  'Hello',
  'hello:.x',
  'hello:-x',
  `hello:${'x'.repeat(129)}`,
  'hel lo',
  '-x/hello.',
  'a/../b',
  '../x',
  'a/.b',
  'a___b',
  'a..b',
  'hello@sha256:123',
  'hello@md5:abc',
  `hello@${digest.toUpperCase()}`,
  'a'.repeat(256),
  'f'.repeat(64),
  'reg.io:port/x',
  'reg.io:123456/x',
  'hello:1:2',
  'a\nb',
  'ümlaut',
];

t.test('what is no name is refused with image-bad-name and says what is valid', async t => {
  for (const text of bad) {
    try {
      parseReference(text);
      t.fail(`taken: ${text}`);
    } catch (error) {
      t.equal(codeOf(error), 'image-bad-name', JSON.stringify(text));
    }
  }
  t.throws(() => fullName(`hello@${digest}`), { code: 'image-bad-name' }, 'a name to give has no digest');
});
