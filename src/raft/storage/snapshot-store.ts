/**
 * Snapshots on disk: one file each, a head sector and then frames of the same kind as the log's. A snapshot exists when
 * its file has its final name and its folder is synced; only then may the log's marker name it, and only when the marker
 * is on disk may older segments and snapshots go.
 *
 *     <index>-<term>.snap            16 hex digits each: head, then chunks of equal size (the last is shorter), then an end
 *     own-… or leader-….tmp          being written; a transfer that broke off resumes where it stopped, until a restart
 *
 * Called by: storage-server.ts. Not here: the log (wal.ts), what is in a snapshot (the store), the wire (transport.ts).
 */
import { CoveyError } from '../../errors.js';
import type { RandomBytes } from '../../ids.js';
import type { ConfState } from '../core/types.js';
import { type Binding, bindTo, boundBytes } from './binding.js';
import { type Disk, type DiskFile, SECTOR_BYTES } from './disk.js';
import {
  type Chain,
  FRAME_HEAD_BYTES,
  type Frame,
  type FrameKind,
  finishFrame,
  frameBytes,
  readFrame,
  readUint53,
  writeUint53,
} from './frame.js';
import { clearKeyring, createNonces, type Keyring, type Nonces, openBody, sealBody, sealedBytes } from './keyring.js';
import { decodeSector, encodeSector } from './sector.js';
import { checkIdentity, type LogIdentity } from './segment.js';

/** A snapshot is known by the last entry that it covers. */
export interface SnapshotName {
  readonly index: number;
  readonly term: number;
}

/**
 * One that is being written. Our own and one that arrives may cover the same entries at the same time, and their bytes
 * need not be the same: they never share a file before one of them is whole.
 */
export interface SnapshotDraft extends SnapshotName {
  readonly origin: 'own' | 'leader';
}

export interface SnapshotMeta extends SnapshotName {
  readonly confState: ConfState;
}

/** Where a transfer goes on. */
interface SnapshotProgress {
  readonly receivedBytes: number;
}

export interface SnapshotChunk {
  readonly bytes: Uint8Array;
  readonly totalBytes: number;
}

export interface SnapshotStoreOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly identity: LogIdentity;
  readonly keyring: Keyring;
  readonly random: RandomBytes;
  readonly chunkBytes: number;
}

export interface SnapshotStore {
  /** Whole snapshots, oldest first. */
  readonly list: () => readonly SnapshotName[];
  /** Begins or resumes. At most two are written at a time (our own and one that arrives); a third replaces the oldest. */
  readonly begin: (meta: SnapshotMeta, origin: SnapshotDraft['origin']) => SnapshotProgress;
  /** The next bytes; `offset` must be what was received so far. */
  readonly write: (draft: SnapshotDraft, offset: number, bytes: Uint8Array) => SnapshotProgress;
  /** Makes it durable under its name; refused when it has not exactly so many bytes. */
  readonly finish: (draft: SnapshotDraft, totalBytes: number) => void;
  /** Reads every byte, and throws `snapshot-missing` naming file and offset when one is wrong. */
  readonly verify: (name: SnapshotName) => { readonly meta: SnapshotMeta; readonly totalBytes: number };
  readonly read: (name: SnapshotName, offset: number) => SnapshotChunk;
  /** Removes what is older than the named one; a newer one may be about to be named by the log. */
  readonly keepFrom: (name: SnapshotName) => void;
  readonly setKeyring: (keyring: Keyring) => void;
  readonly keysInUse: () => readonly number[];
}

interface Place extends SnapshotStoreOptions {
  readonly nonces: Nonces;
}

interface Incoming {
  /** As they were when it began: one snapshot has one key. */
  readonly options: Place;
  readonly binding: Binding;
  readonly meta: SnapshotMeta;
  readonly origin: SnapshotDraft['origin'];
  readonly path: string;
  readonly file: DiskFile;
  offset: number;
  chain: Chain;
  receivedBytes: number;
  pending: Buffer[];
  pendingBytes: number;
}

/** The body of the last frame: the length of the content. */
const TOTAL_BYTES = 8;
/** Of the first frame. */
const HEAD_SEQ = 1;
const SNAPSHOT_MAGIC = 'COVEYSNP';
const snapshotName = /^([0-9a-f]{16})-([0-9a-f]{16})\.snap$/;

