/**
 * The write-ahead log: segments of checksummed, chained frames. What `write` was given is on disk when it returns, in
 * order, all or nothing per batch; many batches share one fdatasync.
 *
 * What it assumes about the disk, and nothing more:
 *   - a sector (512 bytes) that was synced and is not written again keeps its content, or fails its checksum
 *   - a write that is not synced may leave any subset of its sectors, old, new or garbage, in any order
 *   - after a failed fdatasync anything may be missing, whatever a later one says: so none is ever tried again
 *   - a name is durable once its folder was synced; rename replaces in one step
 *   - one turned bit in the very last group is told from a torn write; more than one there is taken for a torn write
 *
 * So: each synced group begins at a sector of its own; no synced sector is rewritten; a start after a crash goes on in
 * a new segment, into which whatever may not have reached the platter is copied.
 *
 * Called by: storage-server.ts. Not here: reading and judging (log-reader.ts), snapshots (snapshot-store.ts).
 */
import { CoveyError } from '../../errors.js';
import type { HardState } from '../core/types.js';
import { joinBatches, joinedBytes, type SnapshotMarker } from './batch.js';
import { type Binding, bindTo, boundBytes } from './binding.js';
import { type DiskFile, SECTOR_BYTES } from './disk.js';
import { type Chain, FRAME_HEAD_BYTES, type FrameKind, finishFrame, frameBytes } from './frame.js';
import { createNonces, type Keyring, type Nonces, sealBody, sealedBytes } from './keyring.js';
import { type LogReading, type LogState, readLog } from './log-reader.js';
import { nextSector } from './scan.js';
import {
  encodeSegmentHead,
  findSegmentNumber,
  type Manifest,
  noHardState,
  noMarker,
  readManifest,
  segmentFile,
  writeManifest,
} from './segment.js';
import { createSpare, type Spare } from './spare.js';
import { storageFailure } from './storage-failure.js';
import { type EncodedBatch, encodeForWal, type OpenedWal, type WalOptions, type WalStats } from './wal-types.js';

interface Segment {
  readonly number: number;
  readonly path: string;
  indexMax: number;
  readonly keyIds: Set<number>;
}

/** Opens the log in the folder, or begins one. When it is damaged, foreign, or `accept` throws, nothing was changed. */
export function openWal(options: WalOptions, accept: (state: LogState) => void = () => undefined): OpenedWal {
  const { disk, folder } = options;
  disk.makeFolder(folder);
  const manifest = readManifest(disk, folder);
  if (manifest === undefined)
    return {
      wal: Wal.begin(options),
      state: { hardState: noHardState, marker: noMarker, entries: [] },
      torn: undefined,
    };
  const reading = readLog(options, manifest, options.identity);
  accept(reading.state);
  const wal = Wal.resume(options, manifest, reading);
  const path = reading.segments.at(-1)!.path;
  return { wal, state: reading.state, torn: reading.tail.kind === 'torn' ? { ...reading.tail, path } : undefined };
}

export class Wal {
  readonly #options: WalOptions;
  #keyring: Keyring;
  readonly #nonces: Nonces;
  /** Of the segment that is written. */
  #binding: Binding = Buffer.alloc(0);
  #segments: Segment[] = [];
  #file: DiskFile | undefined;
  #fileBytes = 0;
  /** Where the next frame goes. */
  #offset = 0;
  #chain: Chain = { crc: 0, seq: 0 };
  /** On the platter up to here. */
  #syncedSeq = 0;
  #hardState: HardState = noHardState;
  #marker: SnapshotMarker = noMarker;
  #nextIndex = 1;
  readonly #spare: Spare;
  #failure: CoveyError | undefined;
  #staging = Buffer.alloc(64 * 1024);
  #joining = Buffer.alloc(64 * 1024);
  #syncs = 0;
  #bytesWritten = 0;

  private constructor(options: WalOptions) {
    this.#options = options;
    this.#keyring = options.keyring;
    this.#nonces = createNonces(options.random, 'log');
    this.#spare = createSpare(options);
  }

