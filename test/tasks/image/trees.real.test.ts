/**
 * umoci as the judge over trees of all kinds: what it unpacks of an image is what a container of ours sees, over one to three
 * layers, with owners, modes, attributes, links, times, devices, and what upper layers take away.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ociLayout, type RawEntry, tarOf } from './archives.js';
import { packed } from './mock-registry.js';
import { importInto, isRoot, openTestStore, type TestStore } from './test-store.js';
import { type Tree, treeOf } from './tree.js';

const umoci = '/usr/bin/umoci';
const skip = !isRoot ? 'needs root' : fs.existsSync(umoci) ? false : 'needs umoci (apt-get install umoci)';

const file = (path: string, data = path, over: Partial<RawEntry> = {}): RawEntry => ({ path, data, ...over });
const folder = (path: string, over: Partial<RawEntry> = {}): RawEntry => ({
  path: `${path}/`,
  type: '5',
  mode: 0o755,
  mtime: 1_000,
  ...over,
});
const symlink = (path: string, target: string, over: Partial<RawEntry> = {}): RawEntry => ({
  path,
  type: '2',
  target,
  mode: 0o777,
  ...over,
});
const hardLink = (path: string, target: string): RawEntry => ({ path, type: '1', target });
const gone = (path: string): RawEntry => {
  const slash = path.lastIndexOf('/') + 1;
  return { path: `${path.slice(0, slash)}.wh.${path.slice(slash)}` };
};
const opaque = (path: string): RawEntry => ({ path: `${path}/.wh..wh..opq` });

/** The entries of each layer, lowest first. As image builders do, a layer names the folders of what it changes. */
const trees: Readonly<Record<string, readonly (readonly RawEntry[])[]>> = {
  modes: [
    [
      folder('d', { mode: 0o1777 }),
      folder('d/locked', { mode: 0o500 }),
      file('d/locked/in'),
      file('setuid', 'x', { mode: 0o4755 }),
      file('setgid', 'x', { mode: 0o2711 }),
      file('nobody', 'x', { mode: 0 }),
      file('all', 'x', { mode: 0o777 }),
      folder('setgid-folder', { mode: 0o2775, gid: 50 }),
      file('setgid-folder/in', 'x', { gid: 7 }),
    ],
  ],
  owners: [
    [
      folder('home', { uid: 1_000, gid: 1_001 }),
      file('home/a', 'a', { uid: 1_000, gid: 1_001, mode: 0o600 }),
      file('big', 'b', { pax: { uid: '3000000', gid: '4000000' } }),
      symlink('home/l', 'a', { uid: 12, gid: 34 }),
    ],
  ],
  links: [
    [
      folder('a'),
      file('a/one', '1'),
      hardLink('a/two', 'a/one'),
      folder('b'),
      hardLink('b/three', 'a/one'),
      symlink('b/up', '../a/one'),
      symlink('absolute', '/a/one'),
      symlink('leading-out', '../../../etc/passwd'),
      symlink('ring-1', 'ring-2'),
      symlink('ring-2', 'ring-1'),
      symlink('to-folder', 'a'),
      symlink('long', 'x'.repeat(90)),
    ],
  ],
  devices: [
    [
      folder('dev'),
      { path: 'dev/null', type: '3', major: 1, minor: 3, mode: 0o666 },
      { path: 'dev/loop', type: '4', major: 7, minor: 300, mode: 0o660, gid: 6 },
      { path: 'dev/pipe', type: '6', mode: 0o622, uid: 5 },
    ],
  ],
  attributes: [
    [
      folder('d', { pax: { 'SCHILY.xattr.user.of-folder': 'yes' } }),
      file('d/marked', 'x', { pax: { 'SCHILY.xattr.user.a': '1', 'SCHILY.xattr.user.b': 'two words' } }),
      file('ping', 'x', {
        mode: 0o755,
        pax: { 'SCHILY.xattr.security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex') },
      }),
    ],
  ],
  times: [
    [
      file('epoch', 'x', { mtime: 0 }),
      file('fraction', 'x', { pax: { mtime: '1234567890.123456789' } }),
      file('far', 'x', { mtime: 4_000_000_000 }),
      folder('d', { mtime: 2_000 }),
      folder('d/e', { mtime: 3_000 }),
      file('d/e/f', 'x', { mtime: 4_000 }),
      symlink('l', 'd', { mtime: 5_000 }),
    ],
  ],
  names: [
    [
      folder('grüße-日本'),
      file('grüße-日本/ß', 'utf-8'),
      file('-dash'),
      file('with blank'),
      folder('p'),
      file('p/short', 'long', { pax: { path: `p/${'n'.repeat(255)}` } }),
      folder('deep'),
      ...Array.from({ length: 20 }, (_, at) => folder(`deep${'/d'.repeat(at + 1)}`)),
    ],
  ],
  'taken away by the second layer': [
    [
      folder('d', { mtime: 10 }),
      file('d/a'),
      file('d/b'),
      folder('d/sub'),
      file('d/sub/x'),
      symlink('l', 'd'),
      folder('kept'),
      file('kept/k'),
    ],
    [folder('d', { mtime: 20, mode: 0o700 }), gone('d/a'), gone('d/sub'), gone('l'), file('d/new')],
  ],
  'emptied by an opaque mark': [
    [folder('d', { mtime: 10 }), file('d/a'), folder('d/s'), file('d/s/x'), folder('e'), file('e/y')],
    [folder('d', { mtime: 20, uid: 3 }), opaque('d'), file('d/b'), folder('d/s', { mode: 0o711 }), file('d/s/z')],
  ],
  'another kind in each of three layers': [
    [file('a', 'file'), folder('b'), file('b/x'), symlink('c', 'a'), folder('d'), file('d/y')],
    [folder('a'), file('a/in'), symlink('b', 'a'), file('c', 'file'), gone('d')],
    [symlink('a', 'c'), file('b', 'file'), folder('c'), file('c/in'), folder('d', { mode: 0o700 }), file('d/z')],
  ],
  'taken away and given back over three layers': [
    [folder('d'), file('d/a', 'first'), file('d/b', 'first'), folder('d/s'), file('d/s/old')],
    [folder('d', { mtime: 5 }), gone('d/a'), folder('d/s'), opaque('d/s'), file('d/s/middle')],
    [folder('d', { mtime: 6 }), file('d/a', 'third', { mode: 0o600 }), folder('d/s', { uid: 9 }), file('d/s/last')],
  ],
  'replaced under hard links': [
    [folder('d'), file('d/a', 'shared'), hardLink('d/b', 'd/a'), hardLink('d/c', 'd/a')],
    [folder('d', { mtime: 7 }), file('d/a', 'alone'), file('d/e', 'pair'), hardLink('d/f', 'd/e')],
    [folder('d', { mtime: 8 }), gone('d/c'), file('d/f', 'single')],
  ],
  'opaque in the middle': [
    [folder('d'), file('d/low'), folder('d/s'), file('d/s/low')],
    [folder('d', { mtime: 30 }), opaque('d')],
    [folder('d', { mtime: 40, gid: 4 }), file('d/high'), folder('d/s', { mtime: 41 }), file('d/s/high')],
  ],
};

