/**
 * The filter between archive and tar, without either: what it refuses, and what it writes, read back by another reader
 * (tar-stream).
 */
import { Readable } from 'node:stream';
import t from 'tap';
import tarStream from 'tar-stream';
import { codeOf } from '../../../src/errors.js';
import { type LayerSummary, layerEntriesMax, openLayerFilter } from '../../../src/tasks/image/layer-filter.js';
import { filteringReader } from '../../../src/tasks/image/unpack-layer.js';
import { type RawEntry, tarOf } from './archives.js';
import { hostileLayers } from './hostile-layers.js';

interface Filtered {
  readonly bytes: Buffer;
  readonly summary: LayerSummary;
}

function filtered(
  layer: Buffer,
  options: { readonly pieceBytes?: number; readonly entriesMax?: number; readonly bytesMax?: number } = {},
): Filtered {
  const { pieceBytes = 65_536, entriesMax = layerEntriesMax, bytesMax = 2 ** 40 } = options;
  const out: Uint8Array[] = [];
  const filter = openLayerFilter({ entriesMax, bytesMax });
  const reader = filteringReader(filter, { what: 'the layer', out: piece => void out.push(Buffer.from(piece)) });
  for (let at = 0; at < layer.length; at += pieceBytes) reader.push(layer.subarray(at, at + pieceBytes));
  reader.finish();
  const { tail, summary } = filter.finish();
  return { bytes: Buffer.concat([...out, ...tail]), summary };
}

interface Read {
  readonly name: string;
  readonly line: string;
}

async function readBack(bytes: Buffer): Promise<readonly Read[]> {
  const found: Read[] = [];
  const extract = tarStream.extract();
  Readable.from([bytes]).pipe(extract);
  for await (const entry of extract) {
    const pieces: Buffer[] = [];
    for await (const piece of entry) pieces.push(piece as Buffer);
    const { name, type, mode, uid, gid, linkname, devmajor, devminor, pax } = entry.header;
    const device = type === 'character-device' || type === 'block-device' ? ` ${devmajor}:${devminor}` : '';
    const attributes = Object.keys(pax ?? {})
      .filter(key => key.startsWith('SCHILY'))
      .join(',');
    const data = Buffer.concat(pieces).toString('utf8');
    const line = `${type} ${(mode ?? 0).toString(8)} ${uid}:${gid}${device}${linkname ? ` -> ${linkname}` : ''}${data === '' ? '' : ` "${data}"`}${attributes === '' ? '' : ` ${attributes}`}`;
    found.push({ name, line });
  }
  return found;
}

async function written(entries: readonly RawEntry[]): Promise<Readonly<Record<string, string>>> {
  const read = await readBack(filtered(tarOf(entries)).bytes);
  return Object.fromEntries(read.map(({ name, line }) => [name, line]));
}

t.test('hostile layers are refused with image-layer, or come out tame', async t => {
  for (const { title, layer, outcome } of hostileLayers('/tmp/canary')) {
    const bytesMax = 2 ** 30;
    if (outcome === 'image-layer') {
      try {
        filtered(layer, { bytesMax });
        t.fail(`taken: ${title}`);
      } catch (error) {
        t.equal(codeOf(error), 'image-layer', title);
      }
      continue;
    }
    const read = await readBack(filtered(layer, { bytesMax }).bytes);
    for (const { name, line } of read) {
      t.notOk(name.startsWith('/') || name.split('/').includes('..'), `${title}: ${name}`);
      t.notMatch(line, /trusted|overlay|system\.|selinux/, `${title}: ${line}`);
    }
  }
});

t.test('every parent comes before what is in it, as Docker makes it', async t => {
  const read = await readBack(
    filtered(
      tarOf([
        { path: 'a/b/c', data: 'x', uid: 7 },
        { path: 'a/b/', type: '5', mode: 0o700, uid: 8 },
      ]),
    ).bytes,
  );
  t.same(
    read.map(({ name, line }) => `${name} ${line}`),
    ['a directory 755 0:0', 'a/b directory 755 0:0', 'a/b/c file 644 7:0 "x"', 'a/b directory 700 8:0'],
  );
});

