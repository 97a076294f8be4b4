/**
 * A store outside of any log: filled from a snapshot or a survivor's log, changed a last time, and written as the beginning of
 * a new group.
 *
 * Called by daemon/ for recovery and restore. Not here: logs (../bootstrap.ts), what is changed (daemon/membership).
 */
import { CoveyError } from '../../errors.js';
import type { Wire } from '../../wire.js';
import type { View, Write } from '../store.js';
import { openMachine, type StoreMachine } from './machine.js';
import { transactionOf } from './transaction.js';

export interface Rebuild {
  readonly machine: StoreMachine;
  readonly view: () => View;
  /** These writes as an entry of the log, on top of what the store holds now. */
  readonly entryOf: (writes: readonly Write[], atMs: number) => Uint8Array;
  /** Throws when the last applied entry changed nothing. */
  readonly checkApplied: () => void;
}

export function openRebuild(wire: Wire): Rebuild {
  const machine = openMachine(wire);
  const { state } = machine;
  return {
    machine,
    view: () => state.view,
    entryOf: (writes, atMs) =>
      wire.type('Transaction').encode(transactionOf(state, writes, { principal: 'system', atMs })),
    checkApplied: () => {
      const refused = machine.findVoid(state.view.version);
      if (refused !== undefined) throw new CoveyError(refused.code, refused.message, { state: refused.state });
    },
  };
}

/** What the store of a new cluster starts from: these writes, as if they had been its first entry. */
export function firstSnapshot(wire: Wire, writes: readonly Write[], atMs: number): Uint8Array {
  const { machine, entryOf, checkApplied } = openRebuild(wire);
  machine.apply(1, entryOf(writes, atMs));
  checkApplied();
  return machine.snapshot();
}
