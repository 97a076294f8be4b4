/**
 * Join tokens: `CVTKN-1-<digest of the root certificate>-<secret>`, base 36. The digest lets a joiner trust the CA before it
 * trusts anything else; the secret says that it may join. Only the secret's hash is ever stored. A token that begins with
 * `CVNODE-1-` brings back the one node that it was made for.
 *
 * Pure. Made by tokens.ts, taken apart by membership/join.ts (digest) and issue.ts (secret).
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { JoinToken } from '../../gen/types.js';

export interface ParsedToken {
  /** SHA-256 of the root certificate's DER. */
  readonly rootDigest: Uint8Array;
  readonly secret: string;
  /** Brings a node back that was there. Default: lets a new one in. */
  readonly returns?: boolean;
}

const digestLength = 50;
const secretLength = 25;
const form = new RegExp(`^CV(TKN|NODE)-1-([0-9a-z]{${digestLength}})-([0-9a-z]{${secretLength}})$`);

export function renderToken(token: ParsedToken): string {
  return `${token.returns === true ? 'CVNODE' : 'CVTKN'}-1-${toBase36(token.rootDigest, digestLength)}-${token.secret}`;
}

export function parseToken(text: string): ParsedToken {
  const [, kind, digest, secret] = form.exec(text.trim()) ?? [];
  const rootDigest = digest === undefined ? undefined : fromBase36(digest, 32);
  if (rootDigest === undefined || secret === undefined) {
    throw new CoveyError('bad-token', 'Cannot read the join token', {
      state: `it has ${text.trim().length} characters; a token is CVTKN-1-, ${digestLength} letters and digits, a dash and ${secretLength} more`,
      hint: 'covey token worker   (on a manager; copy the whole line)',
    });
  }
  return { rootDigest, secret, returns: kind === 'NODE' };
}

export function digestOf(certificate: Uint8Array): Uint8Array {
  return createHash('sha256').update(certificate).digest();
}

export function hashSecret(secret: string): Uint8Array {
  return createHash('sha256').update(secret).digest();
}

export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/** The token with that secret. Takes the same time for each secret: all are compared, none is left early. */
export function findToken(tokens: Iterable<JoinToken>, secret: string): JoinToken | undefined {
  const hash = hashSecret(secret);
  let found: JoinToken | undefined;
  for (const token of tokens) if (equalBytes(token.secretHash, hash)) found = token;
  return found;
}

/** Why a token may not be used now, or undefined. */
export function tokenRefusal(token: JoinToken | undefined, nowMs: number): CoveyError | undefined {
  if (token === undefined) {
    return new CoveyError('bad-token', 'Cannot join with this token', {
      state: 'no token of this cluster has its secret',
      hint: 'covey token worker   (on a manager)',
    });
  }
  if (token.expiresAtMs !== 0 && token.expiresAtMs <= nowMs) {
    return new CoveyError('token-expired', 'Cannot join with this token', {
      state: `it ended ${Math.ceil((nowMs - token.expiresAtMs) / 1000)} s ago`,
      hint: 'covey token worker   (on a manager)',
    });
  }
  if (token.usesMax !== 0 && token.uses >= token.usesMax) {
    return new CoveyError('token-used-up', 'Cannot join with this token', {
      state: `used ${token.uses} of ${token.usesMax} times`,
      hint: 'covey token worker   (on a manager)',
    });
  }
  return undefined;
}

export function toBase36(bytes: Uint8Array, length: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(length, '0');
}

/** undefined when the number is larger than sizeBytes can hold. */
export function fromBase36(text: string, sizeBytes: number): Uint8Array | undefined {
  let value = 0n;
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36));
  if (value >> BigInt(sizeBytes * 8) !== 0n) return undefined;
  const bytes = new Uint8Array(sizeBytes);
  for (let at = sizeBytes - 1; at >= 0; at -= 1) {
    bytes[at] = Number(value & 0xffn);
    value >>= 8n;
  }
  return bytes;
}