/** Opens the folder; what was unfinished is removed. */
export function openSnapshotStore(options: SnapshotStoreOptions): SnapshotStore {
  const { disk, folder } = options;
  disk.makeFolder(folder);
  for (const name of disk.list(folder)) if (name.endsWith('.tmp')) disk.unlink(`${folder}/${name}`);
  let place: Place = { ...options, nonces: createNonces(options.random, 'snapshots') };
  let incoming: readonly Incoming[] = [];
  const list = () => disk.list(folder).flatMap(parseName);
  const find = (draft: SnapshotDraft) =>
    incoming.find(
      ({ meta, origin }) => meta.index === draft.index && meta.term === draft.term && origin === draft.origin,
    );
  const get = (draft: SnapshotDraft) => {
    const found = find(draft);
    if (found) return found;
    throw new CoveyError('cancelled', `Cannot write to the snapshot at ${draft.index}: it was given up for another`);
  };
  const discard = (one: Incoming) => {
    incoming = incoming.filter(other => other !== one);
    one.file.close();
    removeIfThere(options, one.path);
  };
  /** A write that failed leaves a file of which nobody knows what it holds: the transfer begins anew. */
  const orDiscard = <Result>(one: Incoming, work: () => Result): Result => {
    try {
      return work();
    } catch (error) {
      discard(one);
      throw error;
    }
  };
  return {
    list,
    begin(meta, origin) {
      const found = find({ ...meta, origin });
      if (found) return found;
      const [oldest, ...rest] = incoming;
      if (oldest && rest.length > 0) discard(oldest);
      const begun = beginIncoming(place, meta, origin);
      incoming = [...incoming, begun];
      return begun;
    },
    write(draft, offset, bytes) {
      const into = get(draft);
      if (offset === into.receivedBytes) orDiscard(into, () => addBytes(into, bytes));
      return { receivedBytes: into.receivedBytes };
    },
    finish(draft, totalBytes) {
      const done = get(draft);
      if (done.receivedBytes !== totalBytes) {
        throw new CoveyError(
          'cancelled',
          `Cannot finish the snapshot at ${draft.index}: it has ${done.receivedBytes} of ${totalBytes} bytes`,
        );
      }
      orDiscard(done, () => finishIncoming(done));
      incoming = incoming.filter(one => one !== done);
    },
    verify: name => verifySnapshot(place, name),
    read: (name, offset) => readChunk(place, name, offset),
    keepFrom: name => removeOlder(options, list(), name),
    setKeyring(keyring) {
      place = { ...place, keyring };
    },
    keysInUse: () => {
      // What is being written counts too: it will have been written under the key of its beginning.
      const begun = incoming.map(({ options: { keyring } }) => keyring.currentId);
      return [...new Set([...list().flatMap(one => keyOf(place, one)), ...begun])];
    },
  };
}

function removeOlder({ disk, folder }: SnapshotStoreOptions, all: readonly SnapshotName[], name: SnapshotName): void {
  for (const one of all) {
    const isOlder = one.index < name.index || (one.index === name.index && one.term !== name.term);
    if (isOlder) disk.unlink(`${folder}/${fileName(one)}`);
  }
  disk.syncFolder(folder);
}

function removeIfThere({ disk, folder }: SnapshotStoreOptions, path: string): void {
  if (disk.list(folder).includes(path.slice(folder.length + 1))) disk.unlink(path);
}

function fileName({ index, term }: SnapshotName): string {
  const hex = (value: number) => value.toString(16).padStart(16, '0');
  return `${hex(index)}-${hex(term)}.snap`;
}

function parseName(name: string): SnapshotName[] {
  const match = snapshotName.exec(name);
  return match ? [{ index: Number.parseInt(match[1]!, 16), term: Number.parseInt(match[2]!, 16) }] : [];
}

