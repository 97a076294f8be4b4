/**
 * Reads a whole log and says what it holds, without changing anything: the state to start from, where to go on, and
 * what was left unfinished. Refuses, naming file and offset, when something that was safely on disk is not there.
 *
 * Called by: wal.ts (start), inspect.ts. Not here: going on (wal.ts), the judgement of a tail (scan.ts).
 */
import type { Entry, HardState } from '../core/types.js';
import { type Batch, decodeBatch, type SnapshotMarker, splitBatches } from './batch.js';
import { type Binding, bindTo, boundBytes } from './binding.js';
import { type Disk, readWholeFile, SECTOR_BYTES } from './disk.js';
import type { Chain, Frame } from './frame.js';
import { type Keyring, openBody } from './keyring.js';
import { nextFramePlace, type Scan, scanFrames, type Tail } from './scan.js';
import {
  checkIdentity,
  damaged,
  decodeSegmentHead,
  findSegmentNumber,
  type LogIdentity,
  type Manifest,
  noHardState,
  noMarker,
  type SegmentHead,
} from './segment.js';

/** What the node starts from. */
export interface LogState {
  readonly hardState: HardState;
  /** The newest snapshot that the log knows of; index 0 = none. */
  readonly marker: SnapshotMarker;
  /** Everything after the marker, without gaps. */
  readonly entries: readonly Entry[];
}

interface SegmentReading {
  readonly name: string;
  readonly path: string;
  readonly head: SegmentHead;
  readonly scan: Scan;
  readonly sizeBytes: number;
  /** The highest index ever written to it; 0 = none. */
  readonly indexMax: number;
  readonly keyIds: ReadonlySet<number>;
}

export interface LogReading {
  readonly state: LogState;
  readonly segments: readonly SegmentReading[];
  /** The last frame that a later one (or a head) says was synced. */
  readonly proven: Chain;
  /** Batches after that: whole, perhaps acknowledged, perhaps not yet on the platter. */
  readonly unproven: readonly Batch[];
  readonly tail: Exclude<Tail, { readonly kind: 'damaged' }>;
}

export interface LogPlace {
  readonly disk: Disk;
  readonly folder: string;
  readonly keyring: Keyring;
}

/** Reads the segments that the manifest names. */
export function readLog(place: LogPlace, manifest: Manifest, identity: LogIdentity): LogReading {
  checkIdentity(`${place.folder}/manifest`, manifest.identity, identity);
  const names = segmentNames(place, manifest);
  const segments: SegmentReading[] = [];
  const replay = createReplay();
  let rest: Batch[] = [];
  let proven: Chain = { crc: 0, seq: 0 };
  names.forEach((name, position) => {
    const path = `${place.folder}/${name}`;
    const bytes = readWholeFile(place.disk, path);
    const head = decodeSegmentHead(bytes, path, place.keyring);
    checkHead(path, head, { manifest, number: manifest.firstSegment + position, before: segments.at(-1) });
    const last = position === names.length - 1;
    const scan = scanSegment(path, bytes, { head, before: last ? undefined : nextHead(place, names[position + 1]!) });
    if (position === 0) replay.start(head);
    const binding = bindTo(identity, { kind: 'segment', number: head.number });
    const reading = readBatches({ keyring: place.keyring, binding, path }, scan);
    for (const batch of reading.batches) replay.add(path, batch);
    segments.push({
      name,
      path,
      head,
      scan,
      sizeBytes: bytes.length,
      indexMax: reading.indexMax,
      keyIds: reading.keyIds.add(head.keyId),
    });
    if (!last) return;
    proven = provenChain(head, scan);
    rest = reading.batches.filter(batch => batch.seq > proven.seq && !isNote(batch)).map(({ batch }) => batch);
  });
  const { tail } = segments.at(-1)!.scan;
  if (tail.kind === 'damaged') throw damaged(segments.at(-1)!.path, tail.at, tail.why);
  return { state: replay.state(), segments, proven, unproven: rest, tail };
}

function segmentNames(place: LogPlace, manifest: Manifest): readonly string[] {
  const byNumber = new Map(
    place.disk.list(place.folder).flatMap(name => {
      const number = findSegmentNumber(name);
      return number === undefined ? [] : [[number, name] as const];
    }),
  );
  const names: string[] = [];
  for (let number = manifest.firstSegment; number <= manifest.lastSegment; number += 1) {
    const name = byNumber.get(number);
    if (name === undefined) {
      const pattern = `${number.toString(16).padStart(16, '0')}-*.wal`;
      throw damaged(
        `${place.folder}/${pattern}`,
        0,
        `segment ${number} is missing; the log goes from ${manifest.firstSegment} to ${manifest.lastSegment}`,
      );
    }
    names.push(name);
  }
  return names;
}

function nextHead(place: LogPlace, name: string): SegmentHead {
  const path = `${place.folder}/${name}`;
  const file = place.disk.open(path, 'read');
  try {
    return decodeSegmentHead(Buffer.from(file.read(0, SECTOR_BYTES)), path, place.keyring);
  } finally {
    file.close();
  }
}

