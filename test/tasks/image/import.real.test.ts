/** From an archive of any form to a mounted root file system; and from a damaged one to an error with nothing stored. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import t from 'tap';
import { codeOf, messageOf } from '../../../src/errors.js';
import { dockerArchive, endMark, type ImageParts, ociArchive, ociLayout, rawEntry, sha256, tarOf } from './archives.js';
import { contents, type ImportOptions, importInto, isRoot, openTestStore, type TestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';

const base = tarOf([
  { path: 'etc/', type: '5', mode: 0o755 },
  { path: 'etc/passwd', data: 'root:x:0:0::/root:/bin/sh\n' },
  { path: 'etc/old', data: 'old' },
  { path: 'var/cache/one', data: '1' },
]);
const upper = tarOf([
  { path: 'etc/.wh.old' },
  { path: 'etc/new', data: 'new' },
  { path: 'var/cache/.wh..wh..opq' },
  { path: 'var/cache/two', data: '2' },
]);
const parts: ImageParts = {
  layers: [base, upper],
  names: ['docker.io/library/two:1'],
  run: { Cmd: ['/bin/true'], Env: ['A=b'], User: '7', Healthcheck: { Test: ['CMD', 'x'], Interval: 2e9 } },
};

async function readMounted(made: TestStore, name: string): Promise<Readonly<Record<string, string>>> {
  const image = made.store.find(name);
  if (image === undefined) throw new Error(`no ${name}`);
  const place = fs.mkdtempSync(join(made.scratch, 'task-'));
  const { rootPath } = await made.store.mountRoot(image, place);
  const files = fs
    .readdirSync(rootPath, { recursive: true })
    .map(String)
    .filter(path => fs.lstatSync(join(rootPath, path)).isFile());
  const found = Object.fromEntries(files.sort().map(path => [path, fs.readFileSync(join(rootPath, path), 'utf8')]));
  await made.store.unmountRoot(place);
  return found;
}

const merged = { 'etc/new': 'new', 'etc/passwd': 'root:x:0:0::/root:/bin/sh\n', 'var/cache/two': '2' };

const gzip = (bytes: Buffer): Buffer => gzipSync(bytes);
const zstd = (bytes: Buffer): Buffer => zstdCompressSync(bytes);
const oci = ociLayout([parts]);
/** Docker 25 and later write both. */
const bothForms = tarOf([
  ...[...oci.files].map(([path, data]) => ({ path, data })),
  {
    path: 'manifest.json',
    data: JSON.stringify([{ Config: `blobs/sha256/${'0'.repeat(64)}`, RepoTags: ['two:1'], Layers: [] }]),
  },
]);

const forms: readonly (readonly [title: string, archive: Buffer])[] = [
  ['docker-archive', dockerArchive([parts])],
  ['docker-archive, gzip around it', gzip(dockerArchive([parts]))],
  ['docker-archive, zstd around it', zstd(dockerArchive([parts]))],
  ['docker-archive with gzip layers', dockerArchive([{ ...parts, compress: gzip }])],
  ['OCI archive', ociArchive(oci)],
  ['OCI archive, gzip around it', gzip(ociArchive(oci))],
  ['OCI archive with gzip layers', ociArchive(ociLayout([{ ...parts, compress: gzip }]))],
  ['OCI archive with zstd layers', ociArchive(ociLayout([{ ...parts, compress: zstd, layerType: 'tar+zstd' }]))],
  ['OCI archive whose media type lies', ociArchive(ociLayout([{ ...parts, compress: zstd, layerType: 'tar+gzip' }]))],
  [
    'OCI archive with gzip layers of two members',
    ociArchive(
      ociLayout([
        { ...parts, compress: bytes => Buffer.concat([gzip(bytes.subarray(0, 700)), gzip(bytes.subarray(700))]) },
      ]),
    ),
  ],
  [
    'OCI archive with zstd layers of two frames',
    ociArchive(
      ociLayout([
        {
          ...parts,
          compress: bytes => Buffer.concat([zstd(bytes.subarray(0, 700)), zstd(bytes.subarray(700))]),
          layerType: 'tar+zstd',
        },
      ]),
    ),
  ],
  ['docker-archive with an OCI layout in it', bothForms],
];

