/**
 * Snapshots of a running member: taken of its own state when the log has grown, sent to followers that are too far
 * behind, received from the leader, and read back into the application.
 *
 *     own       picture of the application -> file (tmp, sync, rename, sync) -> marker in the log, synced -> older may go
 *     received  file, as above -> message to the core -> marker with the core's batch -> application restored -> core told
 *
 * Called by: ../node.ts. Not here: the files (storage/snapshot-store.ts), the wire (transport.ts).
 */
import { fromProblem } from '../../errors.js';
import { messageVersion, type Snapshot, type SnapshotRequest } from '../core/types.js';
import type { SnapshotMeta, SnapshotName } from '../storage/snapshot-store.js';
import type { StorageAnswer } from '../storage/storage-protocol.js';
import type { ArrivingChunk, SnapshotSource } from '../transport.js';
import type { StorageQueue } from './storage-queue.js';
import type { Machine, NodeEvent } from './types.js';

export interface SnapshotKeeper {
  /** Takes a picture of the application, which stands at `meta.index`, unless one is being written. */
  readonly take: (meta: SnapshotMeta) => void;
  readonly isTaking: () => boolean;
  readonly sourceOf: (name: SnapshotName) => SnapshotSource;
  readonly begin: (message: SnapshotRequest, answer: (receivedBytes: number | undefined) => void) => void;
  readonly chunk: (
    message: SnapshotRequest,
    chunk: ArrivingChunk,
    answer: (receivedBytes: number | undefined) => void,
  ) => void;
  readonly finish: (message: SnapshotRequest, totalBytes: number, answer: (stored: boolean) => void) => void;
  /** Reads a stored snapshot back; `done` with its pieces. */
  readonly load: (name: SnapshotName, done: (pieces: readonly Uint8Array[]) => void) => void;
}

export interface SnapshotKeeperOptions {
  readonly storage: StorageQueue;
  readonly machine: Machine;
  readonly onEvent: (event: NodeEvent) => void;
  /** The own snapshot and its marker are on disk. */
  readonly onTaken: (meta: SnapshotMeta) => void;
  /** The own snapshot could not be written; the old one is still there. */
  readonly onGivenUp: () => void;
  /** A stored snapshot could not be read for a follower: damaged, or a newer one took its place. */
  readonly onUnreadable: (name: SnapshotName) => void;
  readonly onFailure: (error: Error) => void;
}

/** The snapshot as the core handles it: a name. The content is a file. */
export function snapshotOf(meta: SnapshotMeta): Snapshot {
  return {
    version: messageVersion,
    index: meta.index,
    term: meta.term,
    confState: meta.confState,
    data: new Uint8Array(0),
  };
}

export function createSnapshotKeeper(options: SnapshotKeeperOptions): SnapshotKeeper {
  const { storage, onEvent } = options;
  let taking: SnapshotMeta | undefined;
  const giveUp = (meta: SnapshotMeta) => {
    taking = undefined;
    options.onGivenUp();
    onEvent({ kind: 'snapshot', index: meta.index, phase: 'given-up' });
  };
  const mark = (meta: SnapshotMeta) => {
    const marker = { index: meta.index, term: meta.term, replaces: false };
    const done = () => {
      taking = undefined;
      options.onTaken(meta);
      storage.ask({ kind: 'compact', index: meta.index, term: meta.term }, failHard(options.onFailure));
      onEvent({ kind: 'snapshot', index: meta.index, phase: 'stored' });
      return true;
    };
    storage.append({ marker, entries: [] }, { mustSync: true, done });
  };
  return {
    take(meta) {
      if (taking) return;
      taking = meta;
      onEvent({ kind: 'snapshot', index: meta.index, phase: 'begun' });
      writeOwn(options, meta, { written: () => mark(meta), failed: () => giveUp(meta) });
    },
    isTaking: () => taking !== undefined,
    sourceOf: name => ({
      read: (offset, answer) =>
        storage.ask({ kind: 'snapshot-read', index: name.index, term: name.term, offset }, got => {
          if (got.kind === 'failed') options.onUnreadable(name);
          answer(got.kind === 'snapshot-chunk' ? got : undefined);
        }),
    }),
    begin: ({ snapshot }, answer) => {
      const { index, term, confState } = snapshot;
      storage.ask({ kind: 'snapshot-begin', meta: { index, term, confState }, origin: 'leader' }, got =>
        answer(receivedBytes(got)),
      );
    },
    chunk: ({ snapshot: { index, term } }, { offset, bytes }, answer) =>
      storage.ask({ kind: 'snapshot-chunk', index, term, origin: 'leader', offset, bytes }, got =>
        answer(receivedBytes(got)),
      ),
    finish: ({ snapshot: { index, term } }, totalBytes, answer) =>
      storage.ask({ kind: 'snapshot-finish', index, term, origin: 'leader', totalBytes }, got =>
        answer(got.kind === 'done'),
      ),
    load: (name, done) => loadAll(options, name, done),
  };
}

/** Writes the application's picture of this moment piece by piece, each when the one before is stored. */
function writeOwn(
  { storage, machine }: SnapshotKeeperOptions,
  meta: SnapshotMeta,
  then: { readonly written: () => void; readonly failed: () => void },
): void {
  const draft = { index: meta.index, term: meta.term, origin: 'own' } as const;
  const pieces = machine.snapshot();
  const next = (offset: number) => {
    const piece = pieces.next();
    if (piece.done) {
      const work = { kind: 'snapshot-finish', ...draft, totalBytes: offset } as const;
      storage.ask(work, answer => (answer.kind === 'done' ? then.written() : then.failed()));
      return;
    }
    const end = offset + piece.value.length;
    const work = { kind: 'snapshot-chunk', ...draft, offset, bytes: piece.value } as const;
    storage.ask(work, answer => (receivedBytes(answer) === end ? next(end) : then.failed()));
  };
  storage.ask({ kind: 'snapshot-begin', meta, origin: 'own' }, answer =>
    receivedBytes(answer) === 0 ? next(0) : then.failed(),
  );
}

function loadAll(
  { storage, onFailure }: SnapshotKeeperOptions,
  name: SnapshotName,
  done: (pieces: readonly Uint8Array[]) => void,
): void {
  const pieces: Uint8Array[] = [];
  const next = (offset: number) => {
    storage.ask({ kind: 'snapshot-read', index: name.index, term: name.term, offset }, answer => {
      if (answer.kind !== 'snapshot-chunk') {
        onFailure(
          answer.kind === 'failed' ? fromProblem(answer.problem) : new Error(`unexpected answer ${answer.kind}`),
        );
      } else if (answer.bytes.length === 0) {
        done(pieces);
      } else {
        pieces.push(answer.bytes);
        next(offset + answer.bytes.length);
      }
    });
  };
  next(0);
}

function receivedBytes(answer: StorageAnswer): number | undefined {
  return answer.kind === 'snapshot-progress' ? answer.receivedBytes : undefined;
}

function failHard(onFailure: (error: Error) => void): (answer: StorageAnswer) => void {
  return answer => {
    if (answer.kind === 'failed') onFailure(fromProblem(answer.problem));
  };
}
