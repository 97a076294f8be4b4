/**
 * Other programs as judges: what GNU tar, skopeo and umoci make of an image is what we make of it; and what we store,
 * skopeo reads.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { delimiter, join } from 'node:path';
import t from 'tap';
import { dockerArchive, type RawEntry, tarOf } from './archives.js';
import { importInto, isRoot, openTestStore, type TestStore } from './test-store.js';
import { makeRichTree, treeOf } from './tree.js';

function has(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some(folder => fs.existsSync(join(folder, program)));
}

const skip = isRoot ? false : 'needs root';
const skipTools = !isRoot
  ? 'needs root'
  : has('skopeo') && has('umoci')
    ? false
    : 'needs skopeo and umoci (apt-get install skopeo umoci)';

function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
}

/** A tar archive of a tree with everything in it, as GNU tar writes it. */
function packRichTree(made: TestStore, format: 'pax' | 'gnu'): { readonly root: string; readonly archive: string } {
  const root = makeRichTree(made.scratch);
  run('mknod', join(root, 'null'), 'c', '1', '3');
  run('mknod', join(root, 'loop'), 'b', '7', '300');
  run('mkfifo', join(root, 'fifo'));
  const archive = join(made.scratch, `rich-${format}.tar`);
  const attributes = format === 'pax' ? ['--xattrs', '--xattrs-include=*'] : [];
  run(
    'tar',
    '--create',
    `--file=${archive}`,
    `--format=${format}`,
    ...attributes,
    '--numeric-owner',
    '--sort=name',
    '-C',
    root,
    '.',
  );
  return { root, archive };
}

function layerTree(made: TestStore, name: string, at = 0): string {
  const image = made.store.find(name);
  return join(made.directory, 'layers', image?.layers[at]?.slice('sha256:'.length) ?? '', 'fs');
}