t.test('every form of archive gives the same root file system', { skip, timeout: 600_000 }, async t => {
  for (const [title, archive] of forms) {
    await using made = await openTestStore();
    const [image] = await importInto(made.store, archive);
    t.same(image?.names, ['two:1'], title);
    t.same(await readMounted(made, 'two:1'), merged, title);
    t.match(
      made.store.find('two:1')?.config,
      { command: ['/bin/true'], env: ['A=b'], user: '7', healthcheck: { test: ['CMD', 'x'], intervalMs: 2_000 } },
      title,
    );
    if (title.startsWith('OCI archive')) t.ok(image?.digest.startsWith('sha256:'), title);
  }
});

t.test(
  'an OCI layout keeps its manifest digest; a file or directory named by path needs no bytes',
  { skip },
  async t => {
    await using made = await openTestStore();
    const folder = join(made.scratch, 'layout');
    for (const [path, bytes] of oci.files) {
      fs.mkdirSync(join(folder, path, '..'), { recursive: true });
      fs.writeFileSync(join(folder, path), bytes);
    }
    const nothing = Buffer.alloc(0);
    const [fromFolder] = await importInto(made.store, nothing, { path: folder });
    t.equal(fromFolder?.digest, oci.manifests[0]);
    fs.writeFileSync(join(made.scratch, 'two.tar'), ociArchive(oci));
    fs.writeFileSync(join(made.scratch, 'two.tar.gz'), gzip(ociArchive(oci)));
    for (const name of ['two.tar', 'two.tar.gz']) {
      const [fromFile] = await importInto(made.store, nothing, {
        path: join(made.scratch, name),
        name: name.replaceAll('.', '-'),
      });
      t.equal(fromFile?.digest, oci.manifests[0], name);
    }
    t.same(
      made.store.list().map(image => image.names),
      [['two-tar-gz:latest', 'two-tar:latest', 'two:1']],
    );
    t.same(await readMounted(made, `two@${oci.manifests[0]}`), merged, 'found by digest');
  },
);

t.test(
  'a root file system becomes an image with the config that the changes say, the same each time',
  { skip },
  async t => {
    await using made = await openTestStore();
    const changes = ['CMD ["httpd", "-f"]', 'ENV A=1 B="2 3"', 'EXPOSE 80', 'USER www', 'WORKDIR /www', 'LABEL x=y'];
    const digests = new Set<string>();
    for (const [archive, name] of [
      [base, 'root:plain'],
      [gzip(base), 'root:gzip'],
      [zstd(base), 'root:zstd'],
    ] as const) {
      const [image] = await importInto(made.store, archive, { name, changes });
      digests.add(image?.digest ?? '');
    }
    t.equal(digests.size, 1, 'however it is compressed');
    t.match(made.store.find('root:plain')?.config, {
      command: ['httpd', '-f'],
      env: ['A=1', 'B=2 3'],
      user: 'www',
      workingDir: '/www',
    });
    const { config, manifest, image } = await made.store.inspect('root:gzip');
    t.same(JSON.parse(config).rootfs, { type: 'layers', diff_ids: [`sha256:${sha256(base)}`] });
    t.same(JSON.parse(config).config.ExposedPorts, { '80/tcp': {} });
    t.equal(JSON.parse(config).history.length, 1);
    t.equal(`sha256:${sha256(manifest)}`, image.digest);
    t.equal((await readMounted(made, 'root:plain'))['etc/old'], 'old');
  },
);

const flip = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
};
/** The archive with the bytes of one of its files changed: lengths and checksums of tar stay right. */
function withFlippedFile(archive: Buffer, content: Buffer): Buffer {
  return flip(archive, archive.indexOf(content) + 520);
}

