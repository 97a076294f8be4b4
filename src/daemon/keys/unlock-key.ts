/**
 * The unlock key of a cluster: 256 random bits that people keep, as `CVKEY-1-<key>-<check>`, base 36. The check tells a slip of
 * the pen from another key; the id, which may be shown and written anywhere, tells which key something was locked with.
 *
 * Pure. Not here: what it seals (key-file.ts).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { UnlockKeys } from '../../gen/types.js';
import type { RandomBytes } from '../../ids.js';
import { fromBase36, toBase36 } from '../ca/token.js';

const unlockKeyBytes = 32;
const keyLength = 50;
const checkLength = 4;
const form = new RegExp(`^CVKEY-1-([0-9a-z]{${keyLength}})-([0-9a-z]{${checkLength}})$`);

export function makeUnlockKey(randomBytes: RandomBytes): Uint8Array {
  return randomBytes(unlockKeyBytes);
}

export function renderUnlockKey(key: Uint8Array): string {
  return `CVKEY-1-${toBase36(key, keyLength)}-${checkOf(key)}`;
}

/** Throws unlock-key-wrong: nothing that a cluster has made. */
export function parseUnlockKey(text: string): Uint8Array {
  const [, digits, check] = form.exec(text.trim()) ?? [];
  const key = digits === undefined ? undefined : fromBase36(digits, unlockKeyBytes);
  if (key !== undefined && checkOf(key) === check) return key;
  const state =
    digits === undefined
      ? `it has ${text.trim().length} characters; an unlock key is CVKEY-1-, ${keyLength} letters and digits, a dash and ${checkLength} more`
      : 'its last four characters do not fit the rest: it was mistyped';
  throw new CoveyError('unlock-key-wrong', 'Cannot read the unlock key', {
    state,
    hint: 'covey unlock-key   (on a manager that is not locked)',
  });
}

/** The keys while autolock is on. Off, those before may still be known. */
export function findUnlock({ unlock }: { readonly unlock?: UnlockKeys | undefined }): UnlockKeys | undefined {
  return unlock !== undefined && unlock.key.length > 0 ? unlock : undefined;
}

/** Names a key without telling it. */
export function unlockKeyId(key: Uint8Array): string {
  return digest('id', key).subarray(0, 4).toString('hex');
}

function checkOf(key: Uint8Array): string {
  return toBase36(digest('check', key).subarray(0, 2), checkLength);
}

function digest(purpose: string, key: Uint8Array): Buffer {
  return createHash('sha256').update(`covey unlock key ${purpose}\n`).update(key).digest();
}
