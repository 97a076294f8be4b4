/**
 * One view of the whole log: what is on disk and, before it is, what is unstable; and how far it is committed,
 * handed out and applied.
 *
 * Keeps true: applied <= applying <= committed <= lastIndex; the committed prefix never changes; committed entries
 * are handed out in order, each once. Called by the rules in `raft/` and by rawnode.ts.
 *
 * Not here: who decides what is committed (raft/replicate.ts), the unstable part itself (unstable.ts).
 */
import { CoveyError } from '../../errors.js';
import { entriesSize } from './sizes.js';
import type { Entry, LogStorage, Snapshot } from './types.js';
import {
  createUnstable,
  hasNextUnstableEntries,
  restoreUnstable,
  stabilizeSnapshot,
  truncateAndAppend,
  type Unstable,
  unstableLastIndex,
  unstableLength,
  unstableTerm,
  unstableWithin,
} from './unstable.js';

export interface RaftLog {
  readonly storage: LogStorage;
  readonly unstable: Unstable;
  /** Known to be on a quorum. */
  committed: number;
  /** Handed out to be applied. */
  applying: number;
  /** Acknowledged as applied. */
  applied: number;
  readonly applyingBytesMax: number;
  /** Bytes handed out and not yet acknowledged. */
  applyingBytes: number;
  /** Nothing more is handed out until something is acknowledged. */
  applyingPaused: boolean;
}

export function createLog(storage: LogStorage, applyingBytesMax: number): RaftLog {
  const compacted = storage.firstIndex() - 1;
  return {
    storage,
    unstable: createUnstable(storage.lastIndex() + 1),
    committed: compacted,
    applying: compacted,
    applied: compacted,
    applyingBytesMax,
    applyingBytes: 0,
    applyingPaused: false,
  };
}

export function firstIndex(log: RaftLog): number {
  return log.unstable.snapshot === undefined ? log.storage.firstIndex() : log.unstable.snapshot.index + 1;
}

export function lastIndex(log: RaftLog): number {
  return unstableLastIndex(log.unstable) ?? log.storage.lastIndex();
}

/** Term of the entry at `index`; undefined where the log does not reach or was compacted. */
export function termAt(log: RaftLog, index: number): number | undefined {
  const term = unstableTerm(log.unstable, index);
  if (term !== undefined) return term;
  if (index + 1 < firstIndex(log) || index > lastIndex(log)) return undefined;
  return log.storage.term(index);
}

export function lastTerm(log: RaftLog): number {
  const index = lastIndex(log);
  const term = termAt(log, index);
  if (term === undefined)
    throw new CoveyError('bug', 'Cannot read the term of the last entry', { state: `index ${index}` });
  return term;
}

export function matches(log: RaftLog, index: number, term: number): boolean {
  return termAt(log, index) === term;
}

/** Is a log that ends with (index, term) at least as complete as this one? (Raft paper, 5.4.1) */
export function isUpToDate(log: RaftLog, index: number, term: number): boolean {
  const ours = lastTerm(log);
  return term > ours || (term === ours && index >= lastIndex(log));
}

/** A leader's entries as they came in a message. */
export interface AppendSlice {
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
}

export type AppendResult =
  | { readonly kind: 'rejected' }
  | {
      readonly kind: 'accepted';
      readonly lastIndex: number;
      /** The first entry of the old log that had to give way, if any. */
      readonly conflict: { readonly index: number; readonly term: number } | undefined;
    };

/**
 * Appends a leader's entries if they fit on this log. Only a conflict cuts the log; entries that are there already
 * are left alone, so a late or repeated message takes nothing away. The commit index never goes beyond what this
 * very message proved to match.
 */
export function tryAppend(log: RaftLog, slice: AppendSlice): AppendResult {
  if (!matches(log, slice.prevIndex, slice.prevTerm)) return { kind: 'rejected' };
  const matched = slice.prevIndex + slice.entries.length;
  const fresh = slice.entries.findIndex(entry => !matches(log, entry.index, entry.term));
  let conflict: { readonly index: number; readonly term: number } | undefined;
  if (fresh >= 0) {
    const { index } = slice.entries[fresh]!;
    if (index <= lastIndex(log)) conflict = { index, term: termAt(log, index) ?? 0 };
    appendEntries(log, fresh === 0 ? slice.entries : slice.entries.slice(fresh));
  }
  commitTo(log, Math.min(slice.commit, matched));
  return { kind: 'accepted', lastIndex: matched, conflict };
}

/** Puts entries at their indexes, over whatever uncommitted entries were there. */
export function appendEntries(log: RaftLog, entries: readonly Entry[]): void {
  const first = entries[0];
  if (first === undefined) return;
  if (first.index <= log.committed) {
    throw new CoveyError('bug', 'Cannot replace committed entries', {
      state: `append at ${first.index}, committed ${log.committed}`,
    });
  }
  truncateAndAppend(log.unstable, entries);
}

/**
 * The best guess where this log may match another of which only (index, term) is known: the highest index at or
 * below `index` whose term is at most `term`, with its term (0 if that is not known here).
 */
