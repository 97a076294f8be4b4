/**
 * The file that a backup is: one head that can be read without a key, the content in pieces, a checksum over all of it.
 *
 *     0 "COVEYBAK"   8 version   12 bytes of the head   16 head: JSON
 *     then pieces: bytes (4), content; encrypted: nonce 12, content, tag 16
 *     then 0 (4), and SHA-256 of everything before (32)
 *
 * Encrypted pieces are sealed with AES-256-GCM under a key that scrypt makes of the passphrase or key file; each is bound to the
 * head, to its place, and to whether it is the last: none can be changed, exchanged or left out.
 *
 * Called by commands/cluster-backup.ts. Files of this version are read for ever. Not here: what the content is (daemon).
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes, scryptSync } from 'node:crypto';
import { CoveyError } from '../errors.js';
import type { BackupHead } from '../gen/types.js';

export const backupFileVersion = 1;

export interface BackupFile {
  readonly head: BackupHead;
  readonly isEncrypted: boolean;
  /** What the store held. Throws backup-key-wrong; undefined key: for a file that is not encrypted. */
  readonly content: (secret: Uint8Array | undefined) => Buffer;
}

interface Encryption {
  readonly kdf: 'scrypt';
  readonly salt: string;
  readonly cost: number;
}

const magic = Buffer.from('COVEYBAK');
const fixedBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;
const digestBytes = 32;
const pieceBytesMax = 64 << 20;
const scryptCost = 2 ** 15;
const scryptMemoryMax = 128 << 20;

/** The bytes of a file, in order, from the pieces of the content. */
export async function* encodeBackup(
  head: BackupHead,
  pieces: AsyncIterable<Uint8Array>,
  secret: Uint8Array | undefined,
): AsyncGenerator<Buffer> {
  const digest = createHash('sha256');
  const counted = (bytes: Buffer): Buffer => {
    digest.update(bytes);
    return bytes;
  };
  const encryption: Encryption | undefined =
    secret === undefined ? undefined : { kdf: 'scrypt', salt: randomBytes(16).toString('base64'), cost: scryptCost };
  const headBytes = Buffer.from(JSON.stringify({ ...head, encryption }));
  const fixed = Buffer.alloc(fixedBytes);
  magic.copy(fixed);
  fixed.writeUInt32LE(backupFileVersion, 8);
  fixed.writeUInt32LE(headBytes.length, 12);
  yield counted(fixed);
  yield counted(headBytes);
  const key = encryption === undefined || secret === undefined ? undefined : keyOf(encryption, secret);
  let place = 0;
  const framed = (content: Uint8Array, isLast: boolean): Buffer => {
    const body = key === undefined ? content : seal(key, content, boundTo(headBytes, place, isLast));
    place += 1;
    const size = Buffer.alloc(4);
    size.writeUInt32LE(body.length);
    return counted(Buffer.concat([size, body]));
  };
  let waiting: Uint8Array | undefined;
  for await (const piece of pieces) {
    if (piece.length === 0) continue;
    if (waiting !== undefined) yield framed(waiting, false);
    waiting = piece;
  }
  if (waiting !== undefined) yield framed(waiting, true);
  yield counted(Buffer.alloc(4));
  yield digest.digest();
}

