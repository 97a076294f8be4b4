/**
 * The storage of one member: log and snapshots in one folder, behind requests. Given all requests that wait, it stores
 * the appends among them as one group with one fdatasync; what comes meanwhile is the next group.
 *
 * Keeps true: a failed write or sync is the end: that request and every later append is answered `failed`, so nothing
 * is ever acknowledged on top of it. No snapshot goes before the marker of its successor is on disk.
 *
 * Called by: wal-worker.ts (a thread on the real disk), the simulator's storage actor (the simulated disk).
 * Not here: the lock of the folder (folder-lock.ts).
 */
import { CoveyError, toProblem } from '../../errors.js';
import type { RandomBytes } from '../../ids.js';
import type { Disk } from './disk.js';
import type { Keyring } from './keyring.js';
import type { LogState } from './log-reader.js';
import type { LogIdentity } from './segment.js';
import { openSnapshotStore, type SnapshotMeta, type SnapshotStore } from './snapshot-store.js';
import { storageFailure } from './storage-failure.js';
import type { StorageAnswer, StorageReply, StorageRequest, StorageWork } from './storage-protocol.js';
import { openWal, type Wal } from './wal.js';

export interface StorageOptions {
  readonly disk: Disk;
  /** Holds `wal/` and `snap/`. */
  readonly folder: string;
  readonly identity: LogIdentity;
  readonly keyring: Keyring;
  readonly random: RandomBytes;
  readonly segmentBytes: number;
  readonly chunkBytes: number;
  /** With less free space proposals are refused; what the node needs to go on still fits. */
  readonly freeBytesMin: number;
}

export interface OpenedStorage {
  readonly state: LogState;
  readonly snapshot: SnapshotMeta | undefined;
  /** Of the content of that snapshot. */
  readonly snapshotBytes: number;
  /** One line for the log when a crash had cut a write short. */
  readonly torn: { readonly path: string; readonly offset: number; readonly why: string } | undefined;
}

export interface StorageServer {
  readonly opened: OpenedStorage;
  /** Answers all requests that wait, appends first, as one group. */
  readonly handle: (requests: readonly StorageRequest[]) => StorageReply[];
  /** Called when nothing waits: prepares what the next writes need. True when it has more to prepare. */
  readonly idle: () => boolean;
}

export const storageDefaults = {
  segmentBytes: 16 * 2 ** 20,
  chunkBytes: 256 * 2 ** 10,
  freeBytesMin: 64 * 2 ** 20,
} as const;

/** How much is written between two looks at the free space. */
const LOOK_EVERY_BYTES = 256 * 2 ** 10;

/** A slice of the spare segment is zeroed and synced at a time: about 2 ms. */
const SPARE_SLICE_BYTES = 2 ** 20;

/** Opens or begins the storage in a folder. Throws when it is damaged, foreign or locked by a key that is not there. */
export function openStorage(options: StorageOptions): StorageServer {
  try {
    return open(options);
  } catch (cause) {
    throw storageFailure('open', options.folder, cause);
  }
}

function open(options: StorageOptions): StorageServer {
  const snapshots = openSnapshotStore({ ...options, folder: `${options.folder}/snap` });
  let found: { readonly meta: SnapshotMeta; readonly totalBytes: number } | undefined;
  const { wal, state, torn } = openWal({ ...options, folder: `${options.folder}/wal` }, ({ marker }) => {
    if (marker.index > 0) found = snapshots.verify(marker);
  });
  let looked = Number.NEGATIVE_INFINITY;
  const parts: Parts = { options, wal, snapshots, lowSpace: false };
  return {
    opened: {
      state,
      snapshot: found?.meta,
      snapshotBytes: found?.totalBytes ?? 0,
      torn: torn && { path: torn.path, offset: torn.at, why: torn.why },
    },
    handle(requests) {
      const appends = requests.filter(request => request.kind === 'append');
      const others = requests.filter(request => request.kind !== 'append');
      return [...storeGroup(parts, appends), ...others.map(request => answer(parts, request))];
    },
    idle() {
      const written = wal.bytesWritten;
      // While room is short it is looked at each time: nothing is written then that could bring the next look.
      if (wal.hasSpare && !parts.lowSpace && written - looked < LOOK_EVERY_BYTES) return false;
      looked = written;
      parts.lowSpace = !prepared(wal) || options.disk.space(options.folder).freeBytes < options.freeBytesMin;
      return !wal.hasSpare && !parts.lowSpace;
    },
  };
}

interface Parts {
  readonly options: StorageOptions;
  readonly wal: Wal;
  readonly snapshots: SnapshotStore;
  lowSpace: boolean;
}

/** A failure shows at the next append; here it only means that there is no spare. */
function prepared(wal: Wal): boolean {
  try {
    return wal.prepareSpare(SPARE_SLICE_BYTES);
  } catch {
    return false;
  }
}

function storeGroup(
  { wal, lowSpace }: Parts,
  requests: readonly (StorageRequest & { readonly kind: 'append' })[],
): StorageReply[] {
  if (requests.length === 0) return [];
  try {
    wal.write(requests.map(request => request.batch));
    return requests.map(({ id }) => ({ id, kind: 'done', lowSpace }));
  } catch (error) {
    const problem = toProblem(error);
    return requests.map(({ id }) => ({ id, kind: 'failed', problem }));
  }
}

function answer(parts: Parts, request: StorageRequest): StorageReply {
  try {
    return { id: request.id, ...perform(parts, request) };
  } catch (error) {
    const wrapped = storageFailure('write to', parts.options.folder, error);
    return { id: request.id, kind: 'failed', problem: toProblem(wrapped) };
  }
}

function perform({ options, wal, snapshots, lowSpace }: Parts, work: StorageWork): StorageAnswer {
  switch (work.kind) {
    case 'append':
      throw new CoveyError('bug', 'Cannot append here: appends are stored in groups');
    case 'snapshot-begin':
      return { kind: 'snapshot-progress', receivedBytes: snapshots.begin(work.meta, work.origin).receivedBytes };
    case 'snapshot-chunk':
      return { kind: 'snapshot-progress', receivedBytes: snapshots.write(work, work.offset, work.bytes).receivedBytes };
    case 'snapshot-finish':
      snapshots.finish(work, work.totalBytes);
      return { kind: 'done', lowSpace: false };
    case 'snapshot-read':
      return { kind: 'snapshot-chunk', ...snapshots.read(work, work.offset) };
    case 'compact':
      wal.compact();
      snapshots.keepFrom(work);
      return { kind: 'done', lowSpace: false };
    case 'set-keyring':
      wal.setKeyring(work.keyring);
      snapshots.setKeyring(work.keyring);
      wal.rotate();
      return { kind: 'done', lowSpace: false };
    case 'stats': {
      if (wal.failure) throw wal.failure;
      const keysInUse = [...new Set([...wal.stats().keysInUse, ...snapshots.keysInUse()])].sort((a, b) => a - b);
      return {
        kind: 'stats',
        stats: { ...wal.stats(), lowSpace, keysInUse, freeBytes: options.disk.space(options.folder).freeBytes },
      };
    }
    case 'close':
      wal.close();
      return { kind: 'done', lowSpace: false };
  }
}
