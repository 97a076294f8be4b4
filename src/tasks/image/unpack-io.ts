/**
 * Files, compression and processes of the child that imports images. Runs only in that child, which is the reason why it may
 * use node:fs directly, and synchronously: nothing else waits there.
 *
 * Not here: what is done with them (unpack-child.ts, unpack-layer.ts), the system calls of the jail (host-linux/jail.ts).
 */
import { Buffer } from 'node:buffer';
import * as fs from 'node:fs';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { CoveyError, errnoOf } from '../../errors.js';
import type { ArchivePart } from './archive.js';

const pieceBytes = 2 ** 20;
const decompressedPieceBytes = 2 ** 18;
/** Between two looks at the free space. */
const guardEveryBytes = 8 * 2 ** 20;

// ---- reading ------------------------------------------------------------------------------------------------------------

export function readPart(part: ArchivePart): Buffer {
  const buffer = Buffer.alloc(part.sizeBytes);
  const fd = fs.openSync(part.file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    let at = 0;
    while (at < buffer.length) {
      const got = fs.readSync(fd, buffer, at, buffer.length - at, part.offset + at);
      if (got === 0) throw new CoveyError('image-archive', `Cannot read "${part.file}": it became shorter`);
      at += got;
    }
  } finally {
    fs.closeSync(fd);
  }
  return buffer;
}

export async function* streamPart(part: ArchivePart): AsyncGenerator<Buffer> {
  if (part.sizeBytes === 0) return;
  const flags = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW;
  const end = part.offset + part.sizeBytes - 1;
  const fd = fs.openSync(part.file, flags);
  for await (const chunk of fs.createReadStream('', { fd, start: part.offset, end, highWaterMark: pieceBytes })) {
    yield chunk as Buffer;
  }
}

/** A regular file as one part, or undefined. Does not follow a final link. */
export function findFilePart(path: string): ArchivePart | undefined {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true ? { file: path, offset: 0, sizeBytes: stat.size } : undefined;
}

/** Where a chain of links ends; the path itself when there is nothing. */
export function realPath(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    return path; // not there: whoever needs it will say so
  }
}

export function kindOf(path: string): 'file' | 'directory' | 'other' | undefined {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  return stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : 'other';
}

// ---- compression --------------------------------------------------------------------------------------------------------

export type Compression = 'none' | 'gzip' | 'zstd';

