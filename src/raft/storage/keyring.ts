/**
 * The keys under which log and snapshots lie on disk, and the sealing of one body with AES-256-GCM. A keyring holds one
 * current key, which writes, and any number of older ones, which only read: changing the key changes what is written
 * from now on, and an old key may go once no file names it any more (`keysInUse` of the log and of the snapshots).
 *
 * Keeps true: no nonce is used twice under a key. Whoever opens a storage gives it a current key that nobody has written
 * with before (daemon/keys); within it a lane for each writer and a counter tell the nonces apart. Random bits beside them
 * hold should a key be given twice after all.
 *
 * Not here: where the keys come from (daemon/keys), frames (frame.ts), what a record is bound to (binding.ts).
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { RandomBytes } from '../../ids.js';

export interface Keyring {
  /** Writes; 0 = nothing is encrypted. */
  readonly currentId: number;
  /** Key id (1 to 2^32-1) -> 32 bytes. */
  readonly keys: ReadonlyMap<number, Uint8Array>;
}

export const clearKeyring: Keyring = { currentId: 0, keys: new Map() };

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
/** A lane (1 byte), random bits (5), a counter (6). */
const COUNTER_AT = 6;

/** The next nonce, valid until the call after. */
export type Nonces = () => Uint8Array;

/** Nonces of one writer: those of two lanes, or of two calls, are never the same. */
export function createNonces(random: RandomBytes, lane: 'log' | 'snapshots'): Nonces {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce[0] = lane === 'log' ? 1 : 2;
  nonce.set(random(COUNTER_AT - 1), 1);
  let count = 0;
  return () => {
    count += 1;
    nonce.writeUIntBE(count, COUNTER_AT, NONCE_BYTES - COUNTER_AT);
    return nonce;
  };
}

/** What sealing adds to a body. */
export function sealedBytes(keyring: Keyring, bodyBytes: number): number {
  return keyring.currentId === 0 ? bodyBytes : bodyBytes + NONCE_BYTES + TAG_BYTES;
}

/** Writes the sealed body to `target` at `at`; with key 0 the body as it is. */
export function sealBody(keyring: Keyring, body: Uint8Array, place: SealPlace): void {
  const { target, at } = place;
  if (keyring.currentId === 0) {
    target.set(body, at);
    return;
  }
  const nonce = place.nonces();
  const cipher = createCipheriv('aes-256-gcm', keyOf(keyring, keyring.currentId), nonce);
  cipher.setAAD(place.boundTo);
  target.set(nonce, at);
  target.set(cipher.update(body), at + NONCE_BYTES);
  cipher.final();
  target.set(cipher.getAuthTag(), at + NONCE_BYTES + body.length);
}

export interface SealPlace {
  readonly target: Buffer;
  readonly at: number;
  /** Has to be the same when it is opened. */
  readonly boundTo: Uint8Array;
  readonly nonces: Nonces;
}

/** The plain body of a frame that was written under `keyId`. */
export function openBody(
  keyring: Keyring,
  keyId: number,
  sealed: { readonly body: Buffer; readonly boundTo: Uint8Array },
): Buffer {
  if (keyId === 0) return sealed.body;
  const { body } = sealed;
  const key = keyOf(keyring, keyId);
  if (body.length < NONCE_BYTES + TAG_BYTES) throw forged(keyId, new Error('it is shorter than a seal'));
  const decipher = createDecipheriv('aes-256-gcm', key, body.subarray(0, NONCE_BYTES));
  decipher.setAAD(sealed.boundTo);
  decipher.setAuthTag(body.subarray(body.length - TAG_BYTES));
  const plain = decipher.update(body.subarray(NONCE_BYTES, body.length - TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw forged(keyId, cause);
  }
  return plain;
}

/** Damage by a disk shows in the checksum. A record whose checksum is right was put there by somebody. */
function forged(keyId: number, cause: unknown): CoveyError {
  return new CoveyError('log-forged', 'Cannot decrypt a record of the Raft log', {
    state: `its checksum is right and its seal under key ${keyId} is not: it was changed, or moved here from another place`,
    hint: 'with other managers alive: remove this node from the cluster, move its data directory away and join again',
    cause,
  });
}

function keyOf(keyring: Keyring, id: number): Uint8Array {
  const key = keyring.keys.get(id);
  if (key === undefined) {
    throw new CoveyError('log-key-wrong', `Cannot read the Raft log: key ${id} is missing`, {
      state: `keys at hand: ${[...keyring.keys.keys()].join(', ') || 'none'}`,
      hint: 'bring keys.json back to the data directory: log and keys belong together',
    });
  }
  if (key.length !== KEY_BYTES)
    throw new CoveyError('bug', `Cannot use key ${id}: it has ${key.length} bytes, not ${KEY_BYTES}`);
  return key;
}
