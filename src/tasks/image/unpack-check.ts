/**
 * The process that checks a store: the digest of every blob, and every file of every layer against the blob it was unpacked
 * from. Reads only.
 *
 * Not here: what is done about damage (check.ts).
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { CoveyError, messageOf } from '../../errors.js';
import { cleanPath, joined, nameOf, parentOf } from './layer-path.js';
import type { TarEntry } from './tar-header.js';
import { openTarReader } from './tar-reader.js';
import { decompress, findFilePart, sendLine, streamPart } from './unpack-io.js';
import { type CheckRequest, hexOf, type UnpackKernel, type UnpackMessage } from './unpack-protocol.js';

export async function checkParts(request: CheckRequest, kernel: UnpackKernel): Promise<UnpackMessage> {
  kernel.enterJail(request.work, [request.directory]);
  const total = request.blobs.length + request.layers.length;
  let checked = 0;
  const told = async (of: 'blob' | 'layer', part: string, why: string | undefined): Promise<void> => {
    checked += 1;
    await sendLine({ kind: 'checked', of, part, why: why ?? '', checked, total } satisfies UnpackMessage);
  };
  const good = new Set<string>();
  for (const digest of request.blobs) {
    const why = await checkBlob(join(request.directory, 'blobs/sha256', hexOf(digest)), digest);
    if (why === undefined) good.add(digest);
    await told('blob', digest, why);
  }
  for (const { diffId, blob } of request.layers) {
    const tree = join(request.directory, 'layers', hexOf(diffId), 'fs');
    const source = join(request.directory, 'blobs/sha256', hexOf(blob));
    await told('layer', diffId, good.has(blob) ? await checkLayer(tree, { source, diffId }) : undefined);
  }
  return { kind: 'check-done' };
}

async function checkBlob(path: string, digest: string): Promise<string | undefined> {
  const part = findFilePart(path);
  if (part === undefined) return 'it is missing';
  const hash = createHash('sha256');
  for await (const chunk of streamPart(part)) hash.update(chunk);
  const found = `sha256:${hash.digest('hex')}`;
  return found === digest ? undefined : `its content has the digest ${found}`;
}

class LayerDiffers extends Error {}

async function checkLayer(
  tree: string,
  { source, diffId }: { readonly source: string; readonly diffId: string },
): Promise<string | undefined> {
  const part = findFilePart(source);
  if (part === undefined) return undefined; // told as a blob
  try {
    const comparison = openComparison(tree);
    const reader = openTarReader(comparison, { what: `layer ${diffId}`, code: 'image-layer' });
    const { chunks } = await decompress(streamPart(part), `layer ${diffId}`);
    for await (const chunk of chunks) reader.push(chunk);
    comparison.finish();
    return undefined;
  } catch (error) {
    if (error instanceof LayerDiffers || error instanceof CoveyError) return messageOf(error);
    throw error;
  }
}

interface Comparison extends Disposable {
  readonly entry: (entry: TarEntry) => void;
  readonly data: (piece: Buffer) => void;
  readonly finish: () => void;
}

interface FileCheck {
  readonly fd: number;
  readonly path: string;
  at: number;
}

const kinds: Readonly<Record<TarEntry['kind'], (stat: fs.Stats) => boolean>> = {
  file: stat => stat.isFile(),
  'hard-link': () => true,
  symlink: stat => stat.isSymbolicLink(),
  directory: stat => stat.isDirectory(),
  'char-device': stat => stat.isCharacterDevice(),
  'block-device': stat => stat.isBlockDevice(),
  fifo: stat => stat.isFIFO(),
};

/** Entry by entry, byte by byte; at the end, whether something is there that should not be. */
function openComparison(tree: string): Comparison {
  const expected = new Set<string>(['']);
  let file: FileCheck | undefined;
  const close = (): void => {
    if (file !== undefined) fs.closeSync(file.fd);
    file = undefined;
  };
  const expect = (path: string): void => {
    for (let at = path; at !== ''; at = parentOf(at)) expected.add(at);
  };
  return {
    entry: entry => {
      close();
      const path = cleanPath(entry.path);
      if (nameOf(path).startsWith('.wh.')) {
        const hidden = nameOf(path).slice(4);
        expect(hidden.startsWith('.wh.') ? parentOf(path) : joined(parentOf(path), hidden));
        return;
      }
      expect(path);
      const at = bytesOf(tree, path);
      checkEntry(at, { tree, path, entry });
      if (entry.kind === 'file' && entry.sizeBytes > 0) file = { fd: fs.openSync(at, 'r'), path, at: 0 };
    },
    data: piece => {
      if (file === undefined) return;
      const found = Buffer.alloc(piece.length);
      const got = fs.readSync(file.fd, found, 0, piece.length, file.at);
      if (got !== piece.length || !found.equals(piece)) throw differs(file.path, 'has other content');
      file.at += piece.length;
    },
    finish: () => {
      close();
      checkNothingElse(tree, expected);
    },
    [Symbol.dispose]: close,
  };
}

function checkEntry(
  at: Buffer,
  { tree, path, entry }: { readonly tree: string; readonly path: string; readonly entry: TarEntry },
): void {
  const stat = fs.lstatSync(at, { throwIfNoEntry: false });
  if (stat === undefined) throw differs(path, 'is missing');
  if (!kinds[entry.kind](stat)) throw differs(path, `is no ${entry.kind}`);
  if (entry.kind === 'hard-link') {
    const target = fs.lstatSync(bytesOf(tree, cleanPath(entry.target)), { throwIfNoEntry: false });
    if (target?.ino !== stat.ino) throw differs(path, `is no link to "${entry.target}"`);
    return;
  }
  if (stat.uid !== entry.uid || stat.gid !== entry.gid) throw differs(path, `belongs to ${stat.uid}:${stat.gid}`);
  if (entry.kind === 'symlink') {
    if (fs.readlinkSync(at, 'latin1') !== entry.target) throw differs(path, 'links to somewhere else');
    return;
  }
  if (entry.kind === 'file' && stat.size !== entry.sizeBytes) throw differs(path, `has ${stat.size} bytes`);
  if ((stat.mode & 0o7777) !== (entry.mode & 0o7777))
    throw differs(path, `has the mode ${(stat.mode & 0o7777).toString(8)}`);
}

function checkNothingElse(tree: string, expected: ReadonlySet<string>): void {
  const folders = [''];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const name of fs.readdirSync(bytesOf(tree, folder), 'latin1')) {
      const path = joined(folder, name);
      if (!expected.has(path)) throw differs(path, 'is not of this layer');
      if (fs.lstatSync(bytesOf(tree, path)).isDirectory()) folders.push(path);
    }
  }
}

function bytesOf(tree: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(path, 'latin1')]);
}

function differs(path: string, how: string): LayerDiffers {
  return new LayerDiffers(`"${Buffer.from(path, 'latin1').toString('utf8').slice(0, 200)}" ${how}`);
}