const magics: readonly (readonly [name: Compression | 'xz' | 'bzip2' | 'lz4', bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
];

export function isUncompressed(head: Uint8Array): boolean {
  return formOf(head) === 'none';
}

/** By the first bytes, whatever a name or a media type says. Throws image-archive for forms that are known but not taken. */
function compressionOf(head: Uint8Array, what: string): Compression {
  const form = formOf(head);
  if (form === 'none' || form === 'gzip' || form === 'zstd') return form;
  throw new CoveyError('image-archive', `Cannot read ${what}: it is compressed with ${form}`, {
    hint: 'compress it with gzip or zstd',
  });
}

function formOf(head: Uint8Array): Compression | 'xz' | 'bzip2' | 'lz4' {
  // A zstd file may begin with a frame to skip.
  const isSkipped = head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18 && ((head[0] ?? 0) & 0xf0) === 0x50;
  return isSkipped ? 'zstd' : (magics.find(([, bytes]) => bytes.every((byte, at) => head[at] === byte))?.[0] ?? 'none');
}

export interface Decompressed {
  readonly compression: Compression;
  readonly chunks: AsyncIterable<Buffer>;
}

export async function decompress(chunks: AsyncIterable<Buffer>, what: string): Promise<Decompressed> {
  const iterator = chunks[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (head.length < 8) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  const compression = compressionOf(head, what);
  const all = prepend(head, iterator);
  return { compression, chunks: compression === 'none' ? all : through(all, compression, what) };
}

async function* prepend(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    if (head.length > 0) yield head;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

async function* through(
  chunks: AsyncIterable<Buffer>,
  compression: 'gzip' | 'zstd',
  what: string,
): AsyncGenerator<Buffer> {
  const options = { chunkSize: decompressedPieceBytes };
  const transform = compression === 'gzip' ? createGunzip(options) : createZstdDecompress(options);
  const fed = pipeline(Readable.from(chunks, { objectMode: true, highWaterMark: 2 }), transform);
  fed.catch(() => undefined); // the loop below throws the same error
  try {
    for await (const piece of transform) yield piece as Buffer;
    await fed;
  } catch (cause) {
    if (cause instanceof CoveyError || !isCompressionError(cause)) throw cause;
    throw new CoveyError(
      'image-archive',
      `Cannot decompress ${what}: the ${compression} data are damaged or cut short`,
      { cause },
    );
  }
}

function isCompressionError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return code.startsWith('Z_') || code.startsWith('ZSTD_') || code === 'ERR_STREAM_PREMATURE_CLOSE';
}

// ---- writing ------------------------------------------------------------------------------------------------------------

export interface SpaceGuard {
  /** Told before bytes are written; throws no-space when too little would be left. */
  readonly take: (bytes: number) => void;
  readonly free: () => number;
}

/** Keeps a reserve free: the smaller of 1 GiB and a twentieth, because a full disk hurts all that runs on the node. */
export function openSpaceGuard(directory: string): SpaceGuard {
  let left = 0;
  const free = (): number => {
    const found = fs.statfsSync(directory);
    const reserve = Math.min(2 ** 30, (found.blocks * found.bsize) / 20);
    return found.bavail * found.bsize - reserve;
  };
  return {
    free: () => Math.max(0, free()),
    take: bytes => {
      left -= bytes;
      if (left > 0) return;
      const now = free();
      if (now < bytes) throw noSpace(directory);
      left = Math.min(guardEveryBytes, now);
    },
  };
}

export function noSpace(directory: string, cause?: unknown): CoveyError {
  const found = fs.statfsSync(directory);
  const mib = (blocks: number): string => `${Math.floor((blocks * found.bsize) / 2 ** 20)} MiB`;
  return new CoveyError('no-space', `Cannot store the image: the file system of "${directory}" is full`, {
    state: `${mib(found.bavail)} of ${mib(found.blocks)} and ${found.ffree} inodes free; up to 1 GiB is kept as a reserve`,
    hint: 'make room (covey image ls, covey image rm) and repeat',
    ...(cause === undefined ? {} : { cause }),
  });
}

export function isNoSpace(error: unknown): boolean {
  return errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT';
}

export interface FileWriter extends Disposable {
  readonly write: (bytes: Uint8Array) => void;
}

export function openWriter(path: string): FileWriter {
  const fd = fs.openSync(path, 'wx', 0o600);
  return {
    write: bytes => {
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at);
    },
    [Symbol.dispose]: () => fs.closeSync(fd),
  };
}

export function writeFile(path: string, bytes: string | Uint8Array): void {
  fs.writeFileSync(path, bytes, { mode: 0o600 });
}

export function makeDirectory(path: string, mode: number): void {
  fs.mkdirSync(path, { recursive: true, mode });
}

export function rename(from: string, to: string): void {
  fs.renameSync(from, to);
}

/** A second name for a file. */
export function link(from: string, to: string): void {
  fs.linkSync(from, to);
}

export function remove(path: string): void {
  fs.rmSync(path, { force: true, recursive: true });
}

export function exists(path: string): boolean {
  return fs.existsSync(path);
}

// ---- talking to the daemon ----------------------------------------------------------------------------------------------

/** Descriptor 3 brings the request, and its end says that the daemon is gone. */
export function readRequest(): Promise<string> {
  const socket = new Socket({ fd: 3, readable: true, writable: false });
  socket.setEncoding('utf8');
  let text = '';
  return new Promise((resolve, reject) => {
    socket.on('data', piece => {
      text += String(piece);
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.slice(0, end));
    });
    socket.on('error', reject);
    socket.on('end', () => process.exit(1));
  });
}

export function standardInput(): AsyncIterable<Buffer> {
  return process.stdin as AsyncIterable<Buffer>;
}

/** Writes a line and waits until it is out. */
export function sendLine(message: object): Promise<void> {
  return new Promise(resolve => process.stdout.write(`${JSON.stringify(message)}\n`, () => resolve()));
}
