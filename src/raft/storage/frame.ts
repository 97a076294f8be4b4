/**
 * The unit of everything that the Raft storage writes: a checksummed frame, chained to the one before it.
 *
 *     0 magic   4 body bytes   8 crc   12 crc of the frame before   16 key id   20 kind, 21 version (2: sealed, see binding.ts)
 *     24 sequence   32 sequence that was known to be on disk when this frame was written   40 body, padded to 8
 *
 * The crc covers head and body. Because each frame names its predecessor's crc, a frame can be judged alone and in its
 * place; because it says how far the log was synced, damage to what was synced is told apart from a torn tail.
 *
 * Not here: which frames are good in a whole file (scan.ts), what is in a body (batch.ts), keys (keyring.ts).
 */
import { crc32 } from 'node:zlib';
import { CoveyError } from '../../errors.js';

export const FRAME_HEAD_BYTES = 40;
/** No body is longer; a length beyond it is damage. */
const FRAME_BODY_BYTES_MAX = 1 << 30;
const MAGIC = 0x4c_59_56_43;
/** 1: the body is clear, or (as long ago) bound to its head alone. 2: it is sealed, and bound to its file too. */
export type FrameVersion = 1 | 2;
const VERSION_MAX = 2;

/**
 * `note` says only how far the log is synced (a clean end); the snapshot kinds make up a snapshot file; `batches` is what was
 * written at once, each with its length (4) before it.
 */
const frameKinds = ['batch', 'note', 'snapshot-head', 'snapshot-data', 'snapshot-end', 'batches'] as const;
export type FrameKind = (typeof frameKinds)[number];

/** The frame before: what the next one is chained to. */
export interface Chain {
  readonly crc: number;
  readonly seq: number;
}

export interface FrameHead {
  readonly kind: FrameKind;
  /** 0 = the body is not encrypted. */
  readonly keyId: number;
  readonly seq: number;
  readonly syncedSeq: number;
  readonly prevCrc: number;
}

export interface Frame extends FrameHead {
  readonly version: FrameVersion;
  readonly crc: number;
  readonly at: number;
  /** Where the next frame may begin. */
  readonly end: number;
  readonly body: Buffer;
}

export type FrameReading =
  | { readonly kind: 'frame'; readonly frame: Frame }
  | { readonly kind: 'blank' }
  | { readonly kind: 'bad'; readonly why: string };

/** The bytes that a body of this length takes up in the file. */
export function frameBytes(bodyBytes: number): number {
  return FRAME_HEAD_BYTES + padded(bodyBytes);
}

/** Writes a frame whose body lies in `target` already, at `at + FRAME_HEAD_BYTES`. Returns its link of the chain. */
export function finishFrame(target: Buffer, at: number, head: FrameHead, bodyBytes: number): Chain {
  writeFrameHead(target, at, head, bodyBytes);
  const bodyEnd = at + FRAME_HEAD_BYTES + bodyBytes;
  target.fill(0, bodyEnd, at + frameBytes(bodyBytes));
  const crc = crcOf(target, at, bodyBytes);
  target.writeUInt32LE(crc, at + 8);
  return { crc, seq: head.seq };
}

/** What lies at `at`: a frame that is good in itself, nothing, or something else. Throws newer-schema. */
export function readFrame(bytes: Buffer, at: number): FrameReading {
  if (at + FRAME_HEAD_BYTES > bytes.length)
    return isZero(bytes, at, bytes.length) ? { kind: 'blank' } : bad('cut short');
  const magic = bytes.readUInt32LE(at);
  if (magic !== MAGIC) return magic === 0 ? { kind: 'blank' } : bad('no frame begins here');
  const bodyBytes = bytes.readUInt32LE(at + 4);
  if (bodyBytes > FRAME_BODY_BYTES_MAX || at + FRAME_HEAD_BYTES + bodyBytes > bytes.length)
    return bad('its length leads out of the file');
  const crc = bytes.readUInt32LE(at + 8);
  if (crcOf(bytes, at, bodyBytes) !== crc) return bad('its checksum differs');
  const kind = frameKinds[bytes.readUInt8(at + 20) - 1];
  const version = findVersion(bytes.readUInt8(at + 21));
  // Its checksum is right: what looks like a torn write to this covey is a whole one of another.
  if (kind === undefined || version === undefined)
    throw newerLog(`a record is of version ${bytes.readUInt8(at + 21)}`, VERSION_MAX);
  const bodyAt = at + FRAME_HEAD_BYTES;
  return {
    kind: 'frame',
    frame: {
      kind,
      version,
      keyId: bytes.readUInt32LE(at + 16),
      seq: readUint53(bytes, at + 24),
      syncedSeq: readUint53(bytes, at + 32),
      prevCrc: bytes.readUInt32LE(at + 12),
      crc,
      at,
      end: at + frameBytes(bodyBytes),
      body: bytes.subarray(bodyAt, bodyAt + bodyBytes),
    },
  };
}

