/**
 * IPv4 addresses and prefixes as numbers.
 *
 * Called by ipam.ts and control/validate. Not here: who gets which (ipam.ts). IPv6 comes with the data plane that carries it.
 */
export interface Prefix {
  /** First address. */
  readonly base: number;
  readonly bits: number;
}

/** The address as a number, or undefined when the text is none. Makes no garbage: it is asked for every address in use. */
export function parseAddress(text: string): number | undefined {
  let address = 0;
  let part = 0;
  let digits = 0;
  let parts = 0;
  for (let at = 0; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) : dot;
    if (code === dot) {
      if (digits === 0 || part > 255) return undefined;
      address = address * 256 + part;
      parts += 1;
      part = 0;
      digits = 0;
      continue;
    }
    const isLeadingZero = digits === 1 && part === 0;
    if (code < zero || code > zero + 9 || digits === 3 || isLeadingZero) return undefined;
    part = part * 10 + code - zero;
    digits += 1;
  }
  return parts === 4 ? address : undefined;
}

const dot = 0x2e;
const zero = 0x30;

export function renderAddress(address: number): string {
  return [24, 16, 8, 0].map(shift => Math.floor(address / 2 ** shift) % 256).join('.');
}

/** "10.0.0.0/8"; undefined when the text is no prefix, or has bits beyond its length. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = '', length = '', ...more] = text.split('/');
  const base = parseAddress(address);
  if (base === undefined || more.length > 0 || !/^(?:[0-9]|[12][0-9]|3[0-2])$/.test(length)) return undefined;
  const bits = Number(length);
  return base % sizeOf(bits) === 0 ? { base, bits } : undefined;
}

export function renderPrefix({ base, bits }: Prefix): string {
  return `${renderAddress(base)}/${bits}`;
}

/** Addresses in a prefix of that length. */
export function sizeOf(bits: number): number {
  return 2 ** (32 - bits);
}

export function overlap(a: Prefix, b: Prefix): boolean {
  return a.base < b.base + sizeOf(b.bits) && b.base < a.base + sizeOf(a.bits);
}

/** The first piece of that length in the pool that overlaps with none of the taken ones. */
export function findFreePiece(pool: Prefix, bits: number, taken: readonly Prefix[]): Prefix | undefined {
  const size = sizeOf(bits);
  const end = pool.base + sizeOf(pool.bits);
  for (let base = pool.base; base + size <= end; ) {
    const piece = { base, bits };
    const obstacle = taken.find(other => overlap(piece, other));
    if (obstacle === undefined) return piece;
    const behind = obstacle.base + sizeOf(obstacle.bits);
    base = Math.ceil(Math.max(behind, base + size) / size) * size;
  }
  return undefined;
}