/** All of them as images of one layout, tagged tree/0 and so on. Returns their digests. */
function writeLayout(to: string): readonly string[] {
  const { files, manifests } = ociLayout(
    Object.values(trees).map((layers, at) =>
      packed(layers.map(tarOf), { names: [`tree/${at}`], run: { Cmd: [`${at}`] } }),
    ),
  );
  for (const [path, bytes] of files) {
    fs.mkdirSync(dirname(join(to, path)), { recursive: true });
    fs.writeFileSync(join(to, path), bytes);
  }
  return manifests;
}

/** Without the root itself: no layer says of what mode it is. */
function withoutRoot(tree: Tree): Tree {
  return Object.fromEntries(Object.entries(tree).filter(([path]) => path !== '.'));
}

async function seenByContainer(made: TestStore, digest: string): Promise<Tree> {
  const image = made.store.find(digest);
  if (image === undefined) throw new Error(`${digest} is not imported`);
  const place = join(made.scratch, `task-${digest}`);
  fs.mkdirSync(place);
  try {
    return withoutRoot(treeOf((await made.store.mountRoot(image, place)).rootPath));
  } finally {
    await made.store.unmountRoot(place);
  }
}

t.test('what umoci unpacks of an image is what a container sees of it', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  const layout = join(made.scratch, 'layout');
  const digests = writeLayout(layout);
  await importInto(made.store, Buffer.alloc(0), { path: layout });
  for (const [at, title] of Object.keys(trees).entries()) {
    const bundle = join(made.scratch, `bundle-${at}`);
    execFileSync(umoci, ['unpack', '--image', `${layout}:tree/${at}`, bundle], { stdio: ['ignore', 'pipe', 'pipe'] });
    const seen = await seenByContainer(made, digests[at] ?? '');
    t.same(seen, withoutRoot(treeOf(join(bundle, 'rootfs'))), title);
  }
});
