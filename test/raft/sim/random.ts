/**
 * The generator of the simulator: xoshiro128**, seeded by a number and a name, so that each part draws from a stream of
 * its own and taking one fault away does not shift the others.
 *
 * Keeps true: the same seed and name give the same numbers on every machine (32-bit integers only).
 */
export interface Random {
  /** Whole number in [0, bound). */
  below(bound: number): number;
  /** Whole number in [low, high]. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  shuffle<T>(items: readonly T[]): T[];
  fill(bytes: Uint8Array): void;
}

export function createRandom(seed: number, name: string): Random {
  let mix = (seed ^ hash(name)) >>> 0;
  const spread = () => {
    mix = (mix + 0x9e3779b9) >>> 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
  let [a, b, c, d] = [spread(), spread(), spread(), spread() | 1];
  const next = () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
  const below = (bound: number) => (bound <= 1 ? 0 : Math.floor((next() / 2 ** 32) * bound));
  return {
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: probability => next() < probability * 2 ** 32,
    pick: items => items[below(items.length)]!,
    shuffle(items) {
      const copy = [...items];
      for (let at = copy.length - 1; at > 0; at -= 1) {
        const other = below(at + 1);
        [copy[at], copy[other]] = [copy[other]!, copy[at]!];
      }
      return copy;
    },
    fill(bytes) {
      for (let at = 0; at < bytes.length; at += 1) bytes[at] = next() & 0xff;
    },
  };
}

/** FNV-1a over UTF-16 units. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

function rotate(value: number, count: number): number {
  return (value << count) | (value >>> (32 - count));
}
