/**
 * One sector that describes a file: what it is, whose it is, a few numbers. Heads of segments and snapshots and the
 * manifest are written so. A sector is written once, synced, and never written again in place.
 *
 *     0 magic (8 letters)   8 version 2, count of numbers 2   12 crc of all else   16 numbers, 8 each   text length 2, text
 *
 * Version 2 is sealed: 16 key id   20 sealed bytes   24 nonce, what follows 10 in version 1, tag.
 *
 * Not here: what the numbers mean (segment.ts, snapshot-file.ts).
 */
import { crc32 } from 'node:zlib';
import { SECTOR_BYTES } from './disk.js';
import { newerLog, readUint53, writeUint53 } from './frame.js';
import { clearKeyring, type Keyring, type Nonces, openBody, sealBody, sealedBytes } from './keyring.js';

const CLEAR_VERSION = 1;
const SEALED_VERSION = 2;
const CLEAR_AT = 16;
const SEALED_AT = 24;

export interface Sector {
  readonly magic: string;
  readonly numbers: readonly number[];
  readonly text: string;
}

/** How a sector is sealed; none, or one with key 0: it is not. */
export interface SectorSeal {
  readonly keyring: Keyring;
  readonly nonces: Nonces;
}

export function encodeSector(sector: Sector, seal?: SectorSeal): Buffer {
  const bytes = Buffer.alloc(SECTOR_BYTES);
  bytes.write(sector.magic, 0, 'latin1');
  if (seal === undefined || seal.keyring.currentId === 0) {
    bytes.writeUInt16LE(CLEAR_VERSION, 8);
    bytes.writeUInt16LE(sector.numbers.length, 10);
    encodeContent(sector).copy(bytes, CLEAR_AT);
  } else {
    const count = Buffer.alloc(2);
    count.writeUInt16LE(sector.numbers.length);
    const content = Buffer.concat([count, encodeContent(sector)]);
    bytes.writeUInt16LE(SEALED_VERSION, 8);
    bytes.writeUInt32LE(seal.keyring.currentId, 16);
    bytes.writeUInt32LE(sealedBytes(seal.keyring, content.length), 20);
    sealBody(seal.keyring, content, { target: bytes, at: SEALED_AT, boundTo: boundTo(bytes), nonces: seal.nonces });
  }
  bytes.writeUInt32LE(crc32(bytes), 12);
  return bytes;
}

/** The sector at the start of `bytes`, or why there is none. Throws newer-schema, log-key-wrong, log-forged. */
export function decodeSector(
  bytes: Buffer,
  magic: string,
  keyring: Keyring = clearKeyring,
): (Sector & { readonly keyId: number }) | { readonly why: string } {
  if (bytes.length < SECTOR_BYTES) return { why: `it has ${bytes.length} bytes, its head alone has ${SECTOR_BYTES}` };
  const copy = Buffer.from(bytes.subarray(0, SECTOR_BYTES));
  if (copy.toString('latin1', 0, 8) !== magic) return { why: `it does not begin with ${magic}` };
  const crc = copy.readUInt32LE(12);
  copy.writeUInt32LE(0, 12);
  if (crc32(copy) !== crc) return { why: 'the checksum of its head differs' };
  const version = copy.readUInt16LE(8);
  if (version === CLEAR_VERSION)
    return { magic, keyId: 0, ...decodeContent(copy.subarray(CLEAR_AT), copy.readUInt16LE(10)) };
  if (version !== SEALED_VERSION) throw newerLog(`a ${magic} head is of version ${version}`, SEALED_VERSION);
  const keyId = copy.readUInt32LE(16);
  const body = copy.subarray(SEALED_AT, SEALED_AT + Math.min(copy.readUInt32LE(20), SECTOR_BYTES - SEALED_AT));
  const content = openBody(keyring, keyId, { body, boundTo: boundTo(copy) });
  return { magic, keyId, ...decodeContent(content.subarray(2), content.readUInt16LE(0)) };
}

/** Magic, version, key and length. That it is the head of its very file its numbers say. */
function boundTo(bytes: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, 10), bytes.subarray(16, SEALED_AT)]);
}

function encodeContent({ numbers, text }: Sector): Buffer {
  const textAt = numbers.length * 8;
  const bytes = Buffer.alloc(textAt + 2 + Buffer.byteLength(text));
  numbers.forEach((value, place) => {
    writeUint53(bytes, value, place * 8);
  });
  bytes.writeUInt16LE(Buffer.byteLength(text), textAt);
  bytes.write(text, textAt + 2);
  return bytes;
}

function decodeContent(bytes: Buffer, count: number): { readonly numbers: readonly number[]; readonly text: string } {
  const textAt = count * 8;
  return {
    numbers: Array.from({ length: count }, (_, place) => readUint53(bytes, place * 8)),
    text: bytes.toString('utf8', textAt + 2, textAt + 2 + bytes.readUInt16LE(textAt)),
  };
}
