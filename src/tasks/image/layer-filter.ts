/**
 * Decides about each entry of a layer what the unpacking tar is told. What comes out is a tar stream of our own making, in
 * which no path leads out of the layer, nothing is written through a link, every parent directory comes first, and nothing
 * exists twice; so whatever the reader of it makes of links, it never meets one on its way. Pure.
 *
 * Whiteouts: `.wh.NAME` becomes a character device 0:0 and `.wh..wh..opq` an attribute of its directory (overlayfs), both at
 * the end, because they speak of the layers below wherever in the archive they stand.
 *
 * Devices and fifos are made as Docker makes them: which of them a container may open is up to its device rules.
 *
 * Not here: parsing (tar-reader.ts), writing (unpack-io.ts), overlay mounts (mount.ts).
 */
import { Buffer } from 'node:buffer';
import { cleanPath, hostile, joined, nameOf, parentOf } from './layer-path.js';
import { blockBytes, paddingBytes, renderEntry, type TarEntry } from './tar-header.js';

export interface LayerLimits {
  /** Of files, directories and all else; bounds the memory of the child too. */
  readonly entriesMax: number;
  /** Of the data of all files. */
  readonly bytesMax: number;
}

export const layerEntriesMax = 2_000_000;

export interface LayerRoot {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** What is told about a layer once it is read. */
export interface LayerSummary {
  readonly entries: number;
  readonly bytes: number;
  /** Directories that hide all of the same path below; "" is the root. */
  readonly opaque: readonly string[];
  /** Of the root directory, when the layer has an entry for it. */
  readonly root: LayerRoot | undefined;
}

export interface LayerFilter {
  /** Throws image-layer. The blocks to write before the data that follow; undefined: neither entry nor data are written. */
  readonly entry: (entry: TarEntry) => Uint8Array | undefined;
  /** Blocks that end the archive. Once, at the end. */
  readonly finish: () => { readonly tail: readonly Uint8Array[]; readonly summary: LayerSummary };
}

/** What stands at a path: a directory (named or only implied by what is in it), or anything else. */
type Seen = 'directory' | 'implied' | 'leaf' | 'link';

interface State {
  readonly seen: Map<string, Seen>;
  readonly whiteouts: Set<string>;
  readonly opaque: Set<string>;
  readonly limits: LayerLimits;
  /** The parent that was checked last: most entries have the same as the one before. */
  parentChecked: string | undefined;
  entries: number;
  bytes: number;
  root: LayerRoot | undefined;
}

const whiteoutPrefix = '.wh.';
const whiteoutOpaque = '.wh..wh..opq';
/** Book-keeping of AUFS that old images carry. */
const aufsNames = ['.wh..wh.aufs', '.wh..wh.orph', '.wh..wh.plnk'];

export function openLayerFilter(limits: LayerLimits): LayerFilter {
  const state: State = {
    seen: new Map([['', 'implied']]),
    whiteouts: new Set(),
    opaque: new Set(),
    limits,
    parentChecked: undefined,
    entries: 0,
    bytes: 0,
    root: undefined,
  };
  return { entry: entry => takeEntry(state, entry), finish: () => finish(state) };
}

function takeEntry(state: State, entry: TarEntry): Uint8Array | undefined {
  const path = cleanPath(entry.path);
  count(state, path, entry);
  if (path === '') return takeRoot(state, entry);
  if (path.includes(whiteoutPrefix) && takeWhiteout(state, path, entry)) return undefined;
  checkOwner(path, entry);
  const parents = parentBlocks(state, path, entry);
  const standing = state.seen.get(path);
  if (entry.kind === 'directory') {
    if (standing === 'leaf' || standing === 'link') throw hostile(path, 'stands in the layer twice');
    state.seen.set(path, 'directory');
  } else {
    if (standing !== undefined) throw hostile(path, 'stands in the layer twice');
    state.seen.set(path, entry.kind === 'symlink' ? 'link' : 'leaf');
  }
  checkKind(state, path, entry);
  const target = entry.kind === 'hard-link' ? cleanPath(entry.target) : entry.target;
  return blocks([...parents, renderEntry({ ...entry, path, target, xattrs: keptXattrs(path, entry) })]);
}

function blocks(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

function count(state: State, path: string, entry: TarEntry): void {
  state.entries += 1;
  state.bytes += entry.sizeBytes;
  if (state.entries > state.limits.entriesMax)
    throw hostile(path, `is beyond the limit of ${state.limits.entriesMax} entries`);
  if (state.bytes > state.limits.bytesMax)
    throw hostile(path, `is beyond the limit of ${state.limits.bytesMax} bytes for this layer`);
}

/** "./": the owner and mode of the root directory. */
function takeRoot(state: State, entry: TarEntry): Uint8Array {
  if (entry.kind !== 'directory') throw hostile(entry.path, 'is the root of the layer and no directory');
  checkOwner(entry.path, entry);
  state.seen.set('', 'directory');
  state.root = { mode: entry.mode, uid: entry.uid, gid: entry.gid };
  return renderEntry({ ...entry, path: './', xattrs: keptXattrs('', entry) });
}

/** True when the entry is no file of its own: it says what the layer takes away. */
function takeWhiteout(state: State, path: string, entry: TarEntry): boolean {
  const [first, ...rest] = path.split('/').filter(part => part.startsWith(whiteoutPrefix));
  if (first === undefined) return false;
  if (aufsNames.includes(first)) return true;
  const parent = parentOf(path);
  if (rest.length > 0 || first !== nameOf(path)) throw hostile(path, 'lies below a whiteout');
  if (entry.kind !== 'file' && entry.kind !== 'hard-link') throw hostile(path, 'is a whiteout and no file');
  if (first === whiteoutOpaque) {
    state.opaque.add(parent);
    return true;
  }
  const hidden = first.slice(whiteoutPrefix.length);
  if (hidden === '' || hidden === '.' || hidden === '..' || hidden.startsWith(whiteoutPrefix)) {
    throw hostile(path, 'is a whiteout of a name that cannot be');
  }
  state.whiteouts.add(joined(parent, hidden));
  return true;
}

function checkOwner(path: string, entry: TarEntry): void {
  for (const id of [entry.uid, entry.gid]) {
    if (id < 0 || id > 0x7fff_ffff)
      throw hostile(path, `has the owner ${entry.uid}:${entry.gid}; the largest is 2147483647`);
  }
}

/** Headers for the parents that have none yet. Each of them is a directory, or the entry is refused. */
function parentBlocks(state: State, path: string, entry: { readonly modified: string }): readonly Uint8Array[] {
  const parent = parentOf(path);
  if (parent === state.parentChecked) return [];
  const made: Uint8Array[] = [];
  for (let end = parent.indexOf('/'); parent !== ''; end = parent.indexOf('/', end + 1)) {
    const above = end < 0 ? parent : parent.slice(0, end);
    const standing = state.seen.get(above);
    if (standing === 'link' || standing === 'leaf')
      throw hostile(path, `would be written through "${above}", which is no directory`);
    if (standing === undefined) {
      state.seen.set(above, 'implied');
      made.push(renderEntry(impliedDirectory(above, entry.modified)));
    }
    if (end < 0) break;
  }
  state.parentChecked = parent;
  return made;
}

/** A directory that the archive does not name: as Docker makes it. */
function impliedDirectory(path: string, modified: string): TarEntry {
  return {
    kind: 'directory',
    path,
    target: '',
    mode: 0o755,
    uid: 0,
    gid: 0,
    modified,
    sizeBytes: 0,
    major: 0,
    minor: 0,
    xattrs: new Map(),
  };
}

function checkKind(state: State, path: string, entry: TarEntry): void {
  switch (entry.kind) {
    case 'hard-link': {
      const target = cleanPath(entry.target);
      const standing = target === path ? undefined : state.seen.get(target);
      if (standing === 'leaf' || standing === 'link') return;
      throw hostile(path, `is a hard link to "${target}", which is no file that the layer holds before it`);
    }
    case 'symlink':
      if (entry.target === '' || entry.target.length > 4_095)
        throw hostile(path, `links to ${entry.target.length} bytes`);
      return;
    case 'char-device':
    case 'block-device':
      if (entry.major === 0 && entry.minor === 0)
        throw hostile(path, 'is a device 0:0, which overlayfs takes for a whiteout');
      if (entry.major < 0 || entry.major > 0xfff || entry.minor < 0 || entry.minor > 0xf_ffff) {
        throw hostile(path, `is a device ${entry.major}:${entry.minor}, which cannot be`);
      }
      return;
    default:
      return;
  }
}

/**
 * What overlayfs, SELinux and the integrity subsystem would obey never comes from a layer. Kept are the user's own
 * attributes, where the kernel has them, and file capabilities.
 */
function keptXattrs(path: string, entry: TarEntry): ReadonlyMap<string, Uint8Array> {
  if (entry.xattrs.size === 0 || (entry.kind !== 'file' && entry.kind !== 'directory')) return new Map();
  const kept = [...entry.xattrs].filter(([name]) =>
    name === 'security.capability'
      ? entry.kind === 'file'
      : name.startsWith('user.') && !name.startsWith('user.overlay.'),
  );
  for (const [name, value] of kept) {
    const isPlain = name.length <= 255 && /^[\x21-\x7e]+$/.test(name) && !/[=%]/.test(name);
    if (!isPlain || value.length > 65_536)
      throw hostile(path, `has an extended attribute "${name.slice(0, 80)}" that cannot be`);
  }
  return new Map(kept);
}

function finish(state: State): { readonly tail: readonly Uint8Array[]; readonly summary: LayerSummary } {
  const tail: Uint8Array[] = [];
  const opaque = new Set(state.opaque);
  for (const path of state.whiteouts) {
    const standing = state.seen.get(path);
    if (standing === undefined) {
      tail.push(...parentBlocks(state, path, { modified: '0' }));
      tail.push(renderEntry({ ...impliedDirectory(path, '0'), kind: 'char-device', path, mode: 0 }));
      state.seen.set(path, 'leaf');
    } else if (standing === 'directory' || standing === 'implied') {
      opaque.add(path); // taken away below and made anew here
    }
  }
  for (const path of opaque) {
    if (path === '' || state.seen.get(path) === 'directory' || state.seen.get(path) === 'implied') continue;
    tail.push(...parentBlocks(state, joined(path, 'x'), { modified: '0' }));
  }
  tail.push(new Uint8Array(2 * blockBytes));
  return {
    tail,
    summary: { entries: state.entries, bytes: state.bytes, opaque: [...opaque].sort(), root: state.root },
  };
}

/** Zeros after the data of an entry. */
export function padding(sizeBytes: number): Uint8Array {
  return new Uint8Array(paddingBytes(sizeBytes));
}
