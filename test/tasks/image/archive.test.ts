/** What archives hold, decided on documents alone: platforms, names, indexes in indexes, and what refers to nothing. */
import { Buffer } from 'node:buffer';
import t from 'tap';
import {
  type ArchivePlan,
  type ArchiveSource,
  type PlanOptions,
  planArchive,
} from '../../../src/tasks/image/archive.js';
import { openMembers } from '../../../src/tasks/image/archive-members.js';
import { parsePlatform, platformFits, platformOf, renderPlatform } from '../../../src/tasks/image/platform.js';
import { openTarReader } from '../../../src/tasks/image/tar-reader.js';
import {
  configOf,
  dockerArchive,
  type ImageParts,
  ociArchive,
  ociLayout,
  type RawEntry,
  sha256,
  tarOf,
} from './archives.js';

const amd64: PlanOptions = { name: undefined, platform: platformOf('x64'), hasPlatform: false };

function sourceOf(archive: Buffer): ArchiveSource {
  const members = openMembers('archive', 'the archive');
  const reader = openTarReader(
    { entry: members.add, data: () => undefined },
    { what: 'the archive', code: 'image-archive' },
  );
  reader.push(archive);
  reader.finish();
  return {
    what: 'the archive',
    find: members.find,
    read: part => archive.subarray(part.offset, part.offset + part.sizeBytes),
  };
}

function plan(archive: Buffer, options: Partial<PlanOptions> = {}): ArchivePlan {
  return planArchive(sourceOf(archive), { ...amd64, ...options });
}

function namesOf(found: ArchivePlan): readonly (readonly string[])[] {
  return found.kind === 'images' ? found.images.map(image => image.names) : [];
}

const image: ImageParts = { layers: [tarOf([{ path: 'x' }])], names: ['hello:1'], architecture: 'amd64' };

t.test('the form is told by what is in it', async t => {
  t.equal(plan(tarOf([{ path: 'bin/sh' }])).kind, 'root-file-system');
  t.same(namesOf(plan(dockerArchive([image]))), [['docker.io/library/hello:1']]);
  t.same(namesOf(plan(ociArchive(ociLayout([image])))), [['docker.io/library/hello:1']]);
  t.same(namesOf(plan(ociArchive(ociLayout([{ ...image, names: ['latest'] }])))), [[]], 'a tag alone is no name');
  t.same(namesOf(plan(ociArchive(ociLayout([{ ...image, names: ['a:1', 'b:2'] }])))), [
    ['docker.io/library/a:1', 'docker.io/library/b:2'],
  ]);
  t.same(namesOf(plan(dockerArchive([image, { ...image, layers: [], names: [] }]))), [
    ['docker.io/library/hello:1'],
    [],
  ]);
  t.same(namesOf(plan(dockerArchive([image]), { name: 'reg.io/x:1' })), [['reg.io/x:1']]);
});

t.test('links within the archive are followed, and go round in no circle', async t => {
  const layer = tarOf([{ path: 'x' }]);
  const config = configOf({ ...image, layers: [layer] });
  const archive = (links: readonly RawEntry[]): Buffer =>
    tarOf([
      { path: 'a/real.tar', data: layer },
      ...links,
      { path: `${sha256(config)}.json`, data: config },
      { path: 'manifest.json', data: JSON.stringify([{ Config: `${sha256(config)}.json`, Layers: ['b/layer.tar'] }]) },
    ]);
  const found = plan(archive([{ path: 'b/layer.tar', type: '2', target: '../a/real.tar' }]));
  t.equal(found.kind === 'images' && found.images[0]?.layers[0]?.part.sizeBytes, layer.length);
  t.equal(plan(archive([{ path: './b/layer.tar', type: '1', target: './a/real.tar' }])).kind, 'images');
  t.throws(() => plan(archive([{ path: 'b/layer.tar', type: '2', target: 'layer.tar' }])), { code: 'image-archive' });
  t.throws(() => plan(archive([{ path: 'b/layer.tar', type: '2', target: '../../../etc/passwd' }])), {
    code: 'image-archive',
  });
});

