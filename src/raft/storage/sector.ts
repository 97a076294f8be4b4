/**
 * One sector that describes a file: what it is, whose it is, a few numbers. Heads of segments and snapshots and the
 * manifest are written so. A sector is written once, synced, and never written again in place.
 *
 *     0 magic (8 letters)   8 version 2, count of numbers 2   12 crc of all else   16 numbers, 8 each   text length 2, text
 *
 * Not here: what the numbers mean (segment.ts, snapshot-file.ts).
 */
import { crc32 } from 'node:zlib';
import { SECTOR_BYTES } from './disk.js';
import { newerLog, readUint53, writeUint53 } from './frame.js';

const SECTOR_VERSION = 1;

export interface Sector {
  readonly magic: string;
  readonly numbers: readonly number[];
  readonly text: string;
}

export function encodeSector(sector: Sector): Buffer {
  const bytes = Buffer.alloc(SECTOR_BYTES);
  bytes.write(sector.magic, 0, 'latin1');
  bytes.writeUInt16LE(SECTOR_VERSION, 8);
  bytes.writeUInt16LE(sector.numbers.length, 10);
  sector.numbers.forEach((value, place) => {
    writeUint53(bytes, value, 16 + place * 8);
  });
  const textAt = 16 + sector.numbers.length * 8;
  bytes.writeUInt16LE(Buffer.byteLength(sector.text), textAt);
  bytes.write(sector.text, textAt + 2);
  bytes.writeUInt32LE(crc32(bytes), 12);
  return bytes;
}

/** The sector at the start of `bytes`, or why there is none. Throws newer-schema. */
export function decodeSector(bytes: Buffer, magic: string): Sector | { readonly why: string } {
  if (bytes.length < SECTOR_BYTES) return { why: `it has ${bytes.length} bytes, its head alone has ${SECTOR_BYTES}` };
  const copy = Buffer.from(bytes.subarray(0, SECTOR_BYTES));
  if (copy.toString('latin1', 0, 8) !== magic) return { why: `it does not begin with ${magic}` };
  const crc = copy.readUInt32LE(12);
  copy.writeUInt32LE(0, 12);
  if (crc32(copy) !== crc) return { why: 'the checksum of its head differs' };
  const version = copy.readUInt16LE(8);
  if (version !== SECTOR_VERSION) throw newerLog(`a ${magic} head is of version ${version}`, SECTOR_VERSION);
  const count = copy.readUInt16LE(10);
  const textAt = 16 + count * 8;
  return {
    magic,
    numbers: Array.from({ length: count }, (_, place) => readUint53(copy, 16 + place * 8)),
    text: copy.toString('utf8', textAt + 2, textAt + 2 + copy.readUInt16LE(textAt)),
  };
}
