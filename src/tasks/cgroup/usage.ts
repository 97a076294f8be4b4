/**
 * What a group uses, in the same words for both versions, and how the kernel's texts are read.
 *
 * Not here: which files hold it (v1.ts, v2.ts), what it means (usage/).
 */

/** What a look reads beside refused processes: each is a file or more, of every task, every few seconds. */
export type UsageParts = 'all' | readonly ('memory' | 'cpu')[];

export function isRead(parts: UsageParts, part: 'memory' | 'cpu' | 'rest'): boolean {
  return parts === 'all' || (part !== 'rest' && parts.includes(part));
}

/** What was not read is 0. */
export interface GroupUsage {
  readonly memoryBytes: number;
  /** Of memoryBytes: pages of files, which the kernel can give up. Only in a whole look. */
  readonly fileBytes: number;
  /** Of fileBytes: those that nobody has used for a while. Only in a whole look. */
  readonly inactiveFileBytes: number;
  /** Only in a whole look. */
  readonly cpuNanos: number;
  /** Periods of 100 ms in which it ran, and those in which it was stopped at its limit. */
  readonly periods: number;
  readonly throttledPeriods: number;
  /** Only in a whole look. */
  readonly pids: number;
  /** Processes that were not started because of the limit. */
  readonly pidsRefused: number;
  /** Only in a whole look. */
  readonly readBytes: number;
  readonly writeBytes: number;
}

/** The number that the whole text is. */
export function countOf(text: string | undefined): number | undefined {
  const trimmed = text?.trim();
  return trimmed === undefined || !/^-?\d+$/.test(trimmed) ? undefined : Number(trimmed);
}

/** The number after a word at the beginning of a line. */
export function counterOf(text: string | undefined, word: string): number | undefined {
  if (text === undefined) return undefined;
  const at = text.startsWith(`${word} `) ? 0 : text.indexOf(`\n${word} `) + 1;
  if (at === 0 && !text.startsWith(`${word} `)) return undefined;
  const value = Number.parseInt(text.slice(at + word.length + 1), 10);
  return Number.isNaN(value) ? undefined : value;
}
