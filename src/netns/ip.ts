/**
 * Addresses and prefixes of both families as text and as bytes, and the little arithmetic that routing needs.
 *
 * Not here: giving addresses out (daemon/allocate).
 */
import { CoveyError } from '../errors.js';

/** "10.0.0.0/24": the address as written, and the bits that count. */
export interface Prefix {
  readonly address: string;
  readonly bits: number;
}

const addressV4 = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;

export function isAddressV4(text: string): boolean {
  return addressV4.test(text);
}

/** 4 or 16 bytes in network order. */
export function parseAddress(text: string): Buffer {
  const bytes = isAddressV4(text) ? Buffer.from(text.split('.').map(Number)) : findAddressV6(text);
  if (bytes === undefined) throw new CoveyError('bad-argument', `Cannot use "${text}" as an IP address`);
  return bytes;
}

function findAddressV6(text: string): Buffer | undefined {
  const bytes = Buffer.alloc(16);
  const plain = text.replace(/%.*$/, '').replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    return `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`;
  });
  const [head = '', tail, more] = plain.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const first = groups(head);
  const last = groups(tail ?? '');
  const count = first.length + last.length;
  if (more !== undefined || (tail === undefined ? count !== 8 : count > 7)) return undefined;
  if (![...first, ...last].every(group => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  first.forEach((group, index) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  });
  last.forEach((group, index) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), 16 - (last.length - index) * 2);
  });
  return bytes;
}

/** The usual text of 4 or 16 bytes; for IPv6 the first of the longest runs of zero groups is cut (RFC 5952). */
export function renderAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  let best = { start: 0, length: 1 };
  for (let start = 0; start < groups.length; start += 1) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end += 1;
    if (end - start > best.length) best = { start, length: end - start };
  }
  const hex = (part: readonly number[]): string => part.map(group => group.toString(16)).join(':');
  if (best.length === 1) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}

/** A plain address is a prefix of all its bits. */
export function parsePrefix(text: string): Prefix {
  const [address = '', bits] = text.split('/');
  const isV4 = isAddressV4(address);
  const most = isV4 ? 32 : 128;
  const count = bits === undefined ? most : Number(bits);
  if (!(isV4 || findAddressV6(address) !== undefined) || !Number.isInteger(count) || count < 0 || count > most) {
    throw new CoveyError('bad-argument', `Cannot use "${text}" as a network: wants an address, a slash and bits`);
  }
  return { address, bits: count };
}

export function numberOfV4(address: string): number {
  return parseAddress(address).readUInt32BE(0);
}

export function addressOfNumber(value: number): string {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');
}

/** Whether two IPv4 prefixes have an address in common. */
export function overlapsV4(a: Prefix, b: Prefix): boolean {
  const bits = Math.min(a.bits, b.bits);
  const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
  return (numberOfV4(a.address) & mask) >>> 0 === (numberOfV4(b.address) & mask) >>> 0;
}