export function guessMatch(
  log: RaftLog,
  index: number,
  term: number,
): { readonly index: number; readonly term: number } {
  for (let at = index; at > 0; at--) {
    const ours = termAt(log, at);
    if (ours === undefined) return { index: at, term: 0 };
    if (ours <= term) return { index: at, term: ours };
  }
  return { index: 0, term: 0 };
}

/** Raises the commit index; never lowers it. */
export function commitTo(log: RaftLog, index: number): void {
  if (index <= log.committed) return;
  if (index > lastIndex(log)) {
    throw new CoveyError('bug', 'Cannot commit entries that are not in the log', {
      state: `commit ${index}, last index ${lastIndex(log)}`,
      hint: 'the log of this manager has lost entries: remove it from the cluster and join it again',
    });
  }
  log.committed = index;
}

/** Entries to apply next, as many as the limit on outstanding bytes lets through. */
export function nextCommitted(log: RaftLog, allowUnstable: boolean): readonly Entry[] {
  if (!hasNextCommitted(log, allowUnstable)) return [];
  const high = appliableIndex(log, allowUnstable) + 1;
  const entries = slice(log, log.applying + 1, high, log.applyingBytesMax - log.applyingBytes);
  if (entries === undefined) {
    throw new CoveyError('bug', 'Cannot read committed entries', {
      state: `asked from ${log.applying + 1}, first index ${firstIndex(log)}`,
    });
  }
  return entries;
}

/** A snapshot to be installed comes first. */
export function hasNextCommitted(log: RaftLog, allowUnstable: boolean): boolean {
  if (log.applyingPaused || log.unstable.snapshot !== undefined) return false;
  return log.applying < appliableIndex(log, allowUnstable);
}

/** These entries, the result of `nextCommitted`, are being applied. */
export function acceptApplying(log: RaftLog, entries: readonly Entry[], allowUnstable: boolean): void {
  const last = entries.at(-1);
  if (last === undefined) return;
  log.applying = last.index;
  log.applyingBytes += entriesSize(entries);
  // Fewer entries than there were means that the next one did not fit.
  log.applyingPaused = log.applyingBytes >= log.applyingBytesMax || last.index < appliableIndex(log, allowUnstable);
}

/** Everything up to `index` is applied; `bytes` of what was handed out are done with. */
export function appliedTo(log: RaftLog, index: number, bytes: number): void {
  if (index > log.committed || index < log.applied) {
    throw new CoveyError('bug', 'Cannot take entries as applied that are not next in the log', {
      state: `index ${index}, applied ${log.applied}, committed ${log.committed}`,
    });
  }
  log.applied = index;
  log.applying = Math.max(log.applying, index);
  log.applyingBytes = Math.max(log.applyingBytes - bytes, 0);
  log.applyingPaused = log.applyingBytes >= log.applyingBytesMax;
}

/** The log begins anew after this snapshot. */
export function restoreLog(log: RaftLog, snapshot: Snapshot): void {
  log.committed = snapshot.index;
  restoreUnstable(log.unstable, snapshot);
}

export function snapshotStored(log: RaftLog, snapshot: Snapshot): void {
  stabilizeSnapshot(log.unstable, snapshot.index);
}

export function newestSnapshot(log: RaftLog): Snapshot | undefined {
  return log.unstable.snapshot ?? log.storage.snapshot();
}

export function hasUnstableEntries(log: RaftLog): boolean {
  return unstableLength(log.unstable) > 0;
}

export function hasEntriesToStore(log: RaftLog): boolean {
  return hasNextUnstableEntries(log.unstable);
}

/** Entries from `low` on that fit into `maxBytes`; undefined if they were compacted away. */
export function entriesFrom(log: RaftLog, low: number, maxBytes: number): readonly Entry[] | undefined {
  const last = lastIndex(log);
  return low > last ? [] : slice(log, low, last + 1, maxBytes);
}

/** Entries of [low, high), at least one, as many as fit; undefined if `low` was compacted away. */
export function slice(log: RaftLog, low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
  if (low < firstIndex(log)) return undefined;
  if (low > high || high > lastIndex(log) + 1) {
    throw new CoveyError('bug', 'Cannot read entries beyond the log', {
      state: `asked for [${low}, ${high}), last index ${lastIndex(log)}`,
    });
  }
  if (low === high) return [];
  const { offset } = log.unstable;
  if (low >= offset) return unstableWithin(log.unstable, low, high, maxBytes);

  const cut = Math.min(high, offset);
  const stored = log.storage.entries(low, cut, maxBytes);
  if (stored === undefined || high <= offset || stored.length < cut - low) return stored;
  const left = maxBytes - (maxBytes === Number.POSITIVE_INFINITY ? 0 : entriesSize(stored));
  if (left <= 0) return stored;
  const rest = unstableWithin(log.unstable, offset, high, left);
  // A first entry is given even if it is too large; here it is not the first.
  if (rest.length === 1 && entriesSize(rest) > left) return stored;
  return [...stored, ...rest];
}

/** In asynchronous mode only what is on this node's disk is applied. */
function appliableIndex(log: RaftLog, allowUnstable: boolean): number {
  return allowUnstable ? log.committed : Math.min(log.committed, log.unstable.offset - 1);
}
