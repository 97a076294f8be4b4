/**
 * Texts that people write for durations, sizes, CPUs and the like, as Docker reads them. Every parser answers with the value
 * or with words that say what is valid; stack files and command line flags make their own errors of that.
 *
 * Not here: ports and mounts (ports.ts, mounts.ts), the types of YAML scalars (scalar.ts).
 */
import type { Ulimit } from '../../gen/types.js';

export type Parsed<Value> =
  | { readonly kind: 'ok'; readonly value: Value }
  | { readonly kind: 'bad'; readonly valid: string };

export function ok<Value>(value: Value): Parsed<Value> {
  return { kind: 'ok', value };
}

export function bad(valid: string): { readonly kind: 'bad'; readonly valid: string } {
  return { kind: 'bad', valid };
}

const durationUnits: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Go's durations ("1m30s", "1.5h", "500ms", "0") and days. Milliseconds, whole; what is not zero is at least one. */
export function parseDurationMs(text: string): Parsed<number> {
  const valid = bad('a number with a unit, such as 500ms, 30s, 1m30s or 2h, of at most 49 days');
  if (text === '0') return ok(0);
  if (
    !/^(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d)(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d))*$/u.test(
      text,
    )
  ) {
    return valid;
  }
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h|d)/gu)) {
    total += Number(amount) * (durationUnits[unit ?? ''] ?? 0);
  }
  if (total > 0xffff_ffff) return valid;
  return ok(total > 0 ? Math.max(1, Math.round(total)) : 0);
}

/** A share, from 0 to 1. */
export function parseRatio(text: string): Parsed<number> {
  const ratio = /^(?:\d+(?:\.\d*)?|\.\d+)$/u.test(text) ? Number(text) : Number.NaN;
  return ratio >= 0 && ratio <= 1 ? ok(ratio) : bad('a number from 0 to 1, such as 0.25');
}

const byteUnits = ['', 'k', 'm', 'g', 't', 'p'];

/** Docker's sizes: "50M", "1.5gb", "512 KiB", "1024"; every unit is binary. */
export function parseBytes(text: string): Parsed<number> {
  const found = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/iu.exec(text.trim());
  const valid = bad('a size such as 512k, 50M, 1.5GiB or a number of bytes');
  if (found === null) return valid;
  const value = Math.floor(Number(found[1]) * 1024 ** byteUnits.indexOf((found[2] ?? '').toLowerCase()));
  return Number.isSafeInteger(value) ? ok(value) : valid;
}

/** "0.5" and the like: billionths of a core. */
export function parseCpuNanos(text: string): Parsed<number> {
  const valid = bad('a number of cores such as 0.5 or 2, with at most nine decimals');
  const found = /^(\d{1,6})?(?:\.(\d{0,9}))?$/u.exec(text);
  if (found === null || (found[1] === undefined && !found[2])) return valid;
  return ok(Number(found[1] ?? '0') * 1e9 + Number((found[2] ?? '').padEnd(9, '0')));
}

/** A whole number from min to max, in decimal. */
export function parseInteger(text: string, range: { readonly min: number; readonly max: number }): Parsed<number> {
  const value = /^[-+]?\d{1,16}$/u.test(text) ? Number(text) : Number.NaN;
  if (value >= range.min && value <= range.max) return ok(value);
  return bad(`a whole number from ${range.min} to ${range.max}`);
}

/** "0444", "0o444" and "444": octal. */
export function parseFileMode(text: string): Parsed<number> {
  if (/^(?:0o?)?[0-7]{1,5}$/u.test(text)) return ok(Number.parseInt(text.replace(/^0o/u, ''), 8));
  return bad('an octal mode such as 0440');
}

/** "nofile=1024:2048" or "nofile=1024"; -1 is unlimited. */
export function parseUlimit(text: string): Parsed<Ulimit> {
  const found = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/u.exec(text);
  if (found === null) return bad('NAME=SOFT[:HARD], such as nofile=1024:2048');
  return checkUlimit({ name: found[1] ?? '', soft: Number(found[2]), hard: Number(found[3] ?? found[2]) });
}

const ulimitNames: readonly string[] = [
  'as',
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
];

/** Known name, and soft no higher than hard. */
export function checkUlimit(limit: Ulimit): Parsed<Ulimit> {
  if (!ulimitNames.includes(limit.name)) return bad(`one of ${ulimitNames.join(', ')}`);
  if (limit.soft < -1 || limit.hard < -1) return bad('-1 (unlimited) or a number from 0');
  if (limit.hard !== -1 && (limit.soft === -1 || limit.soft > limit.hard))
    return bad('a soft limit no higher than the hard one');
  return ok(limit);
}

/** Splits as a POSIX shell splits words: quotes and backslashes, no expansion, no comments. */
export function parseWords(text: string): Parsed<readonly string[]> {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charAt(at);
    if (char === "'" || char === '"') {
      const end = closingQuote(text, at);
      if (end < 0) return bad(`words with every ${char === "'" ? 'single' : 'double'} quote closed`);
      const inside = text.slice(at + 1, end);
      word = (word ?? '') + (char === '"' ? inside.replaceAll(/\\(["\\$`])/gu, '$1').replaceAll('\\\n', '') : inside);
      at = end;
    } else if (char === '\\') {
      at += 1;
      if (at >= text.length) return bad('words without a backslash at the very end');
      if (text.charAt(at) !== '\n') word = (word ?? '') + text.charAt(at);
    } else if (/\s/u.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (word !== undefined) words.push(word);
  return ok(words);
}

function closingQuote(text: string, start: number): number {
  const quote = text.charAt(start);
  for (let at = start + 1; at < text.length; at += 1) {
    if (text.charAt(at) === '\\' && quote === '"') at += 1;
    else if (text.charAt(at) === quote) return at;
  }
  return -1;
}

/** "NAME=value"; without a sign the value is undefined. */
export function splitPair(
  text: string,
  separator: RegExp = /=/u,
): { readonly name: string; readonly value: string | undefined } {
  const found = separator.exec(text);
  if (found === null) return { name: text, value: undefined };
  return { name: text.slice(0, found.index), value: text.slice(found.index + found[0].length) };
}
