/**
 * The disk as the Raft log sees it: few calls, all synchronous, each with one meaning. The log, the snapshots and their
 * recovery are written against this alone, so the same code runs on a real file system (in the storage worker) and on
 * the simulated one of the tests, which tears, loses and flips what it may.
 *
 * A failing call throws an error whose `code` is the errno name (`EIO`, `ENOSPC`, `EROFS`, `ENOENT`).
 *
 * Not here: the real disk (real-disk.ts), the lock of a folder (folder-lock.ts), what is written (wal.ts).
 */

/** The unit that a disk writes as a whole or leaves in an unknown state; nothing outside the unit suffers. */
export const SECTOR_BYTES = 512;

export interface DiskFile {
  readonly path: string;
  sizeBytes(): number;
  /** Up to `lengthBytes` from `offset`; shorter only at the end of the file. */
  read(offset: number, lengthBytes: number): Uint8Array;
  /** Writes all of `bytes` at `offset`. Until `datasync` returns, a crash may keep any subset of its sectors. */
  write(offset: number, bytes: Uint8Array): void;
  /** Makes content and size durable. After a failure nothing is known about what was written since the last success. */
  datasync(): void;
  /** Cuts the file short. Durable with the next `datasync`, or not at all. */
  truncate(sizeBytes: number): void;
  close(): void;
}

interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** `create` refuses an existing file; `write` and `read` refuse a missing one. */
export type OpenMode = 'read' | 'write' | 'create';

export interface Disk {
  open(path: string, mode: OpenMode): DiskFile;
  /** Replaces `to` in one step. Durable only after `syncFolder` of the folder. */
  rename(from: string, to: string): void;
  unlink(path: string): void;
  /** Creates the folder and its parents, and makes them durable; an existing folder is fine. */
  makeFolder(path: string): void;
  /** Makes creations, renames and removals inside the folder durable. */
  syncFolder(path: string): void;
  /** Names inside the folder, sorted. */
  list(path: string): readonly string[];
  space(path: string): DiskSpace;
}

/** The whole content of a file. */
export function readWholeFile(disk: Disk, path: string): Buffer {
  const file = disk.open(path, 'read');
  try {
    const bytes = file.read(0, file.sizeBytes());
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  } finally {
    file.close();
  }
}

/** Zeroes a range in pieces, so that no buffer of the whole range is needed. */
export function writeZeros(file: DiskFile, fromOffset: number, toOffset: number): void {
  const piece = new Uint8Array(Math.min(1 << 20, Math.max(0, toOffset - fromOffset)));
  for (let offset = fromOffset; offset < toOffset; offset += piece.length) {
    file.write(offset, piece.subarray(0, Math.min(piece.length, toOffset - offset)));
  }
}