const foreign = process.arch === 'arm64' ? 'amd64' : 'arm64';
const ociBytes = ociArchive(oci);

interface Refused {
  readonly title: string;
  readonly archive: Buffer;
  readonly options?: ImportOptions;
  readonly code: string;
}

const refused: readonly Refused[] = [
  { title: 'nothing', archive: Buffer.alloc(0), code: 'image-archive' },
  { title: 'text', archive: Buffer.from('<html>404 not found</html>'.repeat(40)), code: 'image-archive' },
  { title: 'zeros', archive: Buffer.alloc(4_096), code: 'image-archive' },
  { title: 'less than a block', archive: base.subarray(0, 100), code: 'image-archive' },
  ...[1, 3, 5, 7, 9].map(tenth => ({
    title: `an OCI archive cut at ${tenth}0 %`,
    archive: ociBytes.subarray(0, Math.floor((ociBytes.length * tenth) / 10)),
    code: 'image-archive',
  })),
  {
    title: 'an archive without its end mark',
    archive: base.subarray(0, base.length - 1_024),
    options: { name: 'x' },
    code: 'image-archive',
  },
  { title: 'a gzip file cut short', archive: gzip(ociBytes).subarray(0, 900), code: 'image-archive' },
  { title: 'a zstd file cut short', archive: zstd(ociBytes).subarray(0, 900), code: 'image-archive' },
  { title: 'a damaged gzip file', archive: flip(gzip(ociBytes), 700), code: 'image-archive' },
  {
    title: 'a file compressed with xz',
    archive: Buffer.from('fd377a585a000004e6d6b446', 'hex'),
    code: 'image-archive',
  },
  {
    title: 'a flipped byte in a layer of an OCI archive',
    archive: withFlippedFile(ociBytes, base),
    code: 'image-digest',
  },
  // The time in the header of gzip.
  { title: 'a gzip layer of other bytes with the same content', archive: withFlippedGzip(4), code: 'image-digest' },
  { title: 'a flipped byte in a gzip layer', archive: withFlippedGzip(), code: 'image-digest' },
  {
    title: 'a flipped byte in a layer of a docker-archive',
    archive: withFlippedFile(dockerArchive([parts]), base),
    code: 'image-digest',
  },
  {
    title: 'a config with the diffID of another layer',
    archive: dockerArchive([{ ...parts, diffIds: [`sha256:${sha256(upper)}`, `sha256:${sha256(base)}`] }]),
    code: 'image-digest',
  },
  {
    title: 'an OCI config with a wrong diffID',
    archive: ociArchive(ociLayout([{ ...parts, diffIds: [`sha256:${sha256(base)}`, `sha256:${'0'.repeat(64)}`] }])),
    code: 'image-digest',
  },
  {
    title: 'a config with too few diffIDs',
    archive: ociArchive(ociLayout([{ ...parts, diffIds: [`sha256:${sha256(base)}`] }])),
    code: 'image-archive',
  },
  {
    title: 'a manifest with another digest',
    archive: tarOf(
      [...oci.files].map(([path, data]) => ({
        path,
        data: path.endsWith(oci.manifests[0]?.slice(7) ?? '-') ? flip(data, 9) : data,
      })),
    ),
    code: 'image-digest',
  },
  {
    title: 'a blob that is not there',
    archive: tarOf(
      [...oci.files].filter(([path]) => !path.endsWith(sha256(upper))).map(([path, data]) => ({ path, data })),
    ),
    code: 'image-archive',
  },
  {
    title: 'a layer that is no tar archive',
    archive: dockerArchive([{ ...parts, layers: [Buffer.alloc(2_000, 'x')] }]),
    code: 'image-layer',
  },
  {
    title: 'layers of a type that nobody knows',
    archive: ociArchive(ociLayout([{ ...parts, layerType: 'tar+encrypted' }])),
    code: 'image-archive',
  },
  {
    title: 'manifest.json twice',
    archive: Buffer.concat([
      rawEntry({ path: 'manifest.json', data: '[]' }),
      rawEntry({ path: './manifest.json', data: '[]' }),
      endMark,
    ]),
    code: 'image-archive',
  },
  {
    title: 'manifest.json that is no list',
    archive: tarOf([{ path: 'manifest.json', data: '{}' }]),
    code: 'image-archive',
  },
  { title: 'an archive of no images', archive: dockerArchive([]), code: 'image-archive' },
  {
    title: 'an image for another platform',
    archive: dockerArchive([{ ...parts, architecture: foreign }]),
    code: 'image-platform',
  },
  {
    title: 'a bad name in RepoTags',
    archive: dockerArchive([{ ...parts, names: ['UPPER:1'] }]),
    code: 'image-bad-name',
  },
  { title: 'a bad name', archive: dockerArchive([parts]), options: { name: 'Not A Name' }, code: 'image-bad-name' },
  {
    title: 'one name for two images',
    archive: dockerArchive([parts, { ...parts, layers: [upper] }]),
    options: { name: 'x' },
    code: 'bad-argument',
  },
  { title: 'a root file system without a name', archive: base, code: 'bad-argument' },
  {
    title: 'a change that is none',
    archive: base,
    options: { name: 'x', changes: ['FROM scratch'] },
    code: 'bad-argument',
  },
  {
    title: 'changes for an image that has a config',
    archive: ociBytes,
    options: { changes: ['CMD x'] },
    code: 'bad-argument',
  },
  {
    title: 'a platform that is none',
    archive: base,
    options: { name: 'x', platform: 'a/b/c/d' },
    code: 'bad-argument',
  },
  { title: 'a path that is not there', archive: base, options: { path: '/nonexistent/x.tar' }, code: 'image-archive' },
  { title: 'a path that is a device', archive: base, options: { path: '/dev/zero' }, code: 'image-archive' },
  { title: 'a directory without a layout', archive: base, options: { path: '/etc' }, code: 'image-archive' },
];

