/**
 * A snapshot from the leader on its way into the application: its file is here and the log names it; its content is read
 * back, the application restored, and only then does the core hear that the batch is stored.
 *
 * Keeps true: from the moment the core stands at a snapshot nothing older is applied (bug B41).
 *
 * Called by: ../node.ts. Not here: the file (snapshot-keeper.ts).
 */
import type { Snapshot } from '../core/types.js';
import type { SnapshotKeeper } from './snapshot-keeper.js';
import type { StorageQueue } from './storage-queue.js';
import type { Machine, Scheduler } from './types.js';

export interface SnapshotInstaller {
  /** The core has taken a snapshot: its batch is on the way to disk. */
  readonly expect: () => void;
  /** The batch is on disk: begins to install it, and is asked again until it answers true. */
  readonly isInstalled: (snapshot: Snapshot) => boolean;
  /** Nothing may be applied now. */
  readonly isBusy: () => boolean;
}

export interface SnapshotInstallerOptions {
  readonly storage: StorageQueue;
  readonly keeper: SnapshotKeeper;
  readonly restoring: Restoring;
  readonly onInstalled: (snapshot: Snapshot) => void;
}

export interface Restoring {
  readonly machine: Machine;
  readonly scheduler: Scheduler;
  readonly sliceMs: number;
  /** Runs the work unless the member has ended; a failure ends it. */
  readonly guarded: (work: () => void) => void;
}

/** Restores the application for a slice of time each turn; `done` in the turn in which all is there. */
export function restoreInSlices(
  { machine, scheduler, sliceMs, guarded }: Restoring,
  pieces: readonly Uint8Array[],
  done: () => void,
): void {
  guarded(() => {
    const steps = machine.restore(pieces);
    const slice = (): void =>
      guarded(() => {
        const until = scheduler.nowMs() + sliceMs;
        do {
          if (steps.next().done) return done();
        } while (scheduler.nowMs() < until);
        scheduler.defer(slice);
      });
    slice();
  });
}

export function createSnapshotInstaller({
  storage,
  keeper,
  restoring,
  onInstalled,
}: SnapshotInstallerOptions): SnapshotInstaller {
  let expected = 0;
  let current: { readonly index: number; done: boolean } | undefined;
  const begin = (snapshot: Snapshot) => {
    const installing = { index: snapshot.index, done: false };
    current = installing;
    keeper.load(snapshot, pieces =>
      restoreInSlices(restoring, pieces, () => {
        installing.done = true;
        storage.ask({ kind: 'compact', index: snapshot.index, term: snapshot.term }, () => undefined);
        onInstalled(snapshot);
      }),
    );
  };
  return {
    expect() {
      expected += 1;
    },
    isInstalled(snapshot) {
      if (current?.index !== snapshot.index) begin(snapshot);
      if (!current?.done) return false;
      current = undefined;
      expected -= 1;
      return true;
    },
    isBusy: () => expected > 0,
  };
}
