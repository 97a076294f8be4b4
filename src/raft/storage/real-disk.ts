/**
 * The disk of this machine, for the storage worker: plain synchronous calls. They block their thread on purpose: an
 * asynchronous fsync shares four pool threads with name look-ups and hashing, and waits behind them.
 *
 * Called by: wal-worker.ts, and by the recovery commands, which run alone.
 * Not here: what is written (wal.ts), the lock (folder-lock.ts).
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import type { Disk, DiskFile, OpenMode } from './disk.js';

const pieceBytes = 64 * 1024;
const zeros = Buffer.alloc(pieceBytes);

const flags: { readonly [K in OpenMode]: number } = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
};

export function createRealDisk(): Disk {
  return {
    open: openRealFile,
    rename: (from, to) => fs.renameSync(from, to),
    unlink: path => fs.unlinkSync(path),
    makeFolder: makeDurableFolder,
    syncFolder: syncRealFolder,
    list: path => fs.readdirSync(path).sort(),
    space(path) {
      const stat = fs.statfsSync(path);
      return { freeBytes: stat.bavail * stat.bsize, totalBytes: stat.blocks * stat.bsize };
    },
  };
}

function openRealFile(path: string, mode: OpenMode): DiskFile {
  const fd = fs.openSync(path, flags[mode], 0o600);
  return {
    path,
    sizeBytes: () => fs.fstatSync(fd).size,
    read: (offset, lengthBytes) => readRange(fd, offset, lengthBytes),
    write(offset, bytes) {
      let done = 0;
      while (done < bytes.length) done += fs.writeSync(fd, bytes, done, bytes.length - done, offset + done);
    },
    datasync: () => fs.fdatasyncSync(fd),
    truncate: sizeBytes => fs.ftruncateSync(fd, sizeBytes),
    close: () => fs.closeSync(fd),
  };
}

/**
 * A segment of the log is 16 MiB of zeros before it is filled: only the pieces that hold anything take memory. What is
 * allocated zeroed and never written to does not.
 */
function readRange(fd: number, offset: number, lengthBytes: number): Uint8Array {
  const bytes = Buffer.alloc(lengthBytes);
  const piece = Buffer.allocUnsafe(Math.min(lengthBytes, pieceBytes));
  let got = 0;
  while (got < lengthBytes) {
    const count = fs.readSync(fd, piece, 0, Math.min(piece.length, lengthBytes - got), offset + got);
    if (count === 0) break;
    if (piece.compare(zeros, 0, count, 0, count) !== 0) piece.copy(bytes, got, 0, count);
    got += count;
  }
  return bytes.subarray(0, got);
}

function syncRealFolder(path: string): void {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function makeDurableFolder(path: string): void {
  const first = fs.mkdirSync(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; at = dirname(at)) syncRealFolder(dirname(at));
}
