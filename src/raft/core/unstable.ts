/**
 * The part of the log that is not known to be on disk: entries and at most one snapshot, from the moment they enter
 * the log until storage says that they are durable.
 *
 * Keeps true: `entries` are contiguous from `offset` on; everything below `offsetInProgress` was handed to storage.
 * Storage may hold other entries at these indexes: what is here overrides them. Used by log.ts alone.
 *
 * Not here: entries on disk (LogStorage), commit and apply (log.ts).
 */
import { CoveyError } from '../../errors.js';
import { entrySize } from './sizes.js';
import type { Entry, Snapshot } from './types.js';

export interface Unstable {
  snapshot: Snapshot | undefined;
  snapshotInProgress: boolean;
  /** entries[head] has the index `offset`; what is before head has left. */
  entries: Entry[];
  head: number;
  offset: number;
  offsetInProgress: number;
}

export function createUnstable(offset: number): Unstable {
  return { snapshot: undefined, snapshotInProgress: false, entries: [], head: 0, offset, offsetInProgress: offset };
}

export function unstableLength(unstable: Unstable): number {
  return unstable.entries.length - unstable.head;
}

/** Index behind the last entry. */
function unstableEnd(unstable: Unstable): number {
  return unstable.offset + unstableLength(unstable);
}

/** The last index, if the unstable part determines it. */
export function unstableLastIndex(unstable: Unstable): number | undefined {
  return unstableLength(unstable) > 0 ? unstableEnd(unstable) - 1 : unstable.snapshot?.index;
}

export function unstableTerm(unstable: Unstable, index: number): number | undefined {
  if (index >= unstable.offset) return unstable.entries[index - unstable.offset + unstable.head]?.term;
  return unstable.snapshot?.index === index ? unstable.snapshot.term : undefined;
}

/** Entries of [low, high), all of which must be here. */
function unstableSlice(unstable: Unstable, low: number, high: number): readonly Entry[] {
  if (low > high || low < unstable.offset || high > unstableEnd(unstable)) {
    throw new CoveyError('bug', 'Cannot read unstable entries that are not there', {
      state: `asked for [${low}, ${high}), have [${unstable.offset}, ${unstableEnd(unstable)})`,
    });
  }
  const shift = unstable.head - unstable.offset;
  return unstable.entries.slice(low + shift, high + shift);
}

/** The first entries of [low, high) that fit into `maxBytes`, at least one if there is any. */
export function unstableWithin(unstable: Unstable, low: number, high: number, maxBytes: number): readonly Entry[] {
  if (maxBytes === Number.POSITIVE_INFINITY) return unstableSlice(unstable, low, high);
  let size = 0;
  for (let index = low; index < high; index++) {
    const entry = unstable.entries[index - unstable.offset + unstable.head];
    if (entry === undefined) break;
    size += entrySize(entry);
    if (size > maxBytes && index > low) return unstableSlice(unstable, low, index);
  }
  return unstableSlice(unstable, low, high);
}

/** Entries not yet handed to storage. */
export function nextUnstableEntries(unstable: Unstable): readonly Entry[] {
  return unstableSlice(unstable, unstable.offsetInProgress, unstableEnd(unstable));
}

export function hasNextUnstableEntries(unstable: Unstable): boolean {
  return unstable.offsetInProgress < unstableEnd(unstable);
}

export function nextUnstableSnapshot(unstable: Unstable): Snapshot | undefined {
  return unstable.snapshotInProgress ? undefined : unstable.snapshot;
}

/** All that is here has been handed to storage. */
export function acceptUnstable(unstable: Unstable): void {
  unstable.offsetInProgress = unstableEnd(unstable);
  if (unstable.snapshot !== undefined) unstable.snapshotInProgress = true;
}

/**
 * Storage has everything up to (index, term) and no write under way can replace it. False if these entries have been
 * replaced here in the meantime.
 */
export function stabilize(unstable: Unstable, index: number, term: number): boolean {
  if (index < unstable.offset || unstableTerm(unstable, index) !== term) return false;
  unstable.head += index + 1 - unstable.offset;
  unstable.offset = index + 1;
  unstable.offsetInProgress = Math.max(unstable.offsetInProgress, unstable.offset);
  dropHead(unstable);
  return true;
}

/** The snapshot at `index` is stored. An older one than the one waited for changes nothing. */
export function stabilizeSnapshot(unstable: Unstable, index: number): void {
  if (unstable.snapshot?.index !== index) return;
  unstable.snapshot = undefined;
  unstable.snapshotInProgress = false;
}

/** The log begins anew after this snapshot. */
export function restoreUnstable(unstable: Unstable, snapshot: Snapshot): void {
  unstable.snapshot = snapshot;
  unstable.snapshotInProgress = false;
  unstable.entries = [];
  unstable.head = 0;
  unstable.offset = snapshot.index + 1;
  unstable.offsetInProgress = unstable.offset;
}

/** Puts `entries` at their indexes; whatever was there or after them is gone. */
export function truncateAndAppend(unstable: Unstable, entries: readonly Entry[]): void {
  const first = entries[0]!.index;
  if (first > unstableEnd(unstable)) {
    throw new CoveyError('bug', 'Cannot append entries that leave a gap', {
      state: `log ends before ${unstableEnd(unstable)}, entries start at ${first}`,
    });
  }
  if (first <= unstable.offset) {
    unstable.entries = [];
    unstable.head = 0;
    unstable.offset = first;
    unstable.offsetInProgress = first;
  } else {
    unstable.entries.length = first - unstable.offset + unstable.head;
    unstable.offsetInProgress = Math.min(unstable.offsetInProgress, first);
  }
  for (const entry of entries) unstable.entries.push(entry);
}

/** Lets go of what has left, so that each entry is moved at most once. */
function dropHead(unstable: Unstable): void {
  if (unstable.head === unstable.entries.length) {
    unstable.entries = [];
    unstable.head = 0;
  } else if (unstable.head * 2 >= unstable.entries.length) {
    unstable.entries = unstable.entries.slice(unstable.head);
    unstable.head = 0;
  }
}