function beginIncoming(options: Place, meta: SnapshotMeta, origin: SnapshotDraft['origin']): Incoming {
  const { disk, folder, identity } = options;
  const path = `${folder}/${origin}-${fileName(meta).replace('.snap', '.tmp')}`;
  removeIfThere(options, path);
  const file = disk.open(path, 'create');
  file.write(
    0,
    encodeSector({
      magic: SNAPSHOT_MAGIC,
      numbers: [meta.index, meta.term, identity.node, options.chunkBytes],
      text: identity.cluster,
    }),
  );
  const incoming: Incoming = {
    options,
    binding: bindTo(identity, { kind: 'snapshot', ...nameOf(meta), chunkBytes: options.chunkBytes }),
    meta,
    origin,
    path,
    file,
    offset: SECTOR_BYTES,
    chain: { crc: 0, seq: 0 },
    receivedBytes: 0,
    pending: [],
    pendingBytes: 0,
  };
  writeFrame(incoming, { kind: 'snapshot-head', body: Buffer.from(JSON.stringify(meta)) });
  return incoming;
}

function addBytes(incoming: Incoming, bytes: Uint8Array): void {
  const { chunkBytes } = incoming.options;
  incoming.pending.push(Buffer.from(bytes));
  incoming.pendingBytes += bytes.length;
  incoming.receivedBytes += bytes.length;
  if (incoming.pendingBytes < chunkBytes) return;
  const all = Buffer.concat(incoming.pending);
  let at = 0;
  for (; at + chunkBytes <= all.length; at += chunkBytes) {
    writeFrame(incoming, { kind: 'snapshot-data', body: all.subarray(at, at + chunkBytes) });
  }
  incoming.pending = [all.subarray(at)];
  incoming.pendingBytes = all.length - at;
}

function finishIncoming(incoming: Incoming): void {
  const { disk, folder } = incoming.options;
  if (incoming.pendingBytes > 0) writeFrame(incoming, { kind: 'snapshot-data', body: Buffer.concat(incoming.pending) });
  const total = Buffer.alloc(TOTAL_BYTES);
  writeUint53(total, incoming.receivedBytes, 0);
  writeFrame(incoming, { kind: 'snapshot-end', body: total });
  incoming.file.datasync();
  incoming.file.close();
  disk.rename(incoming.path, `${folder}/${fileName(incoming.meta)}`);
  disk.syncFolder(folder);
}

function writeFrame(incoming: Incoming, frame: { readonly kind: FrameKind; readonly body: Buffer }): void {
  const { keyring, nonces } = incoming.options;
  const bodyBytes = sealedBytes(keyring, frame.body.length);
  const target = Buffer.alloc(frameBytes(bodyBytes));
  const head = {
    kind: frame.kind,
    keyId: keyring.currentId,
    seq: incoming.chain.seq + 1,
    syncedSeq: 0,
    prevCrc: incoming.chain.crc,
  };
  const boundTo = boundBytes(incoming.binding, head, bodyBytes);
  sealBody(keyring, frame.body, { target, at: FRAME_HEAD_BYTES, boundTo, nonces });
  incoming.chain = finishFrame(target, 0, head, bodyBytes);
  incoming.file.write(incoming.offset, target);
  incoming.offset += target.length;
}

/** Walks the frames of a snapshot with one frame in memory at a time. */
function* walkFrames(options: SnapshotStoreOptions, at: SnapshotName) {
  const { disk, folder, identity } = options;
  const path = `${folder}/${fileName(at)}`;
  if (!disk.list(folder).includes(fileName(at))) throw missing(path, 0, 'there is no such file');
  const file = disk.open(path, 'read');
  try {
    const sector = decodeSector(Buffer.from(file.read(0, SECTOR_BYTES)), SNAPSHOT_MAGIC);
    if ('why' in sector) throw missing(path, 0, sector.why);
    checkIdentity(path, { cluster: sector.text, node: sector.numbers[2] ?? 0 }, identity);
    const binding = bindingOf(options, at, sector);
    let chain: Chain = { crc: 0, seq: 0 };
    let offset = SECTOR_BYTES;
    for (;;) {
      const frame = frameAt(file, offset);
      if (typeof frame === 'string' || frame.prevCrc !== chain.crc || frame.seq !== chain.seq + 1) {
        throw missing(path, offset, typeof frame === 'string' ? frame : 'a part is missing');
      }
      chain = { crc: frame.crc, seq: frame.seq };
      yield {
        frame,
        body: bodyOf(options, frame, binding),
      };
      if (frame.kind === 'snapshot-end') return;
      offset += frame.end;
    }
  } finally {
    file.close();
  }
}

