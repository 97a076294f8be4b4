/**
 * Files for the solo log that fail on demand: a full disk, a failing fdatasync, a crash that keeps only what was synced (and
 * any part of the rest that the test wants).
 *
 * Not here: tests.
 */
import { CoveyError } from '../../../src/errors.js';
import type { AppendFile } from '../../../src/host.js';
import type { SoloFiles } from '../../../src/raft/solo/snapshot.js';

interface Content {
  bytes: Buffer;
  /** Bytes that are durable. */
  synced: number;
}

export interface MemoryFiles {
  readonly files: SoloFiles;
  readonly contents: Map<string, Content>;
  /** Bytes that may still be written before the disk is full. */
  freeBytes: number;
  failSync: boolean;
  /** Every call after so many fails, as after the end of the process. */
  callsLeft: number;
  readonly syncs: () => number;
  /** What a crash leaves: synced bytes, and so many of the others. */
  readonly crash: (keepUnsyncedBytes?: number) => void;
}

export function memoryFiles(): MemoryFiles {
  const contents = new Map<string, Content>();
  let syncs = 0;
  const step = (): void => {
    memory.callsLeft -= 1;
    if (memory.callsLeft < 0) throw new CoveyError('internal', 'Cannot go on: the process is gone');
  };
  const memory: MemoryFiles = {
    contents,
    freeBytes: Number.POSITIVE_INFINITY,
    failSync: false,
    callsLeft: Number.POSITIVE_INFINITY,
    syncs: () => syncs,
    crash: (keepUnsyncedBytes = 0) => {
      for (const content of contents.values()) {
        content.bytes = content.bytes.subarray(0, content.synced + keepUnsyncedBytes);
        content.synced = content.bytes.length;
      }
      memory.callsLeft = Number.POSITIVE_INFINITY;
      memory.freeBytes = Number.POSITIVE_INFINITY;
      memory.failSync = false;
    },
    files: {
      read: async path => {
        step();
        const content = contents.get(path);
        if (content === undefined) throw new CoveyError('not-found', `Cannot read "${path}"`);
        return Buffer.from(content.bytes);
      },
      list: async directory => {
        step();
        return [...contents.keys()]
          .filter(path => path.startsWith(`${directory}/`))
          .map(path => path.slice(directory.length + 1));
      },
      rename: async (from, to) => {
        step();
        const content = contents.get(from);
        if (content === undefined) throw new CoveyError('not-found', `Cannot rename "${from}"`);
        contents.delete(from);
        contents.set(to, content);
      },
      remove: async path => {
        step();
        contents.delete(path);
      },
      makeDirectory: async () => step(),
      syncDirectory: async () => step(),
      openAppend: async path => {
        step();
        const content = contents.get(path) ?? { bytes: Buffer.alloc(0), synced: 0 };
        contents.set(path, content);
        return appendFile(path, content);
      },
    },
  };
  const appendFile = (path: string, content: Content): AppendFile => ({
    path,
    sizeBytes: () => content.bytes.length,
    append: async pieces => {
      step();
      for (const piece of pieces) {
        const fits = piece.subarray(0, Math.max(0, memory.freeBytes));
        memory.freeBytes -= fits.length;
        content.bytes = Buffer.concat([content.bytes, fits]);
        if (fits.length < piece.length) throw new CoveyError('no-space', `Cannot write to "${path}": ENOSPC`);
      }
    },
    sync: async () => {
      step();
      syncs += 1;
      if (memory.failSync) throw new CoveyError('internal', `Cannot make durable "${path}": EIO`);
      content.synced = content.bytes.length;
    },
    truncate: async sizeBytes => {
      step();
      memory.freeBytes += content.bytes.length - sizeBytes;
      content.bytes = content.bytes.subarray(0, sizeBytes);
      content.synced = Math.min(content.synced, sizeBytes);
    },
    [Symbol.asyncDispose]: async () => undefined,
  });
  return memory;
}