t.test('whiteouts become devices 0:0 at the end, and opaque marks a list', async t => {
  const { bytes, summary } = filtered(
    tarOf([
      { path: 'etc/.wh.gone' },
      { path: 'etc/kept', data: 'k' },
      { path: 'var/.wh..wh..opq' },
      { path: 'var/new', data: 'n' },
      { path: '.wh.file' },
      { path: 'file', data: 'made anew' },
      { path: 'dir/x', data: 'x' },
      { path: '.wh.dir' },
    ]),
  );
  const read = Object.fromEntries((await readBack(bytes)).map(({ name, line }) => [name, line]));
  t.equal(read['etc/gone'], 'character-device 0 0:0 0:0');
  t.equal(read['etc/kept'], 'file 644 0:0 "k"');
  t.equal(read['file'], 'file 644 0:0 "made anew"', 'what the layer brings hides what is below without help');
  t.notOk(
    Object.keys(read).some(name => name.includes('.wh.')),
    'no marker is left',
  );
  t.same(summary.opaque, ['dir', 'var'], 'a directory that is taken away and made anew hides what is below');
  t.same((await readBack(bytes)).at(-1)?.name, 'etc/gone');
});

t.test('an opaque mark of the root, and the mode of the root, are told', async t => {
  const { summary } = filtered(
    tarOf([{ path: './', type: '5', mode: 0o711, uid: 3, gid: 4 }, { path: '.wh..wh..opq' }]),
  );
  t.same(summary, { entries: 2, bytes: 0, opaque: [''], root: { mode: 0o711, uid: 3, gid: 4 } });
});

t.test('of attributes only those of users, and capabilities of files, are kept', async t => {
  const pax = {
    'SCHILY.xattr.user.a': 'x',
    'SCHILY.xattr.security.capability': 'c',
    'SCHILY.xattr.security.ima': 'i',
    'SCHILY.xattr.trusted.x': 't',
    'SCHILY.xattr.user.overlay.redirect': '/etc',
    'LIBARCHIVE.xattr.user.b': 'eA',
  };
  const found = await written([
    { path: 'file', data: 'd', pax },
    { path: 'directory', type: '5', mode: 0o755, pax },
    { path: 'link', type: '2', target: 't', pax },
    { path: 'null', type: '3', major: 1, minor: 3, pax },
  ]);
  t.match(found['file'], /SCHILY.xattr.user.a,SCHILY.xattr.security.capability$/);
  t.match(found['directory'], /0:0 SCHILY.xattr.user.a$/);
  t.notMatch(found['link'], /SCHILY/);
  t.notMatch(found['null'], /SCHILY/);
});

t.test('long names, large owners and times below zero survive', async t => {
  const long = `${'d'.repeat(200)}/${'f'.repeat(200)}`;
  const read = await readBack(
    filtered(
      tarOf([
        { path: 's', data: 'x', pax: { path: long, uid: '2000000000', mtime: '-12.5' } },
        { path: 'l', type: '2', pax: { linkpath: 't'.repeat(500) } },
      ]),
    ).bytes,
  );
  t.ok(read.some(({ name, line }) => name === long && line.includes('2000000000:0')));
  t.ok(read.some(({ line }) => line.endsWith(`-> ${'t'.repeat(500)}`)));
});

t.test('the pieces in which an archive comes do not matter', async t => {
  const layer = tarOf([
    { path: 'a', data: 'x'.repeat(1_500), pax: { path: 'p'.repeat(150), mtime: '1.25' } },
    { path: '.wh.z', data: '' },
    { path: 'd/e', type: '2', target: 'x' },
    { path: 'empty' },
  ]);
  const whole = filtered(layer).bytes;
  for (const pieceBytes of [1, 7, 511, 512, 513, 1_000])
    t.ok(filtered(layer, { pieceBytes }).bytes.equals(whole), `${pieceBytes} bytes`);
});

t.test('an archive cut anywhere in an entry is refused', async t => {
  const layer = tarOf([{ path: 'a', data: 'x'.repeat(600), pax: { mtime: '1.5' } }]);
  // Behind the data only zeros are missing: those that fill the last block, and the end mark.
  const dataEnd = layer.length - 1_024 - 424;
  for (let at = 1; at < dataEnd; at += 1)
    t.throws(() => filtered(layer.subarray(0, at)), { code: 'image-layer' }, `after ${at} bytes`);
  const whole = filtered(layer).bytes;
  for (let at = dataEnd; at <= dataEnd + 424; at += 53)
    t.ok(filtered(layer.subarray(0, at)).bytes.equals(whole), `after ${at} bytes`);
});

t.test('limits are told with the entry that is beyond them', async t => {
  const layer = tarOf([
    { path: 'a', data: 'x'.repeat(100) },
    { path: 'b', data: 'x'.repeat(100) },
  ]);
  t.throws(() => filtered(layer, { entriesMax: 1 }), /"b".*limit of 1 entries/);
  t.throws(() => filtered(layer, { bytesMax: 150 }), /"b".*limit of 150 bytes/);
});
