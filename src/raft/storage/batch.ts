/**
 * One batch of the log as bytes: hard state, snapshot marker and entries, in one frame, so that all of it is on disk or
 * none. Encoded on the main thread and handed to the storage worker as one buffer; decoded when the log is opened.
 *
 *     0 version   1 what follows (1 hard state, 2 marker)   4 number of entries
 *     [term 8, vote 8, commit 8]   [index 8, term 8, replaces-the-log 8]
 *     [index of the first entry 8]   per entry: kind 1, version 1, 2 free, data bytes 4, term 8, data
 *
 * Not here: frames and checksums (frame.ts), the file (wal.ts), the wire between managers (../codec).
 */
import { CoveyError } from '../../errors.js';
import type { ConfChange, ConfChangeV2, Entry, HardState } from '../core/types.js';
import { readUint53, writeUint53 } from './frame.js';

/** "A snapshot of everything up to here is on disk": what the log may forget, or (`replaces`) never had. */
export interface SnapshotMarker {
  readonly index: number;
  readonly term: number;
  /** The snapshot came from the leader: nothing that the log held before it counts any more. */
  readonly replaces: boolean;
}

export interface Batch {
  readonly hardState?: HardState | undefined;
  readonly marker?: SnapshotMarker | undefined;
  readonly entries: readonly Entry[];
}

const BATCH_VERSION = 1;
const HAS_HARD_STATE = 1;
const HAS_MARKER = 2;
const ENTRY_HEAD_BYTES = 16;
const LENGTH_BYTES = 4;
const entryKinds = ['normal', 'conf-change', 'conf-change-v2'] as const;

export function encodeBatch(batch: Batch): Buffer {
  const payloads = batch.entries.map(payloadOf);
  let size = 8 + (batch.hardState ? 24 : 0) + (batch.marker ? 24 : 0) + (payloads.length > 0 ? 8 : 0);
  for (const payload of payloads) size += ENTRY_HEAD_BYTES + payload.length;
  // A buffer of its own, never a piece of Node's pool: it is handed over to another thread.
  const bytes = Buffer.from(new ArrayBuffer(size));
  bytes.writeUInt8(BATCH_VERSION, 0);
  bytes.writeUInt8((batch.hardState ? HAS_HARD_STATE : 0) | (batch.marker ? HAS_MARKER : 0), 1);
  bytes.writeUInt32LE(payloads.length, 4);
  let at = 8;
  const put = (...values: readonly number[]) => {
    for (const value of values) {
      writeUint53(bytes, value, at);
      at += 8;
    }
  };
  if (batch.hardState) put(batch.hardState.term, batch.hardState.vote, batch.hardState.commit);
  if (batch.marker) put(batch.marker.index, batch.marker.term, batch.marker.replaces ? 1 : 0);
  batch.entries.forEach((entry, position) => {
    if (position === 0) put(entry.index);
    const payload = payloads[position]!;
    bytes.writeUInt8(entryKinds.indexOf(entry.kind), at);
    bytes.writeUInt8(entry.version, at + 1);
    bytes.writeUInt32LE(payload.length, at + 4);
    writeUint53(bytes, entry.term, at + 8);
    bytes.set(payload, at + ENTRY_HEAD_BYTES);
    at += ENTRY_HEAD_BYTES + payload.length;
  });
  return bytes;
}

/** Several batches as one body, written to `target`. */
export function joinBatches(bodies: readonly Uint8Array[], target: Buffer): void {
  let at = 0;
  for (const body of bodies) {
    target.writeUInt32LE(body.length, at);
    target.set(body, at + LENGTH_BYTES);
    at += LENGTH_BYTES + body.length;
  }
}

/** What joining makes of bodies of these lengths. */
export function joinedBytes(bodies: readonly Uint8Array[]): number {
  return bodies.reduce((sum, body) => sum + LENGTH_BYTES + body.length, 0);
}

export function splitBatches(bytes: Buffer): readonly Buffer[] {
  const bodies: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += LENGTH_BYTES + bytes.readUInt32LE(at))
    bodies.push(bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + bytes.readUInt32LE(at)));
  return bodies;
}

/** The batch in a body whose checksum was right. Entries' data are copies: the caller may drop the body. */
export function decodeBatch(bytes: Buffer): Batch {
  const version = bytes.readUInt8(0);
  if (version !== BATCH_VERSION) {
    throw new CoveyError('newer-schema', `Cannot read the Raft log: batch version ${version}`, {
      state: `this covey reads version ${BATCH_VERSION}`,
      hint: 'update this node',
    });
  }
  const has = bytes.readUInt8(1);
  const count = bytes.readUInt32LE(4);
  let at = 8;
  const take = () => {
    at += 8;
    return readUint53(bytes, at - 8);
  };
  const hardState = has & HAS_HARD_STATE ? { term: take(), vote: take(), commit: take() } : undefined;
  const marker = has & HAS_MARKER ? { index: take(), term: take(), replaces: take() === 1 } : undefined;
  const entries: Entry[] = [];
  let index = count > 0 ? take() : 0;
  for (let position = 0; position < count; position += 1) {
    const size = bytes.readUInt32LE(at + 4);
    const from = at + ENTRY_HEAD_BYTES;
    const head = { version: bytes.readUInt8(at + 1), term: readUint53(bytes, at + 8), index };
    entries.push(entryOf(bytes.readUInt8(at), head, Buffer.from(bytes.subarray(from, from + size))));
    index += 1;
    at = from + size;
  }
  return { hardState, marker, entries };
}

function payloadOf(entry: Entry): Uint8Array {
  if (entry.kind === 'normal') return entry.data;
  const { context, ...rest } = entry.change;
  return Buffer.from(JSON.stringify({ ...rest, context: Buffer.from(context).toString('base64') }));
}

function entryOf(
  kind: number,
  head: { readonly version: number; readonly term: number; readonly index: number },
  payload: Buffer,
): Entry {
  switch (entryKinds[kind]) {
    case 'normal':
      return { kind: 'normal', ...head, data: payload };
    case 'conf-change':
      return { kind: 'conf-change', ...head, change: changeOf<ConfChange>(payload) };
    case 'conf-change-v2':
      return { kind: 'conf-change-v2', ...head, change: changeOf<ConfChangeV2>(payload) };
    default:
      throw new CoveyError('newer-schema', `Cannot read the Raft log: entry ${head.index} is of kind ${kind}`, {
        hint: 'update this node',
      });
  }
}

function changeOf<Change extends ConfChange | ConfChangeV2>(payload: Buffer): Change {
  const stored = JSON.parse(payload.toString());
  return { ...stored, context: new Uint8Array(Buffer.from(stored.context, 'base64')) };
}