/** A layout whose index.json names an index of several platforms. */
function nested(
  platforms: readonly { readonly architecture: string; readonly variant?: string; readonly isThere?: boolean }[],
  depth = 1,
): Buffer {
  const blobs = new Map<string, Buffer>();
  const manifests = platforms.map(({ architecture, variant, isThere = true }) => {
    const layout = ociLayout([
      {
        ...image,
        names: [''],
        architecture: architecture === 'unknown' ? 'amd64' : architecture,
        run: { Labels: { variant } },
      },
    ]);
    const digest = layout.manifests[0] ?? '';
    if (isThere) for (const [path, bytes] of layout.files) if (path.startsWith('blobs/')) blobs.set(path, bytes);
    const size = layout.files.get(`blobs/sha256/${digest.slice(7)}`)?.length ?? 0;
    return {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest,
      size,
      platform: { os: 'linux', architecture, variant },
    };
  });
  let inner: object[] = manifests;
  for (let at = 0; at < depth; at += 1) {
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: inner }),
    );
    blobs.set(`blobs/sha256/${sha256(bytes)}`, bytes);
    inner = [
      {
        mediaType: 'application/vnd.oci.image.index.v1+json',
        digest: `sha256:${sha256(bytes)}`,
        size: bytes.length,
        annotations: { 'io.containerd.image.name': 'docker.io/library/multi:1' },
      },
    ];
  }
  const files = new Map([
    ...blobs,
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
    ['index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: inner }))],
  ] as const);
  return ociArchive({ files, manifests: [] });
}

function chosen(archive: Buffer, platform: string): string {
  const found = plan(archive, { platform: parsePlatform(platform), hasPlatform: true });
  const config = found.kind === 'images' ? found.images[0]?.config.bytes.toString() : undefined;
  const parsed = JSON.parse(config ?? '{}');
  return `${parsed.architecture}${parsed.config.Labels.variant === undefined ? '' : `/${parsed.config.Labels.variant}`}`;
}

t.test('of several platforms the one that fits best is taken, of those that are there', async t => {
  const many = nested([
    { architecture: 'unknown' },
    { architecture: 'arm64' },
    { architecture: 'amd64' },
    { architecture: 'arm', variant: 'v5' },
    { architecture: 'arm', variant: 'v7' },
  ]);
  t.equal(chosen(many, 'linux/amd64'), 'amd64');
  t.equal(chosen(many, 'arm64'), 'arm64');
  t.equal(chosen(many, 'linux/arm/v7'), 'arm/v7');
  t.equal(chosen(many, 'linux/arm/v6'), 'arm/v5');
  t.equal(
    chosen(
      nested([
        { architecture: 'amd64', isThere: false },
        { architecture: 'amd64', variant: 'v1' },
      ]),
      'linux/amd64',
    ),
    'amd64/v1',
  );
  t.equal(chosen(nested([{ architecture: 'amd64' }], 2), 'linux/amd64'), 'amd64', 'an index in an index');
  t.throws(() => chosen(many, 'linux/s390x'), {
    code: 'image-platform',
    state: 'it has linux/arm64, linux/amd64, linux/arm/v5, linux/arm/v7',
  });
  t.throws(() => chosen(nested([{ architecture: 'amd64' }], 4), 'linux/amd64'), { code: 'image-archive' });
  t.throws(() => plan(nested([{ architecture: 'arm64' }])), { code: 'image-platform' }, 'one alone, and a foreign one');
});

t.test('a document is an index or a manifest, never both', async t => {
  const layout = ociLayout([image]);
  const digest = layout.manifests[0] ?? '';
  const path = `blobs/sha256/${digest.slice(7)}`;
  const both = Buffer.from(JSON.stringify({ ...JSON.parse(layout.files.get(path)?.toString() ?? ''), manifests: [] }));
  const files = new Map(layout.files);
  files.delete(path);
  files.set(`blobs/sha256/${sha256(both)}`, both);
  const index = JSON.parse(layout.files.get('index.json')?.toString() ?? '');
  index.manifests[0] = { ...index.manifests[0], digest: `sha256:${sha256(both)}`, size: both.length };
  files.set('index.json', Buffer.from(JSON.stringify(index)));
  t.throws(() => plan(ociArchive({ files, manifests: [] })), { code: 'image-archive' });
});

t.test('platforms are read, written and compared', async t => {
  t.same(parsePlatform('arm64'), { os: 'linux', architecture: 'arm64', variant: 'v8' });
  t.same(renderPlatform(parsePlatform('linux/arm/v6')), 'linux/arm/v6');
  for (const bad of ['', '/', 'linux/', 'a/b/c/d', 'LINUX/amd64', 'linux/amd64/v 2'])
    t.throws(() => parsePlatform(bad), { code: 'bad-argument' }, bad);
  const fits: readonly (readonly [string, string, boolean])[] = [
    ['amd64', 'linux/amd64', true],
    ['amd64', 'linux/amd64/v3', false],
    ['amd64', 'windows/amd64', false],
    ['linux/arm/v7', 'linux/arm', true],
    ['linux/arm/v6', 'linux/arm/v7', false],
    ['arm64', 'linux/arm/v7', false],
  ];
  for (const [wanted, offered, does] of fits) {
    const [os = '', architecture = '', variant = ''] = offered.split('/');
    t.equal(platformFits(parsePlatform(wanted), { os, architecture, variant }), does, `${offered} on ${wanted}`);
  }
});