/** The frame at an offset (its own offsets count from there), or why there is none. */
function frameAt(file: DiskFile, offset: number): Frame | string {
  const head = Buffer.from(file.read(offset, FRAME_HEAD_BYTES));
  if (head.length < FRAME_HEAD_BYTES) return 'it ends too early';
  const bytes = Buffer.from(file.read(offset, Math.min(file.sizeBytes() - offset, frameBytes(head.readUInt32LE(4)))));
  const reading = readFrame(bytes, 0);
  if (reading.kind === 'frame') return reading.frame;
  return reading.kind === 'bad' ? reading.why : 'it ends too early';
}

function verifySnapshot(options: SnapshotStoreOptions, name: SnapshotName) {
  let meta: SnapshotMeta | undefined;
  let totalBytes = 0;
  for (const { frame, body } of walkFrames(options, name)) {
    if (frame.kind === 'snapshot-head') meta = JSON.parse(body.toString());
    if (frame.kind === 'snapshot-data') totalBytes += body.length;
  }
  return { meta: meta!, totalBytes };
}

/** The chunk that holds `offset`, from `offset` on: all chunks but the last are equally long, so its place is known. */
function readChunk(options: SnapshotStoreOptions, at: SnapshotName, offset: number): SnapshotChunk {
  const path = `${options.folder}/${fileName(at)}`;
  if (!options.disk.list(options.folder).includes(fileName(at))) throw missing(path, 0, 'there is no such file');
  const file = options.disk.open(path, 'read');
  try {
    const sector = decodeSector(Buffer.from(file.read(0, SECTOR_BYTES)), SNAPSHOT_MAGIC);
    if ('why' in sector) throw missing(path, 0, sector.why);
    const binding = bindingOf(options, at, sector);
    const bodyAt = (place: number, seq?: number): { readonly frame: Frame; readonly body: Buffer } => {
      const frame = frameAt(file, place);
      if (typeof frame === 'string') throw missing(path, place, frame);
      if (seq !== undefined && frame.seq !== seq) throw missing(path, place, `part ${frame.seq} lies where ${seq} was`);
      return { frame, body: bodyOf(options, frame, binding) };
    };
    const chunkBytes = sector.numbers[3]!;
    const { frame: head } = bodyAt(SECTOR_BYTES, HEAD_SEQ);
    const sealing = head.keyId === 0 ? clearKeyring : { ...options.keyring, currentId: head.keyId };
    const totalBytes = readUint53(bodyAt(file.sizeBytes() - frameBytes(sealedBytes(sealing, TOTAL_BYTES))).body, 0);
    if (offset >= totalBytes) return { bytes: new Uint8Array(0), totalBytes };
    const chunk = Math.floor(offset / chunkBytes);
    const place = SECTOR_BYTES + head.end + chunk * frameBytes(sealedBytes(sealing, chunkBytes));
    const { body } = bodyAt(place, HEAD_SEQ + 1 + chunk);
    return { bytes: Uint8Array.from(body.subarray(offset - chunk * chunkBytes)), totalBytes };
  } finally {
    file.close();
  }
}

function keyOf(options: SnapshotStoreOptions, at: SnapshotName): number[] {
  for (const { frame } of walkFrames(options, at)) return [frame.keyId];
  return [];
}

function bindingOf(
  { identity }: SnapshotStoreOptions,
  { index, term }: SnapshotName,
  { numbers }: { readonly numbers: readonly number[] },
): Binding {
  return bindTo(identity, { kind: 'snapshot', index, term, chunkBytes: numbers[3] ?? 0 });
}

function bodyOf({ keyring }: SnapshotStoreOptions, frame: Frame, binding: Binding): Buffer {
  return openBody(keyring, frame.keyId, { body: frame.body, boundTo: boundBytes(binding, frame, frame.body.length) });
}

function nameOf({ index, term }: SnapshotName): SnapshotName {
  return { index, term };
}

function missing(path: string, offset: number, why: string): CoveyError {
  return new CoveyError(
    'snapshot-missing',
    `Cannot read the snapshot "${path}": it is damaged or missing at offset ${offset}`,
    {
      state: why,
      hint: 'with other managers alive: remove this node from the cluster, move its data directory away and join again',
    },
  );
}
