/**
 * What goes into the log and what comes out of it: batches with what the log needs to know of them, its options, its
 * counters.
 *
 * Not here: the log itself (wal.ts).
 */
import type { RandomBytes } from '../../ids.js';
import type { HardState } from '../core/types.js';
import { type Batch, encodeBatch, type SnapshotMarker } from './batch.js';
import type { Disk } from './disk.js';
import type { Keyring } from './keyring.js';
import type { LogState } from './log-reader.js';
import type { Tail } from './scan.js';
import type { LogIdentity } from './segment.js';
import type { Wal } from './wal.js';

export interface WalOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly identity: LogIdentity;
  readonly keyring: Keyring;
  readonly random: RandomBytes;
  readonly segmentBytes: number;
}

/** A batch as `encodeBatch` made it, with what the log needs to know of it. */
export interface EncodedBatch {
  readonly body: Uint8Array;
  readonly hardState?: HardState | undefined;
  readonly marker?: SnapshotMarker | undefined;
  /** Index of its last entry; 0 = it has none. */
  readonly lastIndex: number;
  /** Needs to be on the platter before it is answered. */
  readonly mustSync: boolean;
}

export interface OpenedWal {
  readonly wal: Wal;
  readonly state: LogState;
  /** A write that a crash cut short, left behind in the file named. */
  readonly torn: (Tail & { readonly kind: 'torn' } & { readonly path: string }) | undefined;
}

/** Spares of the log that may be missing before proposals have to be refused. */
export interface WalStats {
  readonly segments: number;
  readonly syncs: number;
  readonly bytesWritten: number;
  readonly hasSpare: boolean;
  /** Ids of all keys that something is written with; 0 among them: something is not encrypted. */
  readonly keysInUse: readonly number[];
}

export function encodeForWal(batch: Batch, mustSync: boolean): EncodedBatch {
  const { hardState, marker, entries } = batch;
  return { body: encodeBatch(batch), hardState, marker, lastIndex: entries.at(-1)?.index ?? 0, mustSync };
}
