/**
 * What one member has promised to keep: a model of its disk, fed with the batches that its storage acknowledged. After a
 * crash the real log must hold this, or this and some of the batches that were on their way.
 */
import type { Batch } from '../../../src/raft/storage/batch.js';
import type { LogState } from '../../../src/raft/storage/log-reader.js';

export interface DurableLog {
  term: number;
  vote: number;
  snapshotIndex: number;
  snapshotTerm: number;
  /** Terms of the entries after the snapshot. */
  terms: number[];
}

export function emptyDurableLog(): DurableLog {
  return { term: 0, vote: 0, snapshotIndex: 0, snapshotTerm: 0, terms: [] };
}

export function durableLogOf(state: LogState): DurableLog {
  return {
    term: state.hardState.term,
    vote: state.hardState.vote,
    snapshotIndex: state.marker.index,
    snapshotTerm: state.marker.term,
    terms: state.entries.map(entry => entry.term),
  };
}

/** Changes `log` as the batch does. */
export function storeBatch(log: DurableLog, batch: Batch): void {
  if (batch.hardState) {
    log.term = batch.hardState.term;
    log.vote = batch.hardState.vote;
  }
  if (batch.marker) {
    const { index, term, replaces } = batch.marker;
    if (index >= log.snapshotIndex) {
      log.terms = replaces ? [] : log.terms.slice(index - log.snapshotIndex);
      log.snapshotIndex = index;
      log.snapshotTerm = term;
    }
  }
  for (const entry of batch.entries) {
    if (entry.index <= log.snapshotIndex) continue;
    log.terms.length = entry.index - log.snapshotIndex - 1;
    log.terms.push(entry.term);
  }
}

export function lastDurable(log: DurableLog): number {
  return log.snapshotIndex + log.terms.length;
}

/** Undefined = not there; what a snapshot covers is there with whatever term it had. */
export function hasDurable(log: DurableLog, index: number, term: number): boolean {
  return index <= log.snapshotIndex || log.terms[index - log.snapshotIndex - 1] === term;
}

/** Whether what was found after a crash is what was promised, plus some of what was on its way, in order. */
export function isFaithful(promised: DurableLog, onTheWay: readonly Batch[], found: DurableLog): boolean {
  const model: DurableLog = { ...promised, terms: [...promised.terms] };
  if (isEqual(model, found)) return true;
  for (const batch of onTheWay) {
    storeBatch(model, batch);
    if (isEqual(model, found)) return true;
  }
  return false;
}

function isEqual(a: DurableLog, b: DurableLog): boolean {
  return (
    a.term === b.term &&
    a.vote === b.vote &&
    a.snapshotIndex === b.snapshotIndex &&
    a.terms.length === b.terms.length &&
    a.terms.every((term, place) => term === b.terms[place])
  );
}
