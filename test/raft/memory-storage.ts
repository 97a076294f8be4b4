/**
 * The stored half of one member in memory: what vectors and the core's tests use for a disk.
 *
 * Keeps true: the array begins with a stand-in for the last compacted entry, whose term stays known; what was handed
 * out never changes. Not here: crashes that tear (sim/), the real log (src/raft/storage/).
 */
import { countWithin } from '../../src/raft/core/sizes.js';
import type { ConfState, Entry, HardState, LogStorage, Snapshot } from '../../src/raft/core/types.js';

export const noConfState: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
const noBytes = new Uint8Array(0);

export class MemoryStorage implements LogStorage {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  stored: Snapshot = { version: 1, index: 0, term: 0, confState: noConfState, data: noBytes };
  entriesFromDummy: Entry[] = [{ kind: 'normal', version: 1, index: 0, term: 0, data: noBytes }];
  /** What `snapshot` answers; by default what is stored. */
  snapshotSource: () => Snapshot | undefined = () => this.stored;

  initialState = () => ({ hardState: this.hardState, confState: this.stored.confState });
  firstIndex = () => this.#offset() + 1;
  lastIndex = () => this.#offset() + this.entriesFromDummy.length - 1;
  term = (index: number) => this.entriesFromDummy[index - this.#offset()]?.term;
  snapshot = () => this.snapshotSource();

  entries = (low: number, high: number, maxBytes: number): readonly Entry[] | undefined => {
    if (low <= this.#offset()) return undefined;
    if (high > this.lastIndex() + 1) throw new Error(`entries up to ${high} of a log that ends at ${this.lastIndex()}`);
    const all = this.entriesFromDummy.slice(low - this.#offset(), high - this.#offset());
    return all.slice(0, countWithin(all, maxBytes));
  };

  append(entries: readonly Entry[]): void {
    const first = entries.find(entry => entry.index > this.#offset());
    if (first === undefined) return;
    if (first.index > this.lastIndex() + 1)
      throw new Error(`a gap: log ends at ${this.lastIndex()}, append at ${first.index}`);
    this.entriesFromDummy = [
      ...this.entriesFromDummy.slice(0, first.index - this.#offset()),
      ...entries.slice(entries.indexOf(first)),
    ];
  }

  /** Undefined, or why not. */
  applySnapshot(snapshot: Snapshot): string | undefined {
    if (this.stored.index !== 0 && this.stored.index >= snapshot.index)
      return 'requested index is older than the existing snapshot';
    this.stored = snapshot;
    this.entriesFromDummy = [{ kind: 'normal', version: 1, index: snapshot.index, term: snapshot.term, data: noBytes }];
    return undefined;
  }

  compact(index: number): string | undefined {
    if (index <= this.#offset()) return 'requested index is unavailable due to compaction';
    if (index > this.lastIndex()) throw new Error(`compact at ${index} of a log that ends at ${this.lastIndex()}`);
    const term = this.term(index) ?? 0;
    this.entriesFromDummy = [
      { kind: 'normal', version: 1, index, term, data: noBytes },
      ...this.entriesFromDummy.slice(index - this.#offset() + 1),
    ];
    return undefined;
  }

  #offset(): number {
    return this.entriesFromDummy[0]!.index;
  }
}
