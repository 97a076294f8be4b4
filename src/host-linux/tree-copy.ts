/**
 * Trees of files to and from tar streams, synchronously: for `covey cp`, on this machine in the command line's own process,
 * and inside a container in a child that sees nothing else (copy-child.ts).
 *
 * Keeps true: nothing is read or written through a link below the top of the tree; what an archive calls "..", an absolute
 * name, or a name below a link is refused; devices are neither read nor made. Views of the kernel (/proc, /sys) are no files:
 * nobody knows how long they are before they are read, and a whole root file system is copied without them.
 *
 * Not here: the form of the stream (tar-stream.ts), which path is meant (cli/commands/copy.ts).
 */
import * as fs from 'node:fs';
import { CoveyError, errnoOf } from '../errors.js';
import { openTarParser, renderTarHeader, type TarEntry, type TarParser, tarEnd, tarPadding } from '../tar-stream.js';

const chunkBytes = 262_144;
const gatherBytes = 65_536;
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

/** A path as bytes; names are held as latin1 texts. */
const raw = (path: string): Buffer => Buffer.from(path, 'latin1');

/** User and group ids between this process and the archive: another user namespace has other numbers. */
export interface IdMap {
  readonly inside: (id: number) => number;
  readonly outside: (id: number) => number;
}

const sameIds: IdMap = { inside: id => id, outside: id => id };

export interface PackOptions {
  /** Absolute, latin1. */
  readonly path: string;
  /** How the top of the tree is called in the archive. */
  readonly name: string;
  /** Of a path that is a link: what it points to. */
  readonly followLink: boolean;
  readonly ids?: IdMap | undefined;
  /** So many bytes of a file's content. */
  readonly onContent?: ((bytes: number) => void) | undefined;
}

/** statfs(2): proc, sysfs, cgroup 1 and 2, devpts, mqueue, debugfs, tracefs, securityfs, bpf, configfs, pstore, efivarfs. */
const kernelFileSystems: ReadonlySet<number> = new Set([
  0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x1cd1, 0x19800202, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11,
  0x62656570, 0x6165676c, 0xde5e81e4,
]);

/** The archive in pieces. Sockets, devices, FIFOs, what is gone when its turn comes, and what the kernel shows are left out. */
export function* packTree(options: PackOptions): Generator<Buffer> {
  const links = new Map<string, string>();
  const look = options.followLink ? fs.statSync : fs.lstatSync;
  const ids = options.ids ?? sameIds;
  const { onContent = () => undefined } = options;
  const stat = look(raw(options.path));
  if ((stat.isFile() || stat.isDirectory()) && isOfKernel(options.path)) {
    throw new CoveyError(
      'bad-argument',
      `Cannot copy "${shown(options.path)}": it is a view of the kernel, not a file`,
      {
        hint: 'read it where it is: covey exec TASK cat FILE',
      },
    );
  }
  yield* gathered(packEntry(options.path, options.name, { stat, links, ids, onContent, isTop: true }));
  yield tarEnd();
}

function isOfKernel(path: string): boolean {
  return kernelFileSystems.has(fs.statfsSync(raw(path)).type);
}

function shown(path: string): string {
  return Buffer.from(path, 'latin1').toString();
}

/** Small pieces joined: each one that leaves costs a system call and a message. */
function* gathered(pieces: Iterable<Buffer>): Generator<Buffer> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    waiting.push(piece);
    bytes += piece.length;
    if (bytes < gatherBytes) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(waiting);
}