interface HeadContext {
  readonly manifest: Manifest;
  readonly number: number;
  readonly before: SegmentReading | undefined;
}

function checkHead(path: string, head: SegmentHead, context: HeadContext): void {
  checkIdentity(path, head.identity, context.manifest.identity);
  if (head.number !== context.number)
    throw damaged(path, 0, `its head says segment ${head.number}, its name ${context.number}`);
  const chain = context.before?.scan.chain;
  if (chain && (chain.seq !== head.after.seq || chain.crc !== head.after.crc)) {
    throw damaged(path, 0, `it continues frame ${head.after.seq}, but its predecessor ends with frame ${chain.seq}`);
  }
}

/** The frames that count: up to where the next segment takes over, or to the end of the last one. */
function scanSegment(
  path: string,
  bytes: Buffer,
  context: { readonly head: SegmentHead; readonly before: SegmentHead | undefined },
): Scan {
  const scan = scanFrames(bytes, SECTOR_BYTES, context.head.after);
  const handover = context.before?.after;
  if (handover === undefined) return scan;
  const frames = scan.frames.filter(frame => frame.seq <= handover.seq);
  const end = frames.at(-1);
  const chain = end ? { crc: end.crc, seq: end.seq } : context.head.after;
  if (chain.seq < handover.seq)
    throw damaged(
      path,
      nextFramePlace(bytes, scan.end),
      `frame ${chain.seq + 1} is damaged, and the next segment says that it was on disk`,
    );
  return { frames, end: end?.end ?? SECTOR_BYTES, chain, tail: { kind: 'clean' } };
}

interface PlacedBatch {
  readonly seq: number;
  readonly at: number;
  readonly batch: Batch;
}

function readBatches(
  { keyring, binding, path }: { readonly keyring: Keyring; readonly binding: Binding; readonly path: string },
  scan: Scan,
) {
  const batches: PlacedBatch[] = [];
  const keyIds = new Set<number>();
  let indexMax = 0;
  for (const frame of scan.frames) {
    keyIds.add(frame.keyId);
    // A note says nothing but what is in its head, which its seal covers.
    const boundTo = boundBytes(binding, frame, frame.body.length);
    const body = openBody(keyring, frame.keyId, { body: frame.body, boundTo });
    if (frame.kind === 'note') continue;
    if (frame.kind !== 'batch' && frame.kind !== 'batches')
      throw damaged(path, frame.at, `a frame of kind ${frame.kind} has no place in a log`);
    for (const one of frame.kind === 'batches' ? splitBatches(body) : [body]) {
      const batch = decodeBatch(one);
      indexMax = Math.max(indexMax, batch.entries.at(-1)?.index ?? 0);
      batches.push({ seq: frame.seq, at: frame.at, batch });
    }
  }
  return { batches, indexMax, keyIds };
}

function isNote({ batch }: PlacedBatch): boolean {
  return batch.entries.length === 0 && batch.hardState === undefined && batch.marker === undefined;
}

function provenChain(head: SegmentHead, scan: Scan): Chain {
  const proven = scan.frames.reduce((most: number, frame: Frame) => Math.max(most, frame.syncedSeq), head.after.seq);
  const frame = scan.frames.findLast(({ seq }) => seq <= proven);
  return frame ? { crc: frame.crc, seq: frame.seq } : head.after;
}

/**
 * Plays batches back. A log whose beginning was dropped may start with entries that lie beyond its first head's marker,
 * because the marker that allowed the dropping comes later: such a gap is fine when the last marker covers it.
 */
function createReplay() {
  let hardState = noHardState;
  let marker = noMarker;
  let entries: Entry[] = [];
  let firstIndex = 1;
  let gap: { readonly path: string; readonly at: number } | undefined;
  const restart = (index: number) => {
    entries = [];
    firstIndex = index;
  };
  const addEntry = (entry: Entry, place: { readonly path: string; readonly at: number }) => {
    if (entry.index <= marker.index) return;
    if (entry.index > firstIndex + entries.length || entry.index < firstIndex) {
      gap = place;
      restart(entry.index);
    }
    entries.length = entry.index - firstIndex;
    entries.push(entry);
  };
  return {
    start(head: SegmentHead) {
      ({ hardState, marker } = head);
      restart(marker.index + 1);
    },
    add(path: string, { at, batch }: PlacedBatch) {
      hardState = batch.hardState ?? hardState;
      if (batch.marker && batch.marker.index >= marker.index) {
        marker = batch.marker;
        if (marker.replaces) restart(marker.index + 1);
        else if (marker.index >= firstIndex) {
          entries = entries.slice(marker.index + 1 - firstIndex);
          firstIndex = marker.index + 1;
        }
      }
      for (const entry of batch.entries) addEntry(entry, { path, at });
    },
    state(): LogState {
      if (entries.length > 0 && firstIndex > marker.index + 1 && gap) {
        throw damaged(
          gap.path,
          gap.at,
          `it continues with entry ${firstIndex}, but the log ends with entry ${marker.index} before`,
        );
      }
      return { hardState, marker, entries };
    },
  };
}
