/**
 * What the Raft node and its storage say to each other: requests one way, one reply each the other way. The storage is
 * a worker thread in the product and an actor of the simulator in tests; both run storage-server.ts.
 *
 *     node                                storage
 *     append (batch, batch, …)      ──►   one write, one fdatasync for all that wait
 *                                   ◄──   done, done, … in order; or failed, and failed for ever after
 *
 * Not here: what a batch holds (batch.ts).
 */
import type { Problem } from '../../gen/types.js';
import type { Keyring } from './keyring.js';
import type { SnapshotDraft, SnapshotMeta, SnapshotName } from './snapshot-store.js';
import type { EncodedBatch } from './wal-types.js';

export type StorageWork =
  | { readonly kind: 'append'; readonly batch: EncodedBatch }
  /** A snapshot to be written here: our own, or one that arrives. Answers how much of it is there already. */
  | { readonly kind: 'snapshot-begin'; readonly meta: SnapshotMeta; readonly origin: SnapshotDraft['origin'] }
  | ({ readonly kind: 'snapshot-chunk'; readonly offset: number; readonly bytes: Uint8Array } & SnapshotDraft)
  | ({ readonly kind: 'snapshot-finish'; readonly totalBytes: number } & SnapshotDraft)
  | ({ readonly kind: 'snapshot-read'; readonly offset: number } & SnapshotName)
  /** The marker for this snapshot is on disk: what lies before it may go. */
  | ({ readonly kind: 'compact' } & SnapshotName)
  | { readonly kind: 'set-keyring'; readonly keyring: Keyring }
  | { readonly kind: 'stats' }
  | { readonly kind: 'close' };

/** What the owner of a node may ask for past it. */
export type OwnerWork = StorageWork & { readonly kind: 'set-keyring' | 'stats' };

export type StorageRequest = StorageWork & { readonly id: number };

export type StorageAnswer =
  /** `lowSpace`: too little room is left to take new proposals; what keeps the node alive still fits. */
  | { readonly kind: 'done'; readonly lowSpace: boolean }
  | { readonly kind: 'snapshot-progress'; readonly receivedBytes: number }
  | { readonly kind: 'snapshot-chunk'; readonly bytes: Uint8Array; readonly totalBytes: number }
  | { readonly kind: 'stats'; readonly stats: StorageStats }
  | { readonly kind: 'failed'; readonly problem: Problem };

export type StorageReply = StorageAnswer & { readonly id: number };

export interface StorageStats {
  readonly segments: number;
  readonly syncs: number;
  readonly bytesWritten: number;
  readonly hasSpare: boolean;
  readonly freeBytes: number;
  readonly lowSpace: boolean;
  readonly keysInUse: readonly number[];
}

/** The node's end. Replies come in the order of their requests' completion, appends in the order of the requests. */
export interface StoragePort {
  readonly post: (request: StorageRequest) => void;
}