/** Nothing of what a newer covey wrote is judged, and so nothing of it is taken for damage and cut off. */
export function newerLog(what: string, known: number): CoveyError {
  return new CoveyError('newer-schema', 'Cannot read the Raft log: a newer covey wrote it', {
    state: `${what}, this covey reads version ${known}; nothing was changed`,
    hint: 'update this node to the version that it had',
  });
}

/** The first frame at or after `from` that is good in itself; frames begin at multiples of 8. */
export function findFrame(bytes: Buffer, from: number): Frame | undefined {
  const needle = Buffer.alloc(4);
  needle.writeUInt32LE(MAGIC);
  for (let at = bytes.indexOf(needle, from); at >= 0; at = bytes.indexOf(needle, at + 1)) {
    if (at % 8 !== 0) continue;
    const reading = readFrame(bytes, at);
    if (reading.kind === 'frame') return reading.frame;
  }
  return undefined;
}

/**
 * Whether the bytes at `at` would be a good frame if one bit of them were turned. A write that power cut short does not
 * look like that; a medium that lost a bit does.
 */
export function isFrameWithFlippedBit(bytes: Buffer, at: number): boolean {
  if (at + FRAME_HEAD_BYTES > bytes.length) return false;
  const stored = bytes.readUInt32LE(at + 4);
  const crc = bytes.readUInt32LE(at + 8);
  if (fits(bytes, at, stored) && isOneBitApart(crcOf(bytes, at, stored) ^ crc, coveredBytes(stored))) return true;
  for (let bit = 0; bit < 32; bit += 1) {
    const bodyBytes = (stored ^ (1 << bit)) >>> 0;
    if (fits(bytes, at, bodyBytes) && crcOf(bytes, at, bodyBytes, bodyBytes) === crc && crc !== 0) return true;
  }
  return false;
}

export function writeUint53(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value >>> 0, at);
  target.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

export function readUint53(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

const zeros = Buffer.alloc(1 << 16);

export function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += zeros.length) {
    const end = Math.min(to, at + zeros.length);
    if (bytes.compare(zeros, 0, end - at, at, end) !== 0) return false;
  }
  return true;
}

function findVersion(byte: number): FrameVersion | undefined {
  return byte === 1 || byte === 2 ? byte : undefined;
}

/** A head as it lies on disk, without its crc. */
export function writeFrameHead(
  target: Buffer,
  at: number,
  head: FrameHead & { readonly version?: FrameVersion },
  bodyBytes: number,
): void {
  target.writeUInt32LE(MAGIC, at);
  target.writeUInt32LE(bodyBytes, at + 4);
  target.writeUInt32LE(0, at + 8);
  target.writeUInt32LE(head.prevCrc, at + 12);
  target.writeUInt32LE(head.keyId, at + 16);
  target.writeUInt8(frameKinds.indexOf(head.kind) + 1, at + 20);
  target.writeUInt8(head.version ?? (head.keyId === 0 ? 1 : 2), at + 21);
  target.writeUInt16LE(0, at + 22);
  writeUint53(target, head.seq, at + 24);
  writeUint53(target, head.syncedSeq, at + 32);
}

/** The crc of a frame. `lengthWord` stands in for the stored length when that is under suspicion. */
function crcOf(bytes: Buffer, at: number, bodyBytes: number, lengthWord?: number): number {
  let crc = crc32(bytes.subarray(at, at + 8));
  if (lengthWord !== undefined) {
    const start = Buffer.from(bytes.subarray(at, at + 8));
    start.writeUInt32LE(lengthWord, 4);
    crc = crc32(start);
  }
  return crc32(bytes.subarray(at + 12, at + FRAME_HEAD_BYTES + bodyBytes), crc);
}

function coveredBytes(bodyBytes: number): number {
  return FRAME_HEAD_BYTES - 4 + bodyBytes;
}

/** Whether two crcs differ as they do when one bit of the crc itself, or one bit of the covered bytes, was turned. */
function isOneBitApart(difference: number, bytesCovered: number): boolean {
  const wanted = difference >>> 0;
  if (wanted !== 0 && (wanted & (wanted - 1)) === 0) return true;
  // A turned bit changes a crc by x^n modulo the polynomial, n being its distance from the end.
  let syndrome = 0xedb88320;
  for (let bit = 0; bit < bytesCovered * 8; bit += 1) {
    if (syndrome === wanted) return true;
    syndrome = ((syndrome >>> 1) ^ (syndrome & 1 ? 0xedb88320 : 0)) >>> 0;
  }
  return false;
}

function fits(bytes: Buffer, at: number, bodyBytes: number): boolean {
  return bodyBytes <= FRAME_BODY_BYTES_MAX && at + FRAME_HEAD_BYTES + bodyBytes <= bytes.length;
}

function padded(count: number): number {
  return Math.ceil(count / 8) * 8;
}

function bad(why: string): FrameReading {
  return { kind: 'bad', why };
}
