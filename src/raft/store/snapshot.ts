/**
 * The whole state as bytes and back, in steps of about two milliseconds each, so that nobody waits for the loop meanwhile.
 *
 * A StoreSnapshot is its own pieces one after the other, because repeated fields of messages that follow one another add up: so it
 * can be written in pieces, and cut between any two of its objects to be read.
 *
 * Called by machine.ts. Not here: the file (../storage/snapshot-store.ts), when one is taken (../node/snapshot-policy.ts).
 */
import type { Change, StoreSnapshot } from '../../gen/types.js';
import type { StoreEvent, TableName } from '../store.js';
import { schemaOfState } from './schema.js';
import { openState, type State, tableNames } from './tables.js';
import { decodeKnown, newerSchema } from './transaction.js';

interface Stored {
  readonly table: TableName;
  readonly object: Extract<StoreEvent, { kind: 'put' }>['object'];
}

interface Codec {
  readonly encode: (snapshot: StoreSnapshot) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => StoreSnapshot;
}

/** Objects at a stretch, and bytes of them, whichever comes first. */
const stepObjects = 32;
const stepBytes = 256 * 1024;

/** The snapshot of this very moment, whatever is applied while it is read. */
export function encodeSnapshot(state: State, type: Codec, clients: StoreSnapshot['clients']): Iterable<Uint8Array> {
  const stored = objectsOf(state);
  const { version } = state.view;
  const schema = schemaOfState(state.view);
  return (function* pieces() {
    yield type.encode({ schemaVersion: schema, version, objects: [], clients });
    for (let at = 0; at < stored.length; at += stepObjects) {
      const objects = stored
        .slice(at, at + stepObjects)
        .map(
          ({ table, object }): Change => ({ baseVersion: 0, action: { ...object, kind: table } as Change['action'] }),
        );
      yield type.encode({ schemaVersion: 0, version: 0, objects, clients: [] });
    }
  })();
}

/** A new state with all that the snapshot holds. Throws newer-schema when this version does not know it. */
export function* readSnapshot(
  bytes: Uint8Array,
  type: Codec,
): Generator<undefined, { readonly state: State; readonly clients: StoreSnapshot['clients'] }> {
  const { head, pieces } = cut(bytes);
  const { version, clients } = decodeKnown(type, head);
  const state = openState();
  for (const piece of pieces) {
    for (const { action } of decodeObjects(type, piece)) {
      if (action.kind === 'deletion') throw newerSchema('a deletion in a snapshot');
      const { kind, ...object } = action;
      state.put(kind, object as never);
    }
    yield;
  }
  state.setVersion(version);
  return { state, clients };
}

function decodeObjects(type: Codec, piece: Uint8Array): readonly Change[] {
  try {
    return type.decode(piece).objects;
  } catch (error) {
    throw newerSchema(`${piece.length} bytes of a snapshot`, error);
  }
}

export function objectsOf(state: State): readonly Stored[] {
  return tableNames.flatMap(table => [...state.view.list(table)].map(object => ({ table, object })));
}

/** What watchers are told when a whole state takes the place of another, in pieces. */
export function* differences(old: readonly Stored[], state: State): Generator<readonly StoreEvent[]> {
  const before = new Map(old.map(({ object }) => [object.id as string, object]));
  let events: StoreEvent[] = [];
  for (const { table, object } of objectsOf(state)) {
    const previous = before.get(object.id);
    if (previous?.meta.version === object.meta.version) continue;
    events.push({ kind: 'put', table, object, old: previous } as StoreEvent);
    if (events.length < stepObjects) continue;
    yield events;
    events = [];
  }
  for (const { table, object } of old) {
    if (state.view.find(table, object.id) !== undefined) continue;
    events.push({ kind: 'delete', table, old: object } as StoreEvent);
    if (events.length < stepObjects) continue;
    yield events;
    events = [];
  }
  if (events.length > 0) yield events;
}

/** Number of the field `objects` of StoreSnapshot. */
const objectsField = 3;

/** Everything but the objects, and the objects in pieces that each are a StoreSnapshot. */
function cut(bytes: Uint8Array): { readonly head: Uint8Array; readonly pieces: readonly Uint8Array[] } {
  const head: Uint8Array[] = [];
  const pieces: Uint8Array[] = [];
  let piece = { from: 0, to: 0, count: 0 };
  const end = (): void => {
    if (piece.count > 0) pieces.push(bytes.subarray(piece.from, piece.to));
  };
  for (let at = 0; at < bytes.length; ) {
    const next = fieldAt(bytes, at);
    if (next.field === objectsField) {
      const follows = piece.to === at && piece.count < stepObjects && next.end - piece.from <= stepBytes;
      if (follows) piece = { ...piece, to: next.end, count: piece.count + 1 };
      else {
        end();
        piece = { from: at, to: next.end, count: 1 };
      }
    } else {
      head.push(bytes.subarray(at, next.end));
    }
    at = next.end;
  }
  end();
  return { head: Buffer.concat(head), pieces };
}

/** The field that begins there, and where it ends: protobuf's wire format. */
function fieldAt(bytes: Uint8Array, at: number): { readonly field: number; readonly end: number } {
  const tag = varintAt(bytes, at);
  const field = Math.floor(tag.value / 8);
  switch (tag.value % 8) {
    case 0:
      return { field, end: varintAt(bytes, tag.end).end };
    case 1:
      return { field, end: within(bytes, tag.end + 8) };
    case 2: {
      const size = varintAt(bytes, tag.end);
      return { field, end: within(bytes, size.end + size.value) };
    }
    case 5:
      return { field, end: within(bytes, tag.end + 4) };
    default:
      throw newerSchema(`byte ${at} of a snapshot`);
  }
}

function varintAt(bytes: Uint8Array, at: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let place = 0; place < 10; place += 1) {
    const byte = bytes[at + place];
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * place);
    if (byte < 0x80) return { value, end: at + place + 1 };
  }
  throw newerSchema(`byte ${at} of a snapshot`);
}

function within(bytes: Uint8Array, end: number): number {
  if (end > bytes.length) throw newerSchema(`a snapshot of ${bytes.length} bytes`);
  return end;
}
