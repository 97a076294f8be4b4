/** Who a container runs as: Docker's rules as a table, and files that try to be something else. */
import t from 'tap';
import { CoveyError } from '../../../src/errors.js';
import type { FileStat } from '../../../src/host.js';
import { findInRoot } from '../../../src/tasks/image/root-path.js';
import { parseGroups, parsePasswd, planUser, resolveUser } from '../../../src/tasks/image/user.js';
import type { ResolvedUser } from '../../../src/tasks/images.js';

const passwd = parsePasswd(`root:x:0:0:root:/root:/bin/sh
www:x:33:34:web:/www:/bin/sh
1000:x:1234:5678:a name of digits:/home/digits:/bin/sh
nohome:x:50:51:::
broken line
toolarge:x:4294967296:0::/:
negative:x:-1:0::/:
`);
const groups = parseGroups(`root:x:0:root
www:x:34:
cdrom:x:24:www,other
audio:x:29:www
77:x:770:
`);

const table: readonly (readonly [user: string, further: readonly string[], wanted: ResolvedUser])[] = [
  ['', [], { uid: 0, gid: 0, groups: [0], home: '/root' }],
  ['root', [], { uid: 0, gid: 0, groups: [0], home: '/root' }],
  ['0', [], { uid: 0, gid: 0, groups: [0], home: '/root' }],
  ['www', [], { uid: 33, gid: 34, groups: [24, 29], home: '/www' }],
  ['33', [], { uid: 33, gid: 34, groups: [24, 29], home: '/www' }],
  ['www:www', [], { uid: 33, gid: 34, groups: [], home: '/www' }],
  ['www:0', [], { uid: 33, gid: 0, groups: [], home: '/www' }],
  ['www:77', [], { uid: 33, gid: 770, groups: [], home: '/www' }],
  [':audio', [], { uid: 0, gid: 29, groups: [], home: '/root' }],
  ['1000', [], { uid: 1234, gid: 5678, groups: [], home: '/home/digits' }],
  ['4711', [], { uid: 4711, gid: 0, groups: [], home: '/' }],
  ['4711:815', [], { uid: 4711, gid: 815, groups: [], home: '/' }],
  ['nohome', [], { uid: 50, gid: 51, groups: [], home: '/' }],
  ['www', ['audio', '4', '4'], { uid: 33, gid: 34, groups: [4, 24, 29], home: '/www' }],
  ['2147483647:2147483647', [], { uid: 2147483647, gid: 2147483647, groups: [], home: '/' }],
];

t.test('users and groups are found as Docker finds them', async t => {
  for (const [user, further, wanted] of table)
    t.same(planUser({ user, groups: further }, { passwd, groups }), wanted, `"${user}" ${further.join()}`);
});

t.test('what is nobody is refused, numbers that would wrap around too', async t => {
  const bad = [
    'nobody',
    'www:nogroup',
    '4294967296',
    '2147483648',
    '0:4294967296',
    '-1',
    '+5',
    'toolarge',
    'negative',
    'a:b:c',
    '0x0',
    ' ',
    '99999999999999999999',
  ];
  for (const user of bad)
    t.throws(() => planUser({ user, groups: [] }, { passwd, groups }), { code: 'user-not-found' }, user);
  t.throws(() => planUser({ user: 'www', groups: ['nogroup'] }, { passwd, groups }), { code: 'user-not-found' });
});

/** A root file system as a table: text is a file, `-> x` a link, undefined a directory, a number a file of that size. */
type Fake = Readonly<Record<string, string | number | undefined>>;

function fakeFiles(tree: Fake): {
  findStat(path: string): Promise<FileStat | undefined>;
  findLink(path: string): Promise<string | undefined>;
  readText(path: string): Promise<string>;
} {
  const link = (path: string): string | undefined =>
    String(tree[path] ?? '').startsWith('-> ') ? String(tree[path]).slice(3) : undefined;
  return {
    findStat: async path => {
      if (!Object.hasOwn(tree, path)) return undefined;
      const value = tree[path];
      const kind = value === undefined ? 'directory' : link(path) === undefined ? 'file' : 'symlink';
      return {
        kind,
        sizeBytes: typeof value === 'number' ? value : 0,
        mode: 0o644,
        uid: 0,
        gid: 0,
        inode: 1,
        device: 1,
        modifiedMs: 0,
      };
    },
    findLink: async path => link(path),
    readText: async path => {
      const value = tree[path];
      if (typeof value !== 'string') throw new CoveyError('not-found', `read ${path}`);
      return value;
    },
  };
}

t.test('links are followed inside the root file system only', async t => {
  const tree: Fake = {
    '/r': undefined,
    '/r/etc': undefined,
    '/r/etc/passwd': '-> /real/passwd',
    '/r/real': undefined,
    '/r/real/passwd': 'inside:x:5:6::/:\n',
    '/real/passwd': 'outside:x:0:0::/:\n',
    '/r/up': '-> ../../../../real',
    '/r/chain': '-> up/../up',
    '/r/loop': '-> loop',
    '/r/dangling': '-> nowhere',
  };
  const files = fakeFiles(tree);
  for (const [path, found] of [
    ['/etc/passwd', '/r/real/passwd'],
    ['etc/./passwd', '/r/real/passwd'],
    ['/../../etc', '/r/etc'],
    ['/up', '/r/real'],
    ['/chain/passwd', '/r/real/passwd'],
    ['/dangling', undefined],
    ['/missing/x', undefined],
    ['/', '/r'],
  ] as const) {
    t.equal((await findInRoot(files, '/r', path))?.path, found, path);
  }
  await t.rejects(findInRoot(files, '/r', '/loop'), { code: 'bad-bundle' });
  t.match(await resolveUser(files, { rootPath: '/r', user: 'inside', groups: [] }), { uid: 5, gid: 6 });
  await t.rejects(resolveUser(files, { rootPath: '/r', user: 'outside', groups: [] }), { code: 'user-not-found' });
});

t.test('without /etc/passwd, or with a monster of one, numbers still work', async t => {
  const trees: readonly Fake[] = [
    { '/r': undefined },
    { '/r': undefined, '/r/etc': undefined, '/r/etc/passwd': 2 ** 30 },
    { '/r': undefined, '/r/etc': undefined, '/r/etc/passwd': undefined },
  ];
  for (const tree of trees) {
    const files = fakeFiles(tree);
    t.same(await resolveUser(files, { rootPath: '/r', user: '7:8', groups: ['9'] }), {
      uid: 7,
      gid: 8,
      groups: [9],
      home: '/',
    });
    t.same(await resolveUser(files, { rootPath: '/r', user: '', groups: [] }), {
      uid: 0,
      gid: 0,
      groups: [],
      home: '/',
    });
    await t.rejects(resolveUser(files, { rootPath: '/r', user: 'root', groups: [] }), { code: 'user-not-found' });
  }
});
