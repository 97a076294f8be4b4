/**
 * Reads a run of chained frames and judges its end. The one place that decides between "the last write was torn by a
 * crash: drop it" and "what was safely on disk is damaged: refuse".
 *
 * The judgement: after the last good frame, in order,
 *   1. any later frame which says that the missing one was synced      -> damaged
 *   2. bytes that one turned bit away would be the missing frame       -> damaged (power loss does not do that)
 *   3. anything but zeros                                              -> torn
 *   4. zeros to the end of the file                                    -> clean
 * Groups that were synced begin at a sector of their own, so a torn sector never holds anything that was synced.
 *
 * Called by: log-reader.ts, snapshot-file.ts. Not here: one frame (frame.ts), what follows from the judgement (log-reader.ts).
 */
import { SECTOR_BYTES } from './disk.js';
import { type Chain, type Frame, findFrame, isFrameWithFlippedBit, isZero, readFrame } from './frame.js';

export type Tail =
  | { readonly kind: 'clean' }
  /** Bytes from `at` to `until` that were never acknowledged. */
  | { readonly kind: 'torn'; readonly at: number; readonly until: number; readonly why: string }
  | { readonly kind: 'damaged'; readonly at: number; readonly why: string };

export interface Scan {
  readonly frames: readonly Frame[];
  /** End of the last good frame. */
  readonly end: number;
  readonly chain: Chain;
  readonly tail: Tail;
}

/** All frames from `from` on that follow `chain`. */
export function scanFrames(bytes: Buffer, from: number, chain: Chain): Scan {
  const frames: Frame[] = [];
  let at = from;
  for (;;) {
    const frame = chainedFrame(bytes, at, chain) ?? chainedFrame(bytes, nextSector(at), chain);
    if (frame === undefined) break;
    frames.push(frame);
    chain = { crc: frame.crc, seq: frame.seq };
    at = frame.end;
  }
  return { frames, end: at, chain, tail: judgeTail(bytes, at, chain.seq + 1) };
}

/** Where the frame that should follow `at` would begin: right there, or at the next sector when a new group begins. */
export function nextFramePlace(bytes: Buffer, at: number): number {
  return isZero(bytes, at, Math.min(bytes.length, nextSector(at))) ? nextSector(at) : at;
}

/** The next offset at which a group of frames may begin. */
export function nextSector(at: number): number {
  return Math.ceil(at / SECTOR_BYTES) * SECTOR_BYTES;
}

function chainedFrame(bytes: Buffer, at: number, chain: Chain): Frame | undefined {
  const reading = readFrame(bytes, at);
  if (reading.kind !== 'frame') return undefined;
  return reading.frame.prevCrc === chain.crc && reading.frame.seq === chain.seq + 1 ? reading.frame : undefined;
}

function judgeTail(bytes: Buffer, at: number, missingSeq: number): Tail {
  const until = endOfContent(bytes, at);
  if (until === at) return { kind: 'clean' };
  for (let frame = findFrame(bytes, at); frame !== undefined; frame = findFrame(bytes, frame.at + 8)) {
    if (frame.syncedSeq >= missingSeq && frame.seq > missingSeq) {
      const why = `frame ${missingSeq} is damaged or missing, and frame ${frame.seq} at offset ${frame.at} says that it was on disk`;
      return { kind: 'damaged', at: nextFramePlace(bytes, at), why };
    }
  }
  for (const begin of new Set([at, nextSector(at)])) {
    if (isFrameWithFlippedBit(bytes, begin))
      return { kind: 'damaged', at: begin, why: `one bit of frame ${missingSeq} is not as it was written` };
  }
  const reading = readFrame(bytes, at);
  const why = reading.kind === 'bad' ? reading.why : 'it is not the next frame of the log';
  return { kind: 'torn', at, until, why };
}

/** One past the last byte that is not zero, never before `from`. */
function endOfContent(bytes: Buffer, from: number): number {
  let end = bytes.length;
  for (const step of [1 << 16, SECTOR_BYTES]) {
    while (end - step >= from && isZero(bytes, end - step, end)) end -= step;
  }
  while (end > from && bytes[end - 1] === 0) end -= 1;
  return end;
}
