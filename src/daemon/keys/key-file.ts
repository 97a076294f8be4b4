/**
 * `keys.json` of a node as data: its present content and the changes of it. Everything in it is sealed, but for the KEK of a
 * node that is not locked.
 *
 * Pure, but for the random bytes that are handed in. Not here: the file (keeper.ts).
 */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { RandomBytes } from '../../ids.js';
import type { Keyring } from '../../raft/storage/keyring.js';
import { unlockKeyId } from './unlock-key.js';

export interface KeyFile {
  /** Grows each time that the lock changes. */
  readonly epoch: number;
  readonly lock: FileLock;
  /** The last one is current. */
  readonly keys: readonly StoredKey[];
}

export type FileLock =
  /** The KEK itself: a restart needs nobody. */
  | { readonly kind: 'open'; readonly kek: string }
  /** The KEK under the unlock key of that id. */
  | { readonly kind: 'locked'; readonly sealedKek: string; readonly keyId: string; readonly madeAtMs: number };

/** A key of the log, under the KEK. */
export interface StoredKey {
  readonly id: number;
  readonly epoch: number;
  readonly madeAtMs: number;
  readonly sealed: string;
}

/** What people hold. */
export interface UnlockKey {
  readonly key: Uint8Array;
  readonly madeAtMs: number;
}

export interface Made {
  readonly file: KeyFile;
  readonly kek: Uint8Array;
  readonly ring: Keyring;
}

interface Making {
  readonly random: RandomBytes;
  readonly nowMs: number;
}

const fileVersion = 1;
const secretBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const cipherName = 'aes-256-gcm';

/** The file of a node that has none. */
export function newKeyFile({ random }: Pick<Making, 'random'>): KeyFile {
  return { epoch: 1, lock: { kind: 'open', kek: toText(random(secretBytes)) }, keys: [] };
}

/** With a new current key, which nobody has written with. */
export function withNewKey(file: KeyFile, kek: Uint8Array, { random, nowMs }: Making): Made {
  const id = (file.keys.at(-1)?.id ?? 0) + 1;
  const place = { id, epoch: file.epoch };
  const key = { ...place, madeAtMs: nowMs, sealed: seal(kek, random(secretBytes), { about: aboutKey(place), random }) };
  const next = { ...file, keys: [...file.keys, key] };
  return { file: next, kek, ring: ringOf(next, kek) };
}

/** Locked with that unlock key, or with none: a new KEK, all keys of the log under it, and a new current one. */
export function withLock(
  file: KeyFile,
  kek: Uint8Array,
  making: Making & { readonly unlock: UnlockKey | undefined },
): Made {
  const { random, unlock } = making;
  const epoch = file.epoch + 1;
  const nextKek = random(secretBytes);
  const { keys } = ringOf(file, kek);
  const resealed = file.keys.map(key => {
    const plain = keys.get(key.id);
    if (plain === undefined) throw new CoveyError('bug', `Cannot seal key ${key.id} anew: it is not open`);
    return { ...key, sealed: seal(nextKek, plain, { about: aboutKey(key), random }) };
  });
  const lock: FileLock =
    unlock === undefined ? { kind: 'open', kek: toText(nextKek) } : lockWith(nextKek, { ...unlock, random, epoch });
  return withNewKey({ epoch, lock, keys: resealed }, nextKek, making);
}

/** Without the keys that nothing is written under; the current one stays. */
export function withoutUnused(file: KeyFile, inUse: readonly number[]): KeyFile {
  return { ...file, keys: file.keys.filter(({ id }) => inUse.includes(id) || id === file.keys.at(-1)?.id) };
}

/** The KEK of a node that is not locked. */
export function findKek({ lock }: KeyFile): Uint8Array | undefined {
  return lock.kind === 'open' ? fromText(lock.kek) : undefined;
}

/** The KEK of one that is; undefined: that is not the key that it was locked with. */
export function unlockKek({ lock, epoch }: KeyFile, key: Uint8Array): Uint8Array | undefined {
  if (lock.kind === 'open') return fromText(lock.kek);
  if (unlockKeyId(key) !== lock.keyId) return undefined;
  return unseal(wrappingKey(key), lock.sealedKek, aboutKek(epoch));
}

export function ringOf(file: KeyFile, kek: Uint8Array): Keyring {
  const keys = new Map(
    file.keys.map(key => {
      const plain = unseal(kek, key.sealed, aboutKey(key));
      if (plain === undefined) throw damaged(`key ${key.id} of the log does not open under the key of this node`);
      return [key.id, plain] as const;
    }),
  );
  return { currentId: file.keys.at(-1)?.id ?? 0, keys };
}

