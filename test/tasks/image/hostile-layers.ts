/**
 * Layers that somebody made to break out, to plant what the kernel would obey, or to be read in two ways. `canary` is a
 * directory outside of the store that none of them may touch.
 */
import { endMark, paxOf, type RawEntry, rawEntry, tarOf, withSum } from './archives.js';

export interface HostileLayer {
  readonly title: string;
  readonly layer: Buffer;
  /** 'harmless': it is unpacked, and all in it stays within the layer. */
  readonly outcome: 'image-layer' | 'harmless';
  /** Paths that exist in the unpacked layer when it is harmless, and those that must not. */
  readonly has?: readonly string[];
  readonly hasNot?: readonly string[];
}

const directory = (path: string): RawEntry => ({ path, type: '5', mode: 0o755 });
const link = (path: string, target: string): RawEntry => ({ path, type: '2', target, mode: 0o777 });
const hardLink = (path: string, target: string): RawEntry => ({ path, type: '1', target });
const file = (path: string, data = 'evil'): RawEntry => ({ path, data });
const named = (path: string): RawEntry => ({ path: 'short', data: 'x', pax: { path } });

export function hostileLayers(canary: string): readonly HostileLayer[] {
  const up = '../'.repeat(12);
  const row = (
    title: string,
    entries: readonly RawEntry[],
    outcome: HostileLayer['outcome'] = 'image-layer',
    more: Partial<HostileLayer> = {},
  ): HostileLayer => ({
    title,
    layer: tarOf(entries),
    outcome,
    ...more,
  });
  return [
    // Names that lead out.
    row('a name with ".."', [file('../evil')]),
    row('a name with many ".."', [file(`${up}${canary.slice(1)}/evil`)]),
    row('".." in the middle of a name', [directory('a'), file('a/../../evil')]),
    row('".." that comes back', [directory('a'), file('a/../b')]),
    row('".." as the whole name', [directory('..')]),
    row('an absolute name', [file(`${canary}/evil`)], 'harmless', { has: [`${canary.slice(1)}/evil`] }),
    row('a name of two slashes', [file(`//${canary.slice(1)}/evil`)], 'harmless', { has: [`${canary.slice(1)}/evil`] }),
    row('".." in a pax path', [named('../evil')]),
    row('".." in a GNU long name', [
      { path: 'longlink', type: 'L', data: `${'a/'.repeat(60)}${'../'.repeat(70)}evil\0` },
      file('short'),
    ]),
    row('no name at all', [file('')]),
    // Links on the way.
    row('a file through an absolute link', [link('out', canary), file('out/evil')]),
    row('a file through a relative link', [link('out', `${up}${canary.slice(1)}`), file('out/evil')]),
    row('a file through a chain of links', [link('a', 'b'), link('b', canary), file('a/evil')]),
    row('a file through a link in a directory', [directory('d'), link('d/out', canary), file('d/out/evil')]),
    row('a directory through a link', [link('out', canary), directory('out/evil')]),
    row('a link through a link', [link('out', canary), link('out/evil', '/etc/passwd')]),
    row('a device through a link', [link('out', canary), { path: 'out/evil', type: '3', major: 1, minor: 3 }]),
    row('a whiteout through a link', [link('out', canary), file('out/.wh.evil', '')]),
    row('an opaque mark through a link', [link('out', canary), file('out/.wh..wh..opq', '')]),
    row('a link that takes the place of a directory', [directory('d'), file('d/x'), link('d', canary), file('d/evil')]),
    row('a link that takes the place of a directory nobody named', [file('d/x'), link('d', canary), file('d/evil')]),
    row('a directory over a link', [link('d', canary), directory('d'), file('d/evil')]),
    row('a directory over a link, and its mode', [
      link('d', canary),
      { path: 'd/', type: '5', mode: 0o777, uid: 1234 },
    ]),
    row('a link with a slash at the end of its name', [link('d/', canary), file('d/evil')]),
    row('a link by another writing of its name', [link('./a//d', canary), file('a/./d/evil')]),
    row('links alone, wherever they point', [link('a', canary), link('b', '../../..'), link('c', 'c')], 'harmless', {
      has: ['a', 'b', 'c'],
    }),
    // Hard links.
    row('a hard link to an absolute path', [hardLink('passwd', '/etc/passwd')]),
    row('a hard link to a relative path', [hardLink('passwd', `${up}etc/passwd`)]),
    row('a hard link through a link', [link('out', canary), hardLink('stolen', 'out/secret'), file('stolen')]),
    row('a hard link to what comes later', [hardLink('a', 'b'), file('b')]),
    row('a hard link to itself', [hardLink('a', 'a')]),
    row('a hard link to a directory', [directory('d'), hardLink('a', 'd')]),
    row('a hard link to a directory nobody named', [file('d/x'), hardLink('a', 'd')]),
    row('a hard link to a link, written through', [
      link('out', `${canary}/secret`),
      hardLink('a', 'out'),
      file('a', 'overwritten'),
    ]),
    row('a hard link to a link', [link('out', `${canary}/secret`), hardLink('a', 'out')], 'harmless', { has: ['a'] }),
    row('a hard link with data', [file('a'), { path: 'b', type: '1', target: 'a', data: 'x'.repeat(512) }]),
    row('a hard link to a whiteout', [file('.wh.a', ''), hardLink('b', '.wh.a')]),
    // Twice.
    row('one file twice', [file('a', 'first'), file('a', 'second')]),
    row('one file twice, written in two ways', [file('a/b'), file('./a//b')]),
    row('a file and a directory', [file('a'), directory('a')]),
    row('a directory and a file', [directory('a'), file('a')]),
    row('one directory twice', [{ ...directory('a'), mode: 0o700 }, file('a/b'), directory('a/')], 'harmless', {
      has: ['a/b'],
    }),
    // Devices.
    row('a whiteout made by hand', [{ path: 'hidden', type: '3', major: 0, minor: 0 }]),
    row('a block device 0:0', [{ path: 'hidden', type: '4', major: 0, minor: 0 }]),
    row('a device number that cannot be', [{ path: 'd', type: '3', major: 1_048_576, minor: 1 }]),
    row('a device, as Docker has them', [{ path: 'null', type: '3', major: 1, minor: 3, mode: 0o666 }], 'harmless', {
      has: ['null'],
    }),
    // Whiteouts.
    row('a whiteout of nothing', [file('.wh.', '')]),
    row('a whiteout of "."', [file('.wh..', '')]),
    row('a whiteout of ".."', [file('.wh...', '')]),
    row('a whiteout of a whiteout', [file('.wh..wh.x', '')]),
    row('a file below a whiteout', [directory('.wh.d'), file('.wh.d/x')]),
    row('a whiteout that is a directory', [directory('.wh.d')]),
    row('a whiteout that is a link', [link('.wh.d', canary)]),
    row('whiteouts with data, twice', [file('.wh.d'), file('.wh.d')], 'harmless', { has: ['d'], hasNot: ['.wh.d'] }),
    row('book-keeping of AUFS', [directory('.wh..wh.plnk'), file('.wh..wh.plnk/1.2')], 'harmless', {
      hasNot: ['.wh..wh.plnk'],
    }),
    // Attributes are checked by value in the tests of the filter; here they must not stop the rest.
    row(
      'attributes that overlayfs obeys',
      [
        {
          ...directory('d'),
          pax: {
            'SCHILY.xattr.trusted.overlay.redirect': '/etc',
            'SCHILY.xattr.trusted.overlay.opaque': 'y',
            'SCHILY.xattr.user.overlay.opaque': 'y',
            'SCHILY.xattr.system.posix_acl_access': 'x',
            'SCHILY.xattr.security.selinux': 'x',
          },
        },
        { ...file('f'), pax: { 'SCHILY.xattr.trusted.overlay.metacopy': '' } },
      ],
      'harmless',
      { has: ['d', 'f'] },
    ),
    row('an attribute with a name that cannot be', [{ ...file('f'), pax: { 'SCHILY.xattr.user.a b': 'x' } }]),
    row('an attribute larger than the kernel has', [
      { ...file('f'), pax: { 'SCHILY.xattr.user.a': 'x'.repeat(70_000) } },
    ]),
    // Sizes and names beyond limits.
    row('a name longer than 255', [named(`a/${'n'.repeat(256)}`)]),
    row('a path longer than 4095', [named(`${'d/'.repeat(2_100)}x`)]),
    row('a link to more than 4095', [{ path: 'l', type: '2', pax: { linkpath: 'x'.repeat(4_096) } }]),
    row('a link to nothing', [{ path: 'l', type: '2' }]),
    row('an owner that would become root', [{ ...file('f'), pax: { uid: '4294967296' } }]),
    row('an owner below zero', [{ ...file('f'), pax: { uid: '-1' } }]),
    {
      title: 'an extended header of more than 1 MiB',
      layer: Buffer.concat([rawEntry({ path: 'p', type: 'x', size: 2 ** 21 }), endMark]),
      outcome: 'image-layer',
    },
    {
      title: 'more data than the archive has',
      layer: Buffer.concat([rawEntry({ ...file('f'), size: 8 ** 10 })]),
      outcome: 'image-layer',
    },
    row('a bomb of sizes', [{ path: 'f', pax: { size: String(2 ** 50) } }]),
    // What two readers would take in two ways.
    row(
      'a pax size that differs from the header',
      [{ ...file('f', 'x'.repeat(1_024)), size: 512, pax: { size: '1024' } }, file('g')],
      'harmless',
      { has: ['f', 'g'] },
    ),
    row('a negative size', [{ ...file('f', ''), pax: { size: '-1' } }]),
    row('a directory with data', [{ ...directory('d'), data: 'x'.repeat(512) }]),
    row('a link with data', [{ ...link('l', 'x'), data: 'x'.repeat(512) }]),
    row('two names for one entry', [
      { path: 'l', type: 'L', data: `${'a'.repeat(120)}\0` },
      { path: 's', data: 'x', pax: { path: 'other' } },
    ]),
    row('a zero byte in a pax path', [named('a\0b')]),
    row('a sparse file of GNU', [{ path: 's', type: 'S', data: 'x' }]),
    row('a sparse file of pax', [
      {
        ...file('s'),
        pax: {
          'GNU.sparse.major': '1',
          'GNU.sparse.minor': '0',
          'GNU.sparse.name': '../evil',
          'GNU.sparse.realsize': '5',
        },
      },
    ]),
    row('a path for all that follow', [{ path: 'g', type: 'g', data: paxOf({ path: '../evil' }) }, file('f')]),
    row(
      'a comment for all that follow',
      [{ path: 'g', type: 'g', data: paxOf({ comment: 'hello' }) }, file('f')],
      'harmless',
      { has: ['f'] },
    ),
    row('a pax header whose length lies', [{ path: 'x', type: 'x', data: '999 path=evil\n' }, file('f')]),
    row('an extended header and then nothing', [{ path: 'x', type: 'x', data: paxOf({ path: 'evil' }) }]),
    row('an unknown type', [{ path: 'x', type: 'Z' }]),
    row('a list of names of another volume', [{ path: 'x', type: 'M' }]),
    {
      title: 'a wrong checksum',
      layer: Buffer.concat([damaged(rawEntry(file('f'))), endMark]),
      outcome: 'image-layer',
    },
    {
      title: 'no number as owner',
      layer: Buffer.concat([withOwner(rawEntry(file('f')), 'zzzzzzz'), endMark]),
      outcome: 'image-layer',
    },
    {
      title: 'an archive in an archive behind the end mark',
      layer: Buffer.concat([tarOf([file('f')]), tarOf([file('../evil')])]),
      outcome: 'harmless',
      has: ['f'],
    },
  ];
}

function damaged(bytes: Buffer): Buffer {
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  return bytes;
}

function withOwner(bytes: Buffer, text: string): Buffer {
  bytes.write(text, 108, 'latin1');
  withSum(bytes.subarray(0, 512));
  return bytes;
}
