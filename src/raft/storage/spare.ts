/**
 * The next segment, zero-filled ahead of its need: writing into it allocates nothing, so it is quicker, and a disk that
 * has filled up meanwhile can still take what keeps the member alive and the snapshot that frees space.
 *
 * Called by: wal.ts. Not here: when it is filled (storage-server.ts, between groups).
 */
import { errnoOf } from '../../errors.js';
import { type Disk, writeZeros } from './disk.js';
import { isZero } from './frame.js';
import { nextSector } from './scan.js';
import { prepareManifest } from './segment.js';

export interface Spare {
  readonly isReady: () => boolean;
  /** Fills and syncs one slice more. False when the disk has no room for it. */
  readonly fill: (sliceBytes: number) => boolean;
  /** The path of a zero-filled file to make a segment of: the spare when it is ready and large enough, else a new one. */
  readonly take: (sizeBytes: number) => string;
  /** Looks for one that an earlier process left. */
  readonly adopt: () => void;
}

export interface SpareOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly segmentBytes: number;
}

export function createSpare(options: SpareOptions): Spare {
  const { disk, folder, segmentBytes } = options;
  let ready = false;
  let filled = 0;
  const removeIfThere = (name: string) => {
    if (disk.list(folder).includes(name)) disk.unlink(`${folder}/${name}`);
  };
  return {
    isReady: () => ready,
    fill(sliceBytes) {
      if (ready) return true;
      try {
        if (filled === 0) removeIfThere('spare.tmp');
        filled = fillSlice(options, filled, sliceBytes);
        if (filled < segmentBytes) return true;
        disk.rename(`${folder}/spare.tmp`, `${folder}/spare.wal`);
        disk.syncFolder(folder);
        filled = 0;
        prepareManifest(disk, folder);
        ready = true;
        return true;
      } catch (cause) {
        if (errnoOf(cause) !== 'ENOSPC') throw cause;
        filled = 0;
        removeIfThere('spare.tmp');
        return false;
      }
    },
    take(sizeBytes) {
      if (ready && sizeBytes <= segmentBytes) {
        ready = false;
        return `${folder}/spare.wal`;
      }
      removeIfThere('next.tmp');
      const file = disk.open(`${folder}/next.tmp`, 'create');
      try {
        writeZeros(file, 0, nextSector(sizeBytes));
      } finally {
        file.close();
      }
      return `${folder}/next.tmp`;
    },
    adopt() {
      if (!disk.list(folder).includes('spare.wal')) return;
      ready = isWhole(options);
      if (!ready) disk.unlink(`${folder}/spare.wal`);
    },
  };
}

/** Zeroes the next slice of spare.tmp; returns how much of it is done. */
function fillSlice({ disk, folder, segmentBytes }: SpareOptions, from: number, sliceBytes: number): number {
  const file = disk.open(`${folder}/spare.tmp`, from === 0 ? 'create' : 'write');
  const until = Math.min(segmentBytes, from + sliceBytes);
  try {
    writeZeros(file, from, until);
    file.datasync();
  } finally {
    file.close();
  }
  return until;
}

/** Whether spare.wal has its size and nothing was ever written into it. */
function isWhole({ disk, folder, segmentBytes }: SpareOptions): boolean {
  const file = disk.open(`${folder}/spare.wal`, 'read');
  try {
    const bytes = Buffer.from(file.read(0, file.sizeBytes()));
    return bytes.length === segmentBytes && isZero(bytes, 0, bytes.length);
  } finally {
    file.close();
  }
}