t.test(
  'a layer unpacks to the tree it was made of: owners, modes, times, links, devices, attributes, names of any bytes',
  { skip },
  async t => {
    await using made = await openTestStore();
    const { root, archive } = packRichTree(made, 'pax');
    await importInto(made.store, fs.readFileSync(archive), { name: 'rich:1' });
    t.same(treeOf(layerTree(made, 'rich:1')), treeOf(root));
    fs.renameSync(root, `${root}-pax`);
    const old = packRichTree(made, 'gnu');
    await importInto(made.store, fs.readFileSync(old.archive), { name: 'rich:gnu' });
    // GNU's own format has neither attributes nor parts of seconds.
    const without = (tree: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
      Object.fromEntries(
        Object.entries(tree).map(([path, line]) => [path, line.replace(/(mtime -?\d*?)(\d{9})(?= |$)/, '$1')]),
      );
    t.same(
      without(treeOf(layerTree(made, 'rich:gnu'), { attributes: () => false })),
      without(treeOf(old.root, { attributes: () => false })),
    );
  },
);

t.test(
  'whiteouts and opaque marks, wherever they stand, leave owners and times of directories as they were',
  { skip },
  async t => {
    await using made = await openTestStore();
    const directory = (path: string, mtime: number): RawEntry => ({
      path,
      type: '5',
      mode: 0o750,
      uid: 5,
      gid: 6,
      mtime,
    });
    const layer = tarOf([
      { path: 'late/.wh.a' },
      directory('early', 1_000),
      { path: 'early/x' },
      directory('opaque', 2_000),
      directory('other', 3_000),
      { path: 'opaque/.wh..wh..opq' },
      { path: 'early/.wh.gone' },
      directory('late', 4_000),
    ]);
    await importInto(made.store, dockerArchive([{ layers: [layer], names: ['x:1'] }]));
    const tree = treeOf(layerTree(made, 'x:1'));
    for (const [path, seconds] of [
      ['early', 1_000],
      ['opaque', 2_000],
      ['other', 3_000],
      ['late', 4_000],
    ] as const) {
      t.match(tree[path], `directory 750 5:6 mtime ${seconds}000000000`, path);
    }
    t.match(tree['opaque'], /trusted.overlay.opaque=79$/);
    for (const path of ['late/a', 'early/gone']) t.match(tree[path], /^char 0 0:0 .* device 0$/, path);
  },
);

t.test('umoci unpacks the same tree, skopeo sees the same digests', { skip: skipTools, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  const layout = join(made.scratch, 'layout');
  const { root } = packRichTree(made, 'pax');
  // Names that are not UTF-8 and newlines are beyond umoci's mtree.
  for (const name of fs.readdirSync(root, { encoding: 'buffer' })) {
    if (name.toString('latin1').startsWith('bytes-') || name.includes(10))
      fs.rmSync(Buffer.concat([Buffer.from(`${root}/`), name]));
  }
  run('umoci', 'init', '--layout', layout);
  run('umoci', 'new', '--image', `${layout}:rich`);
  run('umoci', 'insert', '--image', `${layout}:rich`, root, '/');
  const second = join(made.scratch, 'second');
  fs.mkdirSync(join(second, 'etc'), { recursive: true });
  fs.writeFileSync(join(second, 'etc/added'), 'x');
  run('umoci', 'insert', '--image', `${layout}:rich`, join(second, 'etc'), '/etc');
  run('umoci', 'insert', '--image', `${layout}:rich`, '--whiteout', '/big');
  run(
    'umoci',
    'config',
    '--image',
    `${layout}:rich`,
    '--config.user',
    '33',
    '--config.env',
    'A=b',
    '--config.cmd',
    'top',
  );
  run('umoci', 'unpack', '--image', `${layout}:rich`, join(made.scratch, 'bundle'));

  await importInto(made.store, Buffer.alloc(0), { path: layout, name: 'rich:umoci' });
  const image = made.store.find('rich:umoci');
  if (image === undefined) throw new Error('not imported');
  t.match(image.config, { user: '33', env: ['A=b'], command: ['top'] });
  const place = join(made.scratch, 'task');
  fs.mkdirSync(place);
  const { rootPath } = await made.store.mountRoot(image, place);
  try {
    const bare = (tree: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
      Object.fromEntries(Object.entries(tree).filter(([path]) => path !== '.'));
    t.same(bare(treeOf(rootPath)), bare(treeOf(join(made.scratch, 'bundle/rootfs'))));
    t.notOk(fs.existsSync(join(rootPath, 'big')));
  } finally {
    await made.store.unmountRoot(place);
  }

  const inspected = JSON.parse(run('skopeo', 'inspect', '--raw', `oci:${layout}:rich`));
  t.same(JSON.parse((await made.store.inspect('rich:umoci')).manifest), inspected);
  t.equal(run('skopeo', 'manifest-digest', manifestFile(layout)).trim(), image.digest);
});

/** The file of the manifest that index.json of the layout names. */
function manifestFile(layout: string): string {
  const { manifests } = JSON.parse(fs.readFileSync(join(layout, 'index.json'), 'utf8'));
  return join(layout, 'blobs', String(manifests[0].digest).replace(':', '/'));
}

t.test(
  'archives that skopeo writes are taken, and what is stored skopeo can copy',
  { skip: skipTools, timeout: 600_000 },
  async t => {
    await using made = await openTestStore();
    const layout = join(made.scratch, 'layout');
    run('umoci', 'init', '--layout', layout);
    run('umoci', 'new', '--image', `${layout}:x`);
    fs.mkdirSync(join(made.scratch, 'files'));
    fs.writeFileSync(join(made.scratch, 'files/hello'), 'hello');
    run('umoci', 'insert', '--image', `${layout}:x`, join(made.scratch, 'files'), '/files');
    const source = `oci:${layout}:x`;
    const archives = [
      { target: 'oci-archive', suffix: ':made:oci', name: 'made:oci' },
      { target: 'docker-archive', suffix: ':made:docker', name: 'made:docker' },
    ];
    const diffIds = new Set<string>();
    for (const { target, suffix, name } of archives) {
      const file = join(made.scratch, `${target}.tar`);
      run('skopeo', 'copy', '--insecure-policy', source, `${target}:${file}${suffix}`);
      await importInto(made.store, fs.readFileSync(file));
      diffIds.add(made.store.find(name)?.layers.join() ?? `no ${name}`);
      t.equal(fs.readFileSync(join(layerTree(made, name), 'files/hello'), 'utf8'), 'hello', target);
    }
    t.equal(diffIds.size, 1, 'the same layer by either way');

    // The blobs of the store as a layout of their own.
    const again = join(made.scratch, 'again');
    fs.mkdirSync(again);
    fs.cpSync(join(made.directory, 'blobs'), join(again, 'blobs'), { recursive: true });
    fs.writeFileSync(join(again, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    const { manifest, image } = await made.store.inspect('made:docker');
    fs.writeFileSync(
      join(again, 'index.json'),
      JSON.stringify({
        schemaVersion: 2,
        manifests: [
          {
            mediaType: 'application/vnd.oci.image.manifest.v1+json',
            digest: image.digest,
            size: Buffer.byteLength(manifest),
            annotations: { 'org.opencontainers.image.ref.name': 'made' },
          },
        ],
      }),
    );
    run(
      'skopeo',
      'copy',
      '--insecure-policy',
      `oci:${again}:made`,
      `oci-archive:${join(made.scratch, 'copied.tar')}:copied:1`,
    );
    const [copied] = await importInto(made.store, fs.readFileSync(join(made.scratch, 'copied.tar')));
    t.same(copied?.layers, image.layers);
  },
);
