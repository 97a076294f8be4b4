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
import type { Change, StoreSnapshot } from '../../gen/types.js';
import type { Wire } from '../../wire.js';
import type { StateMachine } from '../log.js';
import type { StoreEvent, TableName, View } from '../store.js';
import { type Once, openClients } from './clients.js';
import { openState, type State, tableNames } from './tables.js';
import { applyTransaction, newerSchema, schemaVersion, type Verdict } from './transaction.js';

type Watcher = (events: readonly StoreEvent[], view: View) => void;

/** A state machine whose snapshot can be written in pieces, so that the event loop is never held for long. */
export interface StoreMachine extends StateMachine {
  /** The snapshot of this very moment, whatever is applied while it is read. Its pieces joined are the snapshot. */
  readonly snapshotPieces: () => Iterable<Uint8Array>;
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
/** Objects encoded at a stretch: about 2 ms. */
const pieceObjects = 32;
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
    restore: bytes => {
      const old = watchers.size === 0 ? undefined : objectsOf(state);
      const snapshot = decodeKnown(snapshots, bytes);
      restoreState(state, snapshot);
      clients.restore(snapshot.clients);
      if (old !== undefined) publish(differences(old, state));
    },
    watch: watcher => {
      watchers.add(watcher);
      return { [Symbol.dispose]: () => void watchers.delete(watcher) };
    },
    findVoid: index => voids.get(index),
    findDone: once => clients.find(once),
  };
}

/** The message, if its schema is one that this version knows. */
function decodeKnown<Message extends { readonly schemaVersion: number }>(
  type: { readonly decode: (bytes: Uint8Array) => Message },
  bytes: Uint8Array,
): Message {
  let message: Message;
  try {
    message = type.decode(bytes);
  } catch (error) {
    throw newerSchema(`${bytes.length} bytes of the log`, error);
  }
  if (message.schemaVersion !== schemaVersion) throw newerSchema(`schema version ${message.schemaVersion}`);
  return message;
}

function remember<Value>(map: Map<number, Value>, index: number, value: Value): void {
  map.set(index, value);
  for (const oldest of map.keys()) {
    if (map.size <= voidsMax) return;
    map.delete(oldest);
  }
}

interface Stored {
  readonly table: TableName;
  readonly object: Extract<StoreEvent, { kind: 'put' }>['object'];
}

function objectsOf(state: State): readonly Stored[] {
  return tableNames.flatMap(table => [...state.view.list(table)].map(object => ({ table, object })));
}

/** Repeated fields of messages that follow one another add up, so a snapshot is its own pieces one after the other. */
function encodeSnapshot(
  state: State,
  type: { readonly encode: (snapshot: StoreSnapshot) => Uint8Array },
  clients: StoreSnapshot['clients'],
): Iterable<Uint8Array> {
  const stored = objectsOf(state);
  const { version } = state.view;
  return (function* pieces() {
    yield type.encode({ schemaVersion, version, objects: [], clients });
    for (let at = 0; at < stored.length; at += pieceObjects) {
      const objects = stored
        .slice(at, at + pieceObjects)
        .map(
          ({ table, object }): Change => ({ baseVersion: 0, action: { ...object, kind: table } as Change['action'] }),
        );
      yield type.encode({ schemaVersion: 0, version: 0, objects, clients: [] });
    }
  })();
}

function restoreState(state: State, snapshot: StoreSnapshot): void {
  state.forget();
  state.clear();
  for (const { action } of snapshot.objects) {
    if (action.kind === 'deletion') throw newerSchema('a deletion in a snapshot');
    const { kind, ...object } = action;
    state.put(kind, object as never);
  }
  state.setVersion(snapshot.version);
}

/** What watchers are told when a whole state takes the place of another. */
function differences(old: readonly Stored[], state: State): readonly StoreEvent[] {
  const events: StoreEvent[] = [];
  const before = new Map(old.map(({ object }) => [object.id as string, object]));
  for (const { table, object } of objectsOf(state)) {
    const previous = before.get(object.id);
    if (previous?.meta.version !== object.meta.version) {
      events.push({ kind: 'put', table, object, old: previous } as StoreEvent);
    }
  }
  for (const { table, object } of old) {
    if (state.view.find(table, object.id) === undefined)
      events.push({ kind: 'delete', table, old: object } as StoreEvent);
  }
  return events;
}
