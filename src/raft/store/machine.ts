/**
 * The store as the log sees it: entries are decoded and applied, the whole state is written as a snapshot and read back.
 *
 * An entry that this version does not know (schema version, kind of change, table) throws newer-schema, and so does every
 * later one: nothing is skipped. A void transaction is a no-op whose reason is kept for a while, for the one who proposed it. A
 * change that was proposed twice is applied once (clients.ts).
 *
 * Called by the Raft driver; opened by open.ts. Not here: proposals (open.ts), rules (transaction.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Wire } from '../../wire.js';
import type { StateMachine } from '../log.js';
import type { StoreEvent, View } from '../store.js';
import { type Once, openClients } from './clients.js';
import { differences, encodeSnapshot, objectsOf, readSnapshot } from './snapshot.js';
import { openState, type State } from './tables.js';
import { applyTransaction, decodeKnown, type Verdict } from './transaction.js';

type Watcher = (events: readonly StoreEvent[], view: View) => void;

/** A state machine whose snapshot can be written in pieces, so that the event loop is never held for long. */
export interface StoreMachine extends StateMachine {
  /** The snapshot of this very moment, whatever is applied while it is read. Its pieces joined are the snapshot. */
  readonly snapshotPieces: () => Iterable<Uint8Array>;
  /** Restores a snapshot, a piece of the work each time that it is asked for; what it held before is seen until all is there. */
  readonly restoreSteps: (snapshot: Uint8Array) => Iterator<undefined, undefined>;
}

export interface Machine extends StoreMachine {
  readonly state: State;
  readonly watch: (watcher: Watcher) => Disposable;
  /** Why the transaction at that index changed nothing, if it did not, as far back as it is remembered. */
  readonly findVoid: (index: number) => Extract<Verdict, { kind: 'void' }> | undefined;
  /** The version at which that change was done, if it was. */
  readonly findDone: (once: Once) => number | undefined;
}

/** Void transactions remembered; their proposers ask at once. */
const voidsMax = 1_024;
/** A change that was done before is done again by doing nothing. */
const nothingDone: Verdict = { kind: 'applied', events: [] };

export function openMachine(wire: Wire): Machine {
  const state = openState();
  const transactions = wire.type('Transaction');
  const snapshots = wire.type('StoreSnapshot');
  const watchers = new Set<Watcher>();
  const voids = new Map<number, Extract<Verdict, { kind: 'void' }>>();
  const clients = openClients();
  let halted: CoveyError | undefined;

  const publish = (events: readonly StoreEvent[]): void => {
    if (events.length > 0) for (const watcher of [...watchers]) watcher(events, state.view);
  };
  const restoreSteps = function* (bytes: Uint8Array): Generator<undefined, undefined> {
    const reading = readSnapshot(bytes, snapshots);
    let next = reading.next();
    for (; next.done !== true; next = reading.next()) yield;
    const old = watchers.size === 0 ? undefined : objectsOf(state);
    state.replaceBy(next.value.state);
    clients.restore(next.value.clients);
    if (old === undefined) return;
    for (const events of differences(old, state)) {
      publish(events);
      yield;
    }
  };
  const snapshotPieces = (): Iterable<Uint8Array> => encodeSnapshot(state, snapshots, clients.list());
  return {
    state,
    snapshotPieces,
    snapshot: () => Buffer.concat([...snapshotPieces()]),
    apply: (index, entry) => {
      if (halted !== undefined) throw halted;
      try {
        const transaction = decodeKnown(transactions, entry);
        const { once } = transaction;
        const isDone = once !== undefined && clients.find(once) !== undefined;
        const verdict = isDone ? nothingDone : applyTransaction(state, transaction, index);
        state.forget();
        state.setVersion(index);
        if (verdict.kind === 'void') {
          remember(voids, index, verdict);
          return;
        }
        if (once !== undefined && !isDone) clients.note(once, index);
        publish(verdict.events);
      } catch (error) {
        halted =
          error instanceof CoveyError ? error : new CoveyError('bug', `Cannot apply entry ${index}`, { cause: error });
        throw halted;
      }
    },
    restore: bytes => drain(restoreSteps(bytes)),
    restoreSteps,
    watch: watcher => {
      watchers.add(watcher);
      return { [Symbol.dispose]: () => void watchers.delete(watcher) };
    },
    findVoid: index => voids.get(index),
    findDone: once => clients.find(once),
  };
}

function remember<Value>(map: Map<number, Value>, index: number, value: Value): void {
  map.set(index, value);
  for (const oldest of map.keys()) {
    if (map.size <= voidsMax) return;
    map.delete(oldest);
  }
}

function drain(steps: Iterator<undefined, undefined>): void {
  while (steps.next().done !== true);
}