  static begin(options: WalOptions): Wal {
    const { disk, folder } = options;
    const left = disk.list(folder).filter(name => findSegmentNumber(name) !== undefined);
    if (left.some(name => findSegmentNumber(name) !== 1)) {
      throw new CoveyError('log-damaged', `Cannot open the Raft log "${folder}": the file "manifest" is missing`, {
        state: `there are segments: ${left.join(', ')}`,
        hint: 'remove this node from the cluster, move its data directory away and join again',
      });
    }
    for (const name of disk.list(folder)) disk.unlink(`${folder}/${name}`);
    const wal = new Wal(options);
    wal.#guard('begin', () => wal.#startSegment(options.segmentBytes));
    return wal;
  }

  static resume(options: WalOptions, manifest: Manifest, reading: LogReading): Wal {
    const wal = new Wal(options);
    wal.#guard('open', () => wal.#resume(manifest, reading));
    return wal;
  }

  /** Writes the batches as one group; on return those that must be are on disk. A failure is for ever. */
  write(batches: readonly EncodedBatch[]): void {
    if (this.#failure) throw this.#failure;
    this.#guard('write', () => {
      this.#writeGroup('batch', batches);
      if (batches.some(batch => batch.mustSync)) this.#sync();
    });
  }

  /** Prepares the next segment, a slice a call. False while there is no room for one: time to refuse proposals. */
  prepareSpare(sliceBytes = this.#options.segmentBytes): boolean {
    if (this.#failure) return this.#spare.isReady();
    try {
      return this.#spare.fill(sliceBytes);
    } catch (cause) {
      throw this.#poison('prepare a segment of', cause);
    }
  }

  /** Drops the segments that hold nothing beyond the newest marker. */
  compact(): void {
    if (this.#failure) throw this.#failure;
    const keepFrom = this.#segments.findIndex(
      segment => segment.indexMax > this.#marker.index || segment === this.#segments.at(-1),
    );
    if (keepFrom <= 0) return;
    this.#guard('compact', () => {
      const gone = this.#segments.slice(0, keepFrom);
      this.#segments = this.#segments.slice(keepFrom);
      this.#writeManifest();
      for (const segment of gone) this.#options.disk.unlink(segment.path);
      this.#options.disk.syncFolder(this.#options.folder);
    });
  }

  /** From now on frames are sealed with the new current key; older keys stay readable as long as the ring holds them. */
  setKeyring(keyring: Keyring): void {
    this.#keyring = keyring;
  }

  /** Begins a new segment, so that `compact` after the next snapshot drops the last frame of an old key. */
  rotate(): void {
    if (this.#failure) throw this.#failure;
    this.#guard('rotate', () => this.#cut(this.#options.segmentBytes));
  }

  stats(): WalStats {
    return {
      segments: this.#segments.length,
      syncs: this.#syncs,
      bytesWritten: this.#bytesWritten,
      hasSpare: this.#spare.isReady(),
      keysInUse: [...new Set(this.#segments.flatMap(segment => [...segment.keyIds]))].sort((a, b) => a - b),
    };
  }

  /** Set for ever by the first write that failed. */
  get failure(): CoveyError | undefined {
    return this.#failure;
  }

  get hasSpare(): boolean {
    return this.#spare.isReady();
  }

  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  /** Ends cleanly: the last thing in the log says that all before it is on disk. */
  close(): void {
    if (this.#failure === undefined) {
      this.#guard('close', () => {
        this.#sync();
        this.#writeGroup('note', [{ body: new Uint8Array(0), lastIndex: 0, mustSync: true }]);
        this.#sync();
      });
    }
    this.#file?.close();
    this.#file = undefined;
  }

  #resume(manifest: Manifest, reading: LogReading): void {
    const { disk, folder } = this.#options;
    const kept = new Set(reading.segments.map(segment => segment.name));
    const known = new Set([...kept, 'manifest', 'spare.wal']);
    for (const name of disk.list(folder)) {
      if (!known.has(name) && (findSegmentNumber(name) !== undefined || name.endsWith('.tmp')))
        disk.unlink(`${folder}/${name}`);
    }
    // What this log goes on from has to be durable: a name may have been made and not synced.
    disk.syncFolder(folder);
    this.#spare.adopt();
    this.#segments = reading.segments.map(({ head, path, indexMax, keyIds }) => ({
      number: head.number,
      path,
      indexMax,
      keyIds: new Set(keyIds),
    }));
    this.#hardState = reading.state.hardState;
    this.#marker = reading.state.marker;
    this.#nextIndex = (reading.state.entries.at(-1)?.index ?? reading.state.marker.index) + 1;
    this.#chain = reading.proven;
    this.#syncedSeq = reading.proven.seq;
    if (manifest.lastSegment !== this.#segments.at(-1)!.number)
      throw new CoveyError('bug', 'Cannot open the Raft log: segments misread');
    if (reading.unproven.length === 0 && reading.tail.kind === 'clean') this.#continueSegment(reading);
    else this.#takeOver(reading);
  }

  #continueSegment(reading: LogReading): void {
    const last = reading.segments.at(-1)!;
    const frame = last.scan.frames.find(({ seq }) => seq === reading.proven.seq);
    this.#file = this.#options.disk.open(last.path, 'write');
    this.#binding = this.#bindingOf(last.head.number);
    this.#fileBytes = last.sizeBytes;
    // A closing note may lie here; it says nothing and is written over.
    this.#offset = nextSector(frame?.end ?? SECTOR_BYTES);
  }

  /** Goes on in a new segment that first repeats what nobody can prove to be on the platter. */
  #takeOver(reading: LogReading): void {
    const batches = reading.unproven.map(batch => encodeForWal(batch, true));
    this.#startSegment(Math.max(this.#options.segmentBytes, SECTOR_BYTES + this.#groupBytes(batches)), batches);
    this.#shrink(reading);
  }

  /** Gives back the unused end of the segment left behind, so that a node that crashes again and again fills no disk. */
  #shrink(reading: LogReading): void {
    const { path, scan } = reading.segments.at(-1)!;
    const used = nextSector(reading.tail.kind === 'torn' ? reading.tail.until : scan.end);
    const file = this.#options.disk.open(path, 'write');
    try {
      if (file.sizeBytes() > used) file.truncate(used);
    } finally {
      file.close();
    }
  }

  /** One frame for all of it: sealing and checksum cost by the frame, not by the batch. */
  #writeGroup(kind: 'batch' | 'note', batches: readonly EncodedBatch[]): void {
    const [first] = batches;
    if (first === undefined) return;
    const bytes = this.#groupBytes(batches);
    if (this.#offset + bytes > this.#fileBytes) this.#cut(Math.max(this.#options.segmentBytes, SECTOR_BYTES + bytes));
    if (this.#staging.length < bytes) this.#staging = Buffer.alloc(nextSector(bytes * 2));
    const segment = this.#segments.at(-1)!;
    if (batches.length === 1) this.#stage(kind, first.body);
    else this.#stage('batches', this.#join(batches));
    for (const batch of batches) this.#note(segment, batch);
    this.#file!.write(this.#offset, this.#staging.subarray(0, bytes));
    this.#bytesWritten += bytes;
    this.#offset += bytes;
  }

  #join(batches: readonly EncodedBatch[]): Uint8Array {
    const bodies = batches.map(({ body }) => body);
    const bytes = joinedBytes(bodies);
    if (this.#joining.length < bytes) this.#joining = Buffer.alloc(nextSector(bytes * 2));
    joinBatches(bodies, this.#joining);
    return this.#joining.subarray(0, bytes);
  }

  /** Puts the frame into the staging buffer. */
  #stage(kind: FrameKind, body: Uint8Array): void {
    const keyring = this.#keyring;
    const bodyBytes = sealedBytes(keyring, body.length);
    const head = {
      kind,
      keyId: keyring.currentId,
      seq: this.#chain.seq + 1,
      syncedSeq: this.#syncedSeq,
      prevCrc: this.#chain.crc,
    };
    const boundTo = keyring.currentId === 0 ? this.#staging : boundBytes(this.#binding, head, bodyBytes);
    sealBody(keyring, body, { target: this.#staging, at: FRAME_HEAD_BYTES, boundTo, nonces: this.#nonces });
    this.#chain = finishFrame(this.#staging, 0, head, bodyBytes);
  }

  #note(segment: Segment, batch: EncodedBatch): void {
    segment.keyIds.add(this.#keyring.currentId);
    segment.indexMax = Math.max(segment.indexMax, batch.lastIndex);
    this.#hardState = batch.hardState ?? this.#hardState;
    this.#marker = batch.marker ?? this.#marker;
    if (batch.marker?.replaces) this.#nextIndex = batch.marker.index + 1;
    if (batch.lastIndex > 0) this.#nextIndex = batch.lastIndex + 1;
  }

  #groupBytes(batches: readonly EncodedBatch[]): number {
    const bodies = batches.map(({ body }) => body);
    const bodyBytes = bodies.length === 1 ? bodies[0]!.length : joinedBytes(bodies);
    return frameBytes(sealedBytes(this.#keyring, bodyBytes));
  }

  #sync(): void {
    if (this.#syncedSeq === this.#chain.seq) return;
    this.#file!.datasync();
    this.#syncs += 1;
    this.#syncedSeq = this.#chain.seq;
    this.#offset = nextSector(this.#offset);
  }

  #cut(sizeBytes: number): void {
    this.#sync();
    this.#startSegment(sizeBytes);
  }

  /** Makes the next segment, with `first` in it already, and only then lets the manifest name it. */
  #startSegment(sizeBytes: number, first: readonly EncodedBatch[] = []): void {
    const { disk, folder, identity } = this.#options;
    const number = (this.#segments.at(-1)?.number ?? 0) + 1;
    const path = `${folder}/${segmentFile(number, this.#nextIndex)}`;
    const source = this.#spare.take(sizeBytes);
    const before = this.#file;
    const file = disk.open(source, 'write');
    const head = { identity, number, after: this.#chain, hardState: this.#hardState, marker: this.#marker };
    file.write(0, encodeSegmentHead(head, { keyring: this.#keyring, nonces: this.#nonces }));
    this.#file = file;
    this.#binding = this.#bindingOf(number);
    this.#fileBytes = file.sizeBytes();
    this.#offset = SECTOR_BYTES;
    this.#segments.push({ number, path, indexMax: 0, keyIds: new Set([this.#keyring.currentId]) });
    if (first.length > 0) this.#writeGroup('batch', first);
    file.datasync();
    this.#syncs += 1;
    this.#syncedSeq = this.#chain.seq;
    this.#offset = nextSector(this.#offset);
    disk.rename(source, path);
    disk.syncFolder(folder);
    this.#writeManifest();
    before?.close();
  }

  #bindingOf(number: number): Binding {
    return bindTo(this.#options.identity, { kind: 'segment', number });
  }

  #writeManifest(): void {
    const { disk, folder, identity } = this.#options;
    writeManifest(disk, folder, {
      identity,
      firstSegment: this.#segments[0]!.number,
      lastSegment: this.#segments.at(-1)!.number,
    });
  }

  #guard(verb: string, work: () => void): void {
    try {
      work();
    } catch (cause) {
      throw this.#poison(verb, cause);
    }
  }

  /** Nothing is tried again: after a failed write or sync nobody knows what is on the platter (bug B39). */
  #poison(verb: string, cause: unknown): CoveyError {
    this.#failure ??= storageFailure(verb, this.#options.folder, cause);
    return this.#failure;
  }
}
