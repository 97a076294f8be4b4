/**
 * When this member writes a snapshot of its own: the log has grown, or a follower needs a newer one.
 *
 * Called by: ../node.ts. Not here: writing it (snapshot-keeper.ts).
 */
import type { NodeLimits } from './types.js';

export interface SnapshotPolicy {
  /** Whether one at `index` is due, with so many bytes of log applied since the last. */
  readonly isDue: (index: number, bytesSince: number) => boolean;
  /** One at this index is being written, or was installed. */
  readonly taking: (index: number) => void;
  /** A follower needs one that is newer than the newest. */
  readonly want: () => void;
  /** The newest is damaged on disk: the state is good in memory, so another is written in its place. */
  readonly replace: (index: number) => void;
  /** It could not be written; `index` is that of the last one that was. */
  readonly failed: (index: number) => void;
}

export interface SnapshotPolicyOptions {
  readonly limits: NodeLimits;
  readonly nowTick: () => number;
  /** Of the newest snapshot. */
  readonly index: number;
}

export function createSnapshotPolicy({ limits, nowTick, index: start }: SnapshotPolicyOptions): SnapshotPolicy {
  let newest = start;
  let wanted = false;
  let notBefore = 0;
  return {
    isDue(index, bytesSince) {
      if (index === newest || nowTick() < notBefore) return false;
      return wanted || index - newest >= limits.snapshotEntries || bytesSince >= limits.snapshotBytes;
    },
    taking(index) {
      newest = index;
      wanted = false;
    },
    want() {
      wanted = true;
    },
    replace(index) {
      newest = index - 1;
      wanted = true;
    },
    failed(index) {
      newest = index;
      notBefore = nowTick() + limits.electionTicks;
    },
  };
}