function withFlippedGzip(at = 120): Buffer {
  const layout = ociLayout([{ ...parts, compress: gzip }]);
  return tarOf(
    [...layout.files].map(([path, data]) => ({
      path,
      data: data[0] === 0x1f && data.length > 200 ? flip(data, at) : data,
    })),
  );
}

t.test('what is wrong is refused by its own code, and nothing is stored', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  await importInto(made.store, dockerArchive([{ layers: [tarOf([{ path: 'kept', data: 'x' }])], names: ['kept:1'] }]));
  const before = contents(made.directory);
  for (const { title, archive, options, code } of refused) {
    try {
      await importInto(made.store, archive, options ?? {});
      t.fail(`taken: ${title}`);
    } catch (error) {
      t.equal(codeOf(error), code, `${title}: ${messageOf(error)}`);
      t.match(messageOf(error), /^Cannot /, title);
    }
    t.same(contents(made.directory), before, `${title}: nothing is stored`);
  }
  t.same(await readMounted(made, 'kept:1'), { kept: 'x' });
});

t.test('an image for another platform is taken when it is asked for', { skip }, async t => {
  await using made = await openTestStore();
  const archive = dockerArchive([{ ...parts, architecture: foreign }]);
  const [image] = await importInto(made.store, archive, { platform: `linux/${foreign}` });
  t.equal(image?.architecture, foreign);
});

t.test('an archive of GNU tar and gzip as people make it', { skip }, async t => {
  await using made = await openTestStore();
  const folder = join(made.scratch, 'root');
  fs.mkdirSync(join(folder, 'bin'), { recursive: true });
  fs.writeFileSync(join(folder, 'bin/tool'), 'x', { mode: 0o755 });
  execFileSync('tar', ['-czf', join(made.scratch, 'root.tgz'), '-C', folder, '.']);
  await importInto(made.store, Buffer.alloc(0), { path: join(made.scratch, 'root.tgz'), name: 'tool' });
  t.same(await readMounted(made, 'tool'), { 'bin/tool': 'x' });
});
