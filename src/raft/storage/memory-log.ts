/**
 * The stored log as the core reads it: the entries since the newest snapshot, and some before it for followers that lag,
 * in memory. It grows only by what the disk has acknowledged. It holds the bytes of its entries and no more: those come as pieces
 * of larger buffers, of a message or of Node's pool of 64 KiB, which one entry of 200 bytes would keep.
 *
 * Called by: node.ts. Not here: the disk (wal.ts), entries that are not on disk yet (core/unstable.ts).
 */
import { CoveyError } from '../../errors.js';
import { countWithin, entrySize } from '../core/sizes.js';
import type { ConfState, Entry, HardState, LogStorage, Snapshot } from '../core/types.js';

export interface MemoryLog extends LogStorage {
  /** Adds what is on disk now; entries overwrite from their first index on. */
  readonly append: (entries: readonly Entry[]) => void;
  /** A snapshot of this node's own: the log may be cut before it. */
  readonly setSnapshot: (snapshot: Snapshot) => void;
  /** A snapshot from the leader replaces the log. */
  readonly replaceBy: (snapshot: Snapshot) => void;
  /** Forgets entries up to the newest snapshot, but keeps the last ones within both limits. */
  readonly compact: (keep: { readonly entries: number; readonly bytes: number }) => void;
  readonly sizeBytes: () => number;
}

export interface MemoryLogStart {
  readonly hardState: HardState;
  readonly snapshot: Snapshot | undefined;
  readonly entries: readonly Entry[];
}

const noMembers: ConfState = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

export function createMemoryLog(start: MemoryLogStart): MemoryLog {
  let newest = start.snapshot;
  /** Everything at and before `offset` is forgotten; only its term is known. */
  let offset = newest?.index ?? 0;
  let offsetTerm = newest?.term ?? 0;
  let entries: Entry[] = start.entries.map(ofItsOwn);
  let bytes = entries.reduce((sum, entry) => sum + entrySize(entry), 0);
  const last = () => offset + entries.length;
  return {
    initialState: () => ({ hardState: start.hardState, confState: start.snapshot?.confState ?? noMembers }),
    firstIndex: () => offset + 1,
    lastIndex: last,
    term: index => (index === offset ? offsetTerm : entries[index - offset - 1]?.term),
    snapshot: () => newest,
    sizeBytes: () => bytes,
    entries(low, high, maxBytes) {
      if (low <= offset) return undefined;
      if (high > last() + 1)
        throw new CoveyError('bug', `Cannot read entries up to ${high} of a log that ends at ${last()}`);
      const wanted = entries.slice(low - offset - 1, high - offset - 1);
      const count = countWithin(wanted, maxBytes);
      return count === wanted.length ? wanted : wanted.slice(0, count);
    },
    append(more) {
      const first = more[0];
      if (first === undefined) return;
      if (first.index <= offset || first.index > last() + 1) {
        throw new CoveyError('bug', `Cannot append entry ${first.index} to a log of ${offset + 1} to ${last()}`);
      }
      for (let at = first.index - offset - 1; at < entries.length; at += 1) bytes -= entrySize(entries[at]!);
      entries.length = first.index - offset - 1;
      for (const entry of more) {
        entries.push(ofItsOwn(entry));
        bytes += entrySize(entry);
      }
    },
    setSnapshot(snapshot) {
      if (newest === undefined || snapshot.index > newest.index) newest = snapshot;
    },
    replaceBy(snapshot) {
      newest = snapshot;
      offset = snapshot.index;
      offsetTerm = snapshot.term;
      entries = [];
      bytes = 0;
    },
    compact(keep) {
      if (newest === undefined) return;
      let cut = 0;
      let left = bytes;
      const mayGo = Math.min(entries.length, newest.index - offset);
      while (cut < mayGo && (mayGo - cut > keep.entries || left > keep.bytes)) {
        left -= entrySize(entries[cut]!);
        cut += 1;
      }
      if (cut === 0) return;
      offsetTerm = entries[cut - 1]!.term;
      offset += cut;
      entries = entries.slice(cut);
      bytes = left;
    },
  };
}

function ofItsOwn(entry: Entry): Entry {
  if (entry.kind !== 'normal' || entry.data.buffer.byteLength === entry.data.byteLength) return entry;
  return { ...entry, data: new Uint8Array(entry.data) };
}
