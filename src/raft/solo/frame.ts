/**
 * Frames of the solo log: what one write holds, chained by checksum so that nothing can be missing, added or exchanged.
 *
 *     0 magic   4 body bytes   8 first index   16 term   24 entries   28 checksum of the frame before
 *     32 checksum of the header   36 checksum of header and body   40 body: (length, bytes) per entry   … end mark
 *
 * A frame is written only when the one before is on disk. So a bad frame is the torn end of a crash only if it is the last
 * one and cut short, or (loss of power) a sector of it holds zeros. Everything else is damage. Assumed of the disk: a sector
 * of 512 bytes is written whole or not at all, and what was synced stays.
 *
 * Called by recover.ts, snapshot.ts and solo-log.ts. Not here: files.
 */
import { crc32 } from 'node:zlib';

export interface Frame {
  readonly at: number;
  readonly end: number;
  /** Index of its first entry; of the next one to come, when it has none. */
  readonly firstIndex: number;
  readonly term: number;
  readonly entries: readonly Uint8Array[];
  readonly previous: number;
  readonly checksum: number;
}

export interface FrameHead {
  readonly firstIndex: number;
  readonly term: number;
  readonly previous: number;
}

export type Tail =
  | { readonly kind: 'clean' }
  | { readonly kind: 'torn'; readonly at: number }
  | { readonly kind: 'damaged'; readonly at: number; readonly why: string };

const magic = 0x43_56_59_4c;
const endMark = 0xc5_a3_9e_71;
const headBytes = 40;
const markBytes = 4;
const sectorBytes = 512;

/** What to write for a frame, and its checksum for the next one. */
export function encodeFrame(
  head: FrameHead,
  entries: readonly Uint8Array[],
): { readonly pieces: readonly Uint8Array[]; readonly checksum: number; readonly sizeBytes: number } {
  const body: Uint8Array[] = [];
  let bodyBytes = 0;
  for (const entry of entries) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(entry.length);
    body.push(length, entry);
    bodyBytes += 4 + entry.length;
  }
  const header = Buffer.alloc(headBytes);
  header.writeUInt32BE(magic, 0);
  header.writeUInt32LE(bodyBytes, 4);
  header.writeBigUInt64LE(BigInt(head.firstIndex), 8);
  header.writeBigUInt64LE(BigInt(head.term), 16);
  header.writeUInt32LE(entries.length, 24);
  header.writeUInt32LE(head.previous, 28);
  header.writeUInt32LE(crc32(header.subarray(0, 32)), 32);
  let checksum = crc32(header.subarray(0, 36));
  for (const piece of body) checksum = crc32(piece, checksum);
  header.writeUInt32LE(checksum, 36);
  const mark = Buffer.alloc(markBytes);
  mark.writeUInt32BE(endMark);
  return { pieces: [Buffer.concat([header, ...body, mark])], checksum, sizeBytes: headBytes + bodyBytes + markBytes };
}

/** All good frames from the beginning, each chained to the one before, and what comes after them. */
export function scanFrames(bytes: Buffer): { readonly frames: readonly Frame[]; readonly tail: Tail } {
  const frames: Frame[] = [];
  let at = 0;
  while (at < bytes.length) {
    const read = readFrame(bytes, at);
    if (read.kind !== 'frame') return { frames, tail: judgeEnd(bytes, at, read) };
    const last = frames.at(-1);
    if (last !== undefined && !follows(last, read.frame)) {
      return { frames, tail: { kind: 'damaged', at, why: 'it does not follow on the frame before it' } };
    }
    frames.push(read.frame);
    at = read.frame.end;
  }
  return { frames, tail: { kind: 'clean' } };
}

/** Whether a frame is the one that was written after another. */
export function follows(last: Frame, next: Frame): boolean {
  return (
    next.previous === last.checksum &&
    next.firstIndex === last.firstIndex + last.entries.length &&
    next.term >= last.term
  );
}

type Reading =
  | { readonly kind: 'frame'; readonly frame: Frame }
  | { readonly kind: 'short' }
  | { readonly kind: 'bad'; readonly end: number; readonly why: string };

function readFrame(bytes: Buffer, at: number): Reading {
  const bodyAt = at + headBytes;
  if (bodyAt > bytes.length) return { kind: 'short' };
  if (bytes.readUInt32BE(at) !== magic || bytes.readUInt32LE(at + 32) !== crc32(bytes.subarray(at, at + 32))) {
    return { kind: 'bad', end: bodyAt, why: 'the checksum of a header is wrong' };
  }
  const bodyEnd = bodyAt + bytes.readUInt32LE(at + 4);
  const end = bodyEnd + markBytes;
  if (end > bytes.length) return { kind: 'short' };
  const checksum = crc32(bytes.subarray(bodyAt, bodyEnd), crc32(bytes.subarray(at, at + 36)));
  if (checksum !== bytes.readUInt32LE(at + 36) || bytes.readUInt32BE(bodyEnd) !== endMark) {
    return { kind: 'bad', end, why: 'the checksum of a frame is wrong' };
  }
  const entries = readEntries(bytes.subarray(bodyAt, bodyEnd), bytes.readUInt32LE(at + 24));
  if (entries === undefined) return { kind: 'bad', end, why: 'its entries do not fill it' };
  const firstIndex = Number(bytes.readBigUInt64LE(at + 8));
  const term = Number(bytes.readBigUInt64LE(at + 16));
  return {
    kind: 'frame',
    frame: { at, end, firstIndex, term, entries, previous: bytes.readUInt32LE(at + 28), checksum },
  };
}

function readEntries(body: Buffer, count: number): readonly Uint8Array[] | undefined {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at + 4 <= body.length) {
    const end = at + 4 + body.readUInt32LE(at);
    if (end > body.length) return undefined;
    entries.push(body.subarray(at + 4, end));
    at = end;
  }
  return at === body.length && entries.length === count ? entries : undefined;
}

function judgeEnd(bytes: Buffer, at: number, read: Exclude<Reading, { kind: 'frame' }>): Tail {
  if (read.kind === 'short') return { kind: 'torn', at };
  if (!hasZeroSector(bytes, at, read.end)) return { kind: 'damaged', at, why: read.why };
  const later = findFrame(bytes, at + 1);
  if (later === undefined) return { kind: 'torn', at };
  return { kind: 'damaged', at, why: `${read.why}, and a good frame follows at offset ${later}` };
}

/** Whether the part of some sector that lies within from..to is nothing but zeros: that sector was never written. */
function hasZeroSector(bytes: Buffer, from: number, to: number): boolean {
  for (let begin = from; begin < to; ) {
    const end = Math.min(to, (Math.floor(begin / sectorBytes) + 1) * sectorBytes);
    if (bytes.subarray(begin, end).every(byte => byte === 0)) return true;
    begin = end;
  }
  return false;
}

function findFrame(bytes: Buffer, from: number): number | undefined {
  const pattern = Buffer.alloc(4);
  pattern.writeUInt32BE(magic);
  for (let at = bytes.indexOf(pattern, from); at >= 0; at = bytes.indexOf(pattern, at + 1)) {
    if (readFrame(bytes, at).kind === 'frame') return at;
  }
  return undefined;
}