/** undefined when it is gone: trees change while they are copied. */
function unlessGone<Found>(look: () => Found): Found | undefined {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

interface Packed {
  readonly stat: fs.Stats;
  readonly ids: IdMap;
  readonly onContent: (bytes: number) => void;
  readonly isTop: boolean;
  /** Files with several names, by device and inode: the name under which they came first. */
  readonly links: Map<string, string>;
}

function* packEntry(path: string, name: string, packed: Packed): Generator<Buffer> {
  const { stat, links, ids } = packed;
  const { mode, mtimeMs } = stat;
  const [uid, gid] = [ids.inside(stat.uid), ids.inside(stat.gid)];
  const plain = { name, target: '', sizeBytes: 0, mode: mode & 0o7777, uid, gid, modifiedMs: Math.floor(mtimeMs) };
  if (stat.isSymbolicLink()) {
    const target = unlessGone(() => fs.readlinkSync(raw(path), { encoding: 'latin1' }));
    if (target !== undefined) yield renderTarHeader({ ...plain, kind: 'symlink', target });
  } else if (stat.isDirectory()) {
    yield renderTarHeader({ ...plain, kind: 'directory' });
    yield* packBelow(path, name, packed);
  } else if (stat.isFile()) {
    const key = `${stat.dev}/${stat.ino}`;
    const first = stat.nlink > 1 ? links.get(key) : undefined;
    if (first !== undefined) yield renderTarHeader({ ...plain, kind: 'link', target: first });
    else {
      const isThere = yield* packFile(path, plain, packed);
      if (isThere && stat.nlink > 1) links.set(key, name);
    }
  }
}

function* packBelow(path: string, name: string, packed: Packed): Generator<Buffer> {
  const { dev } = packed.stat;
  for (const child of unlessGone(() => fs.readdirSync(raw(path), { encoding: 'latin1' })) ?? []) {
    const below = `${path === '/' ? '' : path}/${child}`;
    const stat = fs.lstatSync(raw(below), { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const isMount = stat.dev !== dev && (stat.isFile() || stat.isDirectory());
    if (isMount && unlessGone(() => isOfKernel(below)) !== false) continue;
    yield* packEntry(below, `${name}/${child}`, { ...packed, stat, isTop: false });
  }
}

/** As long as the header says, whatever becomes of the file meanwhile. false: it is gone, or something else by now. */
function* packFile(
  path: string,
  plain: Omit<TarEntry, 'kind'>,
  { isTop, onContent }: Packed,
): Generator<Buffer, boolean> {
  const fd = unlessGone(() => fs.openSync(raw(path), O_RDONLY | O_NONBLOCK | (isTop ? 0 : O_NOFOLLOW)));
  if (fd === undefined) return false;
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) return false;
    yield renderTarHeader({ ...plain, kind: 'file', sizeBytes: stat.size });
    for (let left = stat.size; left > 0; ) {
      const buffer = Buffer.alloc(Math.min(chunkBytes, left));
      const got = fs.readSync(fd, buffer, 0, buffer.length, -1);
      const piece = got === 0 ? buffer : buffer.subarray(0, got); // it became shorter: zeros
      left -= piece.length;
      onContent(piece.length);
      yield piece;
    }
    yield tarPadding(stat.size);
    return true;
  } finally {
    fs.closeSync(fd);
  }
}

export interface UnpackOptions {
  /** An existing directory, latin1; its own path may lead through links. */
  readonly directory: string;
  /** The first part of each name becomes another one. */
  readonly rename?: { readonly from: string; readonly to: string } | undefined;
  /** Owners as the archive has them; else these. undefined: whoever we are. */
  readonly owner: 'archive' | { readonly uid: number; readonly gid: number } | undefined;
  /** Programs that change their user keep that bit. */
  readonly setuid: boolean;
  readonly ids?: IdMap | undefined;
  /** So many bytes of a file's content. */
  readonly onContent?: ((bytes: number) => void) | undefined;
}

interface Unpacking extends UnpackOptions {
  readonly root: string;
  /** Directories that are known to be no links. */
  readonly sure: Set<string>;
  /** Their modes and times are set at the end, when nothing is written into them any more. */
  readonly directories: { readonly path: string; readonly entry: TarEntry }[];
  open: { readonly fd: number; readonly path: string; readonly entry: TarEntry } | undefined;
}

export function openUnpack(options: UnpackOptions): TarParser {
  const root = fs.realpathSync(raw(options.directory), { encoding: 'latin1' }).replace(/\/$/, '');
  const state: Unpacking = { ...options, root, sure: new Set([root]), directories: [], open: undefined };
  const parser = openTarParser({
    entry: entry => makeEntry(state, entry),
    data: bytes => {
      if (state.open === undefined) return;
      state.onContent?.(bytes.length);
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(state.open.fd, bytes, at);
    },
  });
  return {
    push: parser.push,
    finish: () => {
      parser.finish();
      endFile(state);
      for (const { path, entry } of state.directories.reverse()) settle(state, path, entry);
    },
  };
}

function refuse(entry: TarEntry, why: string): never {
  throw new CoveyError('bad-archive', `Cannot write "${Buffer.from(entry.name, 'latin1').toString()}": ${why}`);
}

function makeEntry(state: Unpacking, entry: TarEntry): void {
  endFile(state);
  const path = placeOf(state, entry, entry.name);
  const there = path === state.root ? undefined : fs.lstatSync(raw(path), { throwIfNoEntry: false });
  if (entry.kind === 'other') refuse(entry, 'it is a device, a FIFO or of an unknown kind');
  if (entry.kind === 'directory') {
    if (there !== undefined && !there.isDirectory()) refuse(entry, 'it is a directory, and something else is there');
    if (there === undefined && path !== state.root) fs.mkdirSync(raw(path), { mode: 0o700 });
    state.sure.add(path);
    if (path !== state.root) state.directories.push({ path, entry });
    return;
  }
  if (path === state.root) refuse(entry, 'it is no directory');
  if (there?.isDirectory()) refuse(entry, 'a directory is there');
  if (entry.kind === 'link') {
    const source = placeOf(state, entry, entry.target);
    if (source === path) return;
    if (fs.lstatSync(raw(source), { throwIfNoEntry: false })?.isFile() !== true)
      refuse(entry, 'it is a link to no file');
    if (there !== undefined) fs.unlinkSync(raw(path));
    fs.linkSync(raw(source), raw(path));
    return;
  }
  if (there !== undefined) fs.unlinkSync(raw(path));
  if (entry.kind === 'symlink') {
    fs.symlinkSync(raw(entry.target), raw(path));
    own(state, entry, (uid, gid) => fs.lchownSync(raw(path), uid, gid));
    fs.lutimesSync(raw(path), entry.modifiedMs / 1_000, entry.modifiedMs / 1_000);
    return;
  }
  state.open = { fd: fs.openSync(raw(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), path, entry };
}

/** Below the root, with no link on the way; directories on the way that are missing are made. */
function placeOf(state: Unpacking, entry: TarEntry, name: string): string {
  const { root, sure, rename } = state;
  const parts = name.split('/').filter(part => part !== '' && part !== '.');
  if (name.startsWith('/') || parts.includes('..')) refuse(entry, 'its name leads out of the directory');
  if (rename !== undefined) {
    if (rename.from !== '.' && parts.shift() !== rename.from) refuse(entry, `it does not lie in "${rename.from}"`);
    if (rename.to !== '') parts.unshift(rename.to);
  }
  let path = root;
  for (const part of parts.slice(0, -1)) {
    path = `${path}/${part}`;
    if (sure.has(path)) continue;
    const stat = fs.lstatSync(raw(path), { throwIfNoEntry: false });
    if (stat === undefined) fs.mkdirSync(raw(path), { mode: 0o755 });
    else if (!stat.isDirectory()) refuse(entry, 'a link or a file lies on its way');
    sure.add(path);
  }
  const last = parts.at(-1);
  // What was a directory may be a link by now, made by a later entry.
  if (last !== undefined && entry.kind !== 'directory') sure.delete(`${path}/${last}`);
  return last === undefined ? path : `${path}/${last}`;
}

function endFile(state: Unpacking): void {
  if (state.open === undefined) return;
  const { fd, entry } = state.open;
  state.open = undefined;
  try {
    own(state, entry, (uid, gid) => fs.fchownSync(fd, uid, gid));
    fs.fchmodSync(fd, modeOf(state, entry));
    fs.futimesSync(fd, entry.modifiedMs / 1_000, entry.modifiedMs / 1_000);
  } finally {
    fs.closeSync(fd);
  }
}

function settle(state: Unpacking, path: string, entry: TarEntry): void {
  const fd = fs.openSync(raw(path), O_RDONLY | O_NOFOLLOW | fs.constants.O_DIRECTORY);
  try {
    own(state, entry, (uid, gid) => fs.fchownSync(fd, uid, gid));
    fs.fchmodSync(fd, modeOf(state, entry));
    fs.futimesSync(fd, entry.modifiedMs / 1_000, entry.modifiedMs / 1_000);
  } finally {
    fs.closeSync(fd);
  }
}

function modeOf({ setuid }: Unpacking, { mode }: TarEntry): number {
  return setuid ? mode : mode & 0o1777;
}

function own(state: Unpacking, entry: TarEntry, change: (uid: number, gid: number) => void): void {
  const { owner, ids = sameIds } = state;
  if (owner === undefined) return;
  const { uid, gid } = owner === 'archive' ? entry : owner;
  try {
    change(ids.outside(uid), ids.outside(gid));
  } catch (cause) {
    if (errnoOf(cause) !== 'EPERM') throw cause;
    throw new CoveyError('no-permission', `Cannot give "${entry.name}" to user ${uid} and group ${gid}`, { cause });
  }
}
