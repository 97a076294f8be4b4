/**
 * The keys under which log and snapshots lie on disk, and the sealing of one body with AES-256-GCM. A keyring holds one
 * current key, which writes, and any number of older ones, which only read: changing the key changes what is written
 * from now on, and an old key may go once no file names it any more (`keysInUse` of the log and of the snapshots).
 *
 * Each body carries a nonce of its own, drawn at random, and is bound to the head of its frame: bodies cannot be
 * exchanged, repeated or moved without the key.
 *
 * Not here: where the keys come from (the daemon: autolock), frames (frame.ts).
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
  const nonce = place.random(NONCE_BYTES);
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
  /** The head of the frame. */
  readonly boundTo: Uint8Array;
  readonly random: RandomBytes;
}

/** The plain body of a frame that was written under `keyId`. */
export function openBody(
  keyring: Keyring,
  keyId: number,
  sealed: { readonly body: Buffer; readonly boundTo: Uint8Array },
): Buffer {
  if (keyId === 0) return sealed.body;
  const { body } = sealed;
  const decipher = createDecipheriv('aes-256-gcm', keyOf(keyring, keyId), body.subarray(0, NONCE_BYTES));
  decipher.setAAD(sealed.boundTo);
  decipher.setAuthTag(body.subarray(body.length - TAG_BYTES));
  const plain = decipher.update(body.subarray(NONCE_BYTES, body.length - TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw new CoveyError('log-key-wrong', `Cannot decrypt the Raft log with key ${keyId}`, {
      state: 'the checksum of the record is right, its seal is not: this is not the key that wrote it',
      hint: 'unlock this manager with the key of this cluster',
      cause,
    });
  }
  return plain;
}

function keyOf(keyring: Keyring, id: number): Uint8Array {
  const key = keyring.keys.get(id);
  if (key === undefined) {
    throw new CoveyError('log-key-wrong', `Cannot read the Raft log: key ${id} is missing`, {
      state: `keys at hand: ${[...keyring.keys.keys()].join(', ') || 'none'}`,
      hint: 'unlock this manager with the key of this cluster',
    });
  }
  if (key.length !== KEY_BYTES)
    throw new CoveyError('bug', `Cannot use key ${id}: it has ${key.length} bytes, not ${KEY_BYTES}`);
  return key;
}