/** The file, whole and unchanged since it was written; throws backup-damaged or newer-schema. */
export function decodeBackup(bytes: Buffer, name: string): BackupFile {
  if (bytes.length < fixedBytes || !bytes.subarray(0, 8).equals(magic))
    throw damaged(name, 'it does not begin as a backup of covey does');
  const version = bytes.readUInt32LE(8);
  if (version > backupFileVersion) {
    throw new CoveyError('newer-schema', `Cannot read the backup "${name}": a newer covey wrote it`, {
      state: `its format is version ${version}, this covey reads up to version ${backupFileVersion}`,
      hint: 'update this node',
    });
  }
  const headEnd = fixedBytes + bytes.readUInt32LE(12);
  const end = bytes.length - digestBytes;
  if (end < headEnd + 4) throw damaged(name, `it is cut short: it has ${bytes.length} bytes`);
  if (!createHash('sha256').update(bytes.subarray(0, end)).digest().equals(bytes.subarray(end)))
    throw damaged(name, `the checksum over its ${bytes.length} bytes differs: it was cut short or changed`);
  const headBytes = bytes.subarray(fixedBytes, headEnd);
  const { encryption, ...head } = parseHead(headBytes, name);
  const pieces = splitPieces(bytes.subarray(headEnd, end), name);
  return {
    head,
    isEncrypted: encryption !== undefined,
    content: secret => {
      if (encryption === undefined) return Buffer.concat(pieces);
      if (secret === undefined) throw needsKey(name, 'it is encrypted, and no key was given');
      const key = keyOf(encryption, secret);
      return Buffer.concat(
        pieces.map((piece, place) => {
          const opened = open(key, piece, boundTo(headBytes, place, place === pieces.length - 1));
          if (opened === undefined) throw needsKey(name, 'its checksum is right, and this key does not open it');
          return opened;
        }),
      );
    },
  };
}

function parseHead(bytes: Buffer, name: string): BackupHead & { readonly encryption?: Encryption } {
  try {
    const head: BackupHead & { readonly encryption?: Encryption } = JSON.parse(bytes.toString());
    if (typeof head.clusterId === 'string' && typeof head.index === 'number') return head;
  } catch {
    // What it is instead does not matter: the checksum was right, so something else wrote this file.
  }
  throw damaged(name, 'its head names no cluster');
}

function splitPieces(bytes: Buffer, name: string): readonly Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const size = bytes.readUInt32LE(at);
    at += 4;
    if (size === 0 && at === bytes.length) return pieces;
    if (size === 0 || size > pieceBytesMax || at + size > bytes.length) break;
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  throw damaged(name, 'its pieces do not end where the file does');
}

/** Also for a text that was typed: the line feed at the end of a file does not count. */
function keyOf({ kdf, salt, cost }: Encryption, secret: Uint8Array): Buffer {
  if (kdf !== 'scrypt' || cost > 2 ** 20)
    throw new CoveyError('newer-schema', 'Cannot open this backup: its key is made in a way that is not known here');
  const text = secret.at(-1) === 0x0a ? secret.subarray(0, -1) : secret;
  return scryptSync(text, Buffer.from(salt, 'base64'), 32, { N: cost, r: 8, p: 1, maxmem: scryptMemoryMax });
}

function boundTo(head: Uint8Array, place: number, isLast: boolean): Buffer {
  const tail = Buffer.alloc(5);
  tail.writeUInt32LE(place);
  tail.writeUInt8(isLast ? 1 : 0, 4);
  return Buffer.concat([createHash('sha256').update(head).digest(), tail]);
}

function seal(key: Buffer, content: Uint8Array, aad: Buffer): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aad);
  const sealed = Buffer.concat([cipher.update(content), cipher.final()]);
  return Buffer.concat([nonce, sealed, cipher.getAuthTag()]);
}

function open(key: Buffer, body: Buffer, aad: Buffer): Buffer | undefined {
  if (body.length < nonceBytes + tagBytes) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, body.subarray(0, nonceBytes));
  decipher.setAAD(aad);
  decipher.setAuthTag(body.subarray(body.length - tagBytes));
  try {
    return Buffer.concat([decipher.update(body.subarray(nonceBytes, body.length - tagBytes)), decipher.final()]);
  } catch {
    return undefined; // the tag does not fit the key
  }
}

function damaged(name: string, state: string): CoveyError {
  return new CoveyError('backup-damaged', `Cannot read the backup "${name}"`, {
    state,
    hint: 'use another copy of it',
  });
}

function needsKey(name: string, state: string): CoveyError {
  return new CoveyError('backup-key-wrong', `Cannot open the backup "${name}"`, {
    state,
    hint: 'give the key that it was written with: --key-file FILE, or --passphrase',
  });
}