/** A text under the KEK: the private key of the node. */
export function sealText(kek: Uint8Array, text: string, random: RandomBytes): Uint8Array {
  return fromText(seal(kek, Buffer.from(text), { about: 'node key', random }));
}

export function unsealText(kek: Uint8Array, sealed: Uint8Array): string | undefined {
  const plain = unseal(kek, toText(sealed), 'node key');
  return plain === undefined ? undefined : Buffer.from(plain).toString();
}

export function renderKeyFile(file: KeyFile): string {
  return `${JSON.stringify({ version: fileVersion, ...file }, undefined, 2)}\n`;
}

export function parseKeyFile(text: string): KeyFile {
  const { version, epoch, lock, keys } = parseObject(text);
  if (typeof version === 'number' && version > fileVersion) {
    throw new CoveyError('newer-schema', 'Cannot read keys.json: a newer covey wrote it', {
      state: `it is of version ${version}, this covey reads version ${fileVersion}`,
      hint: 'update this node',
    });
  }
  const isWhole = version === fileVersion && typeof epoch === 'number' && Array.isArray(keys);
  const known = isWhole ? keys.flatMap(key => (isKey(key) ? [key] : [])) : [];
  if (!isWhole || !isLock(lock) || known.length !== keys.length) throw damaged('it does not hold what was written');
  return { epoch, lock, keys: known };
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw damaged('it is no JSON', cause);
  }
  throw damaged('it holds no object');
}

function lockWith(
  kek: Uint8Array,
  { key, madeAtMs, epoch, random }: UnlockKey & { readonly epoch: number; readonly random: RandomBytes },
): FileLock {
  const sealedKek = seal(wrappingKey(key), kek, { about: aboutKek(epoch), random });
  return { kind: 'locked', sealedKek, keyId: unlockKeyId(key), madeAtMs };
}

/** The unlock key has 256 random bits: it needs no slow derivation, only a purpose. */
function wrappingKey(key: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), 'covey unlock', secretBytes));
}

const aboutKek = (epoch: number): string => `kek ${epoch}`;
const aboutKey = ({ id, epoch }: Pick<StoredKey, 'id' | 'epoch'>): string => `log key ${id} ${epoch}`;

function seal(
  key: Uint8Array,
  plain: Uint8Array,
  { about, random }: { readonly about: string; readonly random: RandomBytes },
): string {
  const nonce = random(nonceBytes);
  const cipher = createCipheriv(cipherName, key, nonce);
  cipher.setAAD(Buffer.from(`covey ${about}`));
  const sealed = [nonce, cipher.update(plain), cipher.final()];
  return toText(Buffer.concat([...sealed, cipher.getAuthTag()]));
}

/** Undefined when key or purpose are others, or it was changed. */
function unseal(key: Uint8Array, text: string, about: string): Uint8Array | undefined {
  const sealed = fromText(text);
  if (sealed.length < nonceBytes + tagBytes) return undefined;
  const decipher = createDecipheriv(cipherName, key, sealed.subarray(0, nonceBytes));
  decipher.setAAD(Buffer.from(`covey ${about}`));
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  try {
    const plain = decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes));
    return new Uint8Array(Buffer.concat([plain, decipher.final()]));
  } catch {
    return undefined; // that is how a seal says that it does not fit
  }
}

function isLock(value: unknown): value is FileLock {
  if (!isObject(value)) return false;
  const { kind, kek, sealedKek, keyId, madeAtMs } = value;
  if (kind === 'open') return typeof kek === 'string';
  return (
    kind === 'locked' && typeof sealedKek === 'string' && typeof keyId === 'string' && typeof madeAtMs === 'number'
  );
}

function isKey(value: unknown): value is StoredKey {
  if (!isObject(value)) return false;
  const { id, epoch, madeAtMs, sealed } = value;
  return [id, epoch, madeAtMs].every(one => typeof one === 'number') && typeof sealed === 'string';
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function damaged(state: string, cause?: unknown): CoveyError {
  return new CoveyError('state-damaged', 'Cannot read keys.json of the data directory', {
    state,
    hint: 'bring the file back: log and keys belong together; or covey leave --force, then join again',
    ...(cause === undefined ? {} : { cause }),
  });
}

const toText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const fromText = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
