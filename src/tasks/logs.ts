/**
 * Reading the logs that conmon writes: by tail and since, and on as they grow, across rotations.
 *
 * A line of the file is `TIME stdout|stderr F|P TEXT`; P says that the text goes on in the stream's next line. A rotated log
 * is renamed to `.1`, `.2`, …; a file that is being followed is read to its end before the new one is opened, which exists
 * only once conmon writes to it.
 *
 * Not here: rotation (log-rotation.ts), the relay to whoever asked (daemon/bulk).
 */
import type { BulkFrame } from '../gen/types.js';
import type { FileReader, Files } from '../host.js';

export interface LogLine {
  readonly atMs: number;
  readonly stream: 'stdout' | 'stderr';
  /** The rest comes with the next line of the same stream. */
  readonly partial: boolean;
  readonly text: Uint8Array;
}

const chunkBytes = 65_536;
/** A program that never ends its line is cut here. */
const lineMaxBytes = 262_144;

/** undefined for what is no line of a log: a torn one after the loss of power. */
export function parseLogLine(line: Uint8Array): LogLine | undefined {
  const head = Buffer.from(line.buffer, line.byteOffset, Math.min(line.length, 64)).toString('latin1');
  const match = /^(\d{4}-\d\d-\d\dT\S+) (stdout|stderr) ([FP]) /.exec(head);
  if (!match) return undefined;
  const [all, time = '', stream, tag] = match;
  const atMs = Date.parse(time);
  if (Number.isNaN(atMs)) return undefined;
  return {
    atMs,
    stream: stream === 'stderr' ? 'stderr' : 'stdout',
    partial: tag === 'P',
    text: line.subarray(all.length),
  };
}

/** Joins pieces to whole lines, each with its line feed, stream by stream. */
function makeLineJoiner(): (line: LogLine) => BulkFrame | undefined {
  const pieces = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  return line => {
    const waiting = pieces[line.stream];
    waiting.push(line.text);
    const sizeBytes = waiting.reduce((sum, piece) => sum + piece.length, 0);
    if (line.partial && sizeBytes < lineMaxBytes) return undefined;
    const data = Buffer.concat(line.partial ? waiting : [...waiting, Buffer.from('\n')]);
    waiting.length = 0;
    return { body: { kind: 'data', stream: line.stream, data, eof: false, atMs: line.atMs } };
  };
}

/** A piece as it came: for a reader that wants the bytes of the program back. */
function frameOf({ stream, text, partial, atMs }: LogLine): BulkFrame {
  const data = partial ? text : Buffer.concat([text, Buffer.from('\n')]);
  return { body: { kind: 'data', stream, data, eof: false, atMs } };
}

export interface LogRead {
  readonly path: string;
  /** How many files there may be in all. */
  readonly filesMax: number;
  /** -1: all. */
  readonly tail: number;
  readonly sinceMs: number;
  /** Lines after this are left out, and end the reading. 0: none. */
  readonly untilMs: number;
  readonly follow: boolean;
  /** Bytes as they were written, instead of whole lines. */
  readonly pieces?: boolean;
  /** From here on nothing that is written is missed. May be called twice. */
  readonly opened?: () => void;
  /** No more will be written: a follower ends when it has read all. */
  readonly isEnded: () => boolean;
  /** Resolves when the log may have grown, or the task ended, or the signal is over. */
  readonly grown: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

type LogFiles = Pick<Files, 'openReader' | 'findStat'>;

export async function* readLogs(files: LogFiles, read: LogRead): AsyncIterable<BulkFrame> {
  const join = read.pieces === true ? frameOf : makeLineJoiner();
  const span = { sinceMs: read.sinceMs, untilMs: read.untilMs, join };
  const { chain, isNew } = await openChain(files, read);
  try {
    const start = read.tail < 0 || isNew ? { at: 0, offset: 0 } : await findTail(chain, read.tail);
    read.opened?.();
    let position = start.offset;
    for (const [at, source] of chain.slice(0, -1).entries()) {
      if (at < start.at) continue;
      const end = yield* framesOf(source, { ...span, fromByte: position });
      await source[Symbol.asyncDispose]();
      if (end.past) return;
      position = 0;
    }
    const last = chain.pop();
    if (last !== undefined) yield* readOn(files, { ...read, span, reader: last, position });
  } finally {
    for (const source of chain) await source[Symbol.asyncDispose]();
  }
}

interface ReadOn extends LogRead {
  readonly span: Omit<Span, 'fromByte'>;
  readonly reader: FileReader;
  readonly position: number;
}

/** The newest file, and those that come after it. */
async function* readOn(files: LogFiles, read: ReadOn): AsyncGenerator<BulkFrame> {
  let { reader, position } = read;
  let live = false;
  try {
    while (!read.signal.aborted) {
      const ended = read.isEnded();
      const end = yield* framesOf(reader, { ...read.span, fromByte: position });
      if (end.past || !read.follow) return;
      position = end.position;
      const next = await findNext(files, read, reader);
      if (next !== undefined) {
        // It is there, so the monitor writes to it, and no more to the one before.
        yield* framesOf(reader, { ...read.span, fromByte: position });
        await reader[Symbol.asyncDispose]();
        ({ reader } = next);
        position = 0;
        if (next.gap) yield { body: { kind: 'lost' } };
        continue;
      }
      if (!live) yield { body: { kind: 'live' } };
      live = true;
      if (ended) return;
      await read.grown(read.signal);
    }
  } finally {
    await reader[Symbol.asyncDispose]();
  }
}

interface Chain {
  /** The newest last. */
  readonly chain: FileReader[];
  /** There was no log yet: nothing in it is from before. */
  readonly isNew: boolean;
}

/** When the log is rotated while they are opened they are opened again. */
async function openChain(files: LogFiles, read: LogRead): Promise<Chain> {
  for (;;) {
    const before = await rotatedInodes(files, read);
    const old = await openRotated(files, read);
    const present = await files.openReader(read.path);
    const isNew = present === undefined && old.length === 0;
    if (isNew) read.opened?.();
    const newest = isNew ? await openWhenThere(files, read) : present;
    const chain = newest === undefined ? old : [...old, newest];
    if ((await rotatedInodes(files, read)) === before) return { chain, isNew };
    for (const source of chain) await source[Symbol.asyncDispose]();
  }
}

/** Which file has which number, to compare. */
async function rotatedInodes(files: LogFiles, read: LogRead): Promise<string> {
  const inodes: (number | undefined)[] = [];
  for (let number = 1; number <= read.filesMax; number += 1) {
    inodes.push((await files.findStat(nameOf(read.path, number)))?.inode);
  }
  return inodes.join();
}

async function openRotated(files: LogFiles, read: LogRead): Promise<FileReader[]> {
  const readers: FileReader[] = [];
  for (let number = read.filesMax; number >= 1; number -= 1) {
    const reader = await files.openReader(`${read.path}.${number}`);
    if (reader !== undefined) readers.push(reader);
  }
  return readers;
}

/** The log itself: made by the monitor with its first words, and anew after a rotation. */
async function openWhenThere(files: LogFiles, read: LogRead): Promise<FileReader | undefined> {
  for (;;) {
    const reader = await files.openReader(read.path);
    if (reader !== undefined || !read.follow || read.isEnded() || read.signal.aborted) return reader;
    await read.grown(read.signal);
  }
}

/**
 * The file after the one that is read, by inode: a slow reader may be several rotations behind. A gap is told when the one
 * that is read was rotated away meanwhile. Looked up again when it was rotated while it was looked up.
 */
async function findNext(
  files: LogFiles,
  read: LogRead,
  reader: FileReader,
): Promise<{ readonly reader: FileReader; readonly gap: boolean } | undefined> {
  const { inode } = await reader.stat();
  for (;;) {
    const place = await placeOf(files, read, inode);
    if (place === 0) return undefined;
    const number = place ?? (await oldestOf(files, read)) + 1;
    const next = await files.openReader(nameOf(read.path, number - 1));
    if ((await placeOf(files, read, inode)) === place)
      return next === undefined ? undefined : { reader: next, gap: place === undefined };
    await next?.[Symbol.asyncDispose]();
  }
}

function nameOf(path: string, number: number): string {
  return number === 0 ? path : `${path}.${number}`;
}

async function placeOf(files: LogFiles, read: LogRead, inode: number): Promise<number | undefined> {
  for (let number = 0; number <= read.filesMax; number += 1) {
    if ((await files.findStat(nameOf(read.path, number)))?.inode === inode) return number;
  }
  return undefined;
}

async function oldestOf(files: LogFiles, read: LogRead): Promise<number> {
  for (let number = read.filesMax; number > 0; number -= 1) {
    if ((await files.findStat(nameOf(read.path, number))) !== undefined) return number;
  }
  return 0;
}

interface Span {
  readonly fromByte: number;
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly join: (line: LogLine) => BulkFrame | undefined;
}

interface SpanEnd {
  /** Where the first unread line begins. */
  readonly position: number;
  /** Beyond the time up to which lines are wanted. */
  readonly past: boolean;
}

/** Whole lines to the present end. */
async function* framesOf(reader: FileReader, span: Span): AsyncGenerator<BulkFrame, SpanEnd> {
  let position = span.fromByte;
  let rest: Uint8Array = new Uint8Array();
  for (;;) {
    const chunk = await reader.read(position + rest.length, chunkBytes);
    if (chunk.length === 0) return { position, past: false };
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      const line = parseLogLine(bytes.subarray(from, end));
      from = end + 1;
      if (line === undefined || line.atMs < span.sinceMs) continue;
      if (span.untilMs > 0 && line.atMs > span.untilMs) return { position, past: true };
      const frame = span.join(line);
      if (frame !== undefined) yield frame;
    }
    position += from;
    rest = bytes.subarray(from);
  }
}

interface TailStart {
  /** Index of the file, and the byte in it. */
  readonly at: number;
  readonly offset: number;
}

/** Where the last `count` whole lines begin; an unfinished piece counts with the line that it belongs to. */
async function findTail(readers: readonly FileReader[], count: number): Promise<TailStart> {
  let missing = count;
  for (let at = readers.length - 1; at >= 0; at -= 1) {
    const found = await scanBack(readers[at]!, missing);
    if (found.kind === 'found') return { at, offset: found.offset };
    missing -= found.lines;
  }
  return { at: 0, offset: 0 };
}

type Scan = { readonly kind: 'found'; readonly offset: number } | { readonly kind: 'short'; readonly lines: number };

/** Reads a file from its end until it has seen one whole line more than wanted. */
async function scanBack(reader: FileReader, wanted: number): Promise<Scan> {
  const { sizeBytes } = await reader.stat();
  if (wanted <= 0) return { kind: 'found', offset: sizeBytes };
  let lines = 0;
  let end = sizeBytes;
  let after = Buffer.alloc(0);
  while (end > 0) {
    const start = Math.max(0, end - chunkBytes);
    const chunk = Buffer.from(await reader.read(start, end - start));
    const bytes = Buffer.concat([chunk, after]);
    const first = start === 0 ? 0 : bytes.indexOf(10) + 1;
    const starts = lineStarts(bytes, first).reverse();
    for (const from of starts) {
      if (!isWhole(bytes.subarray(from))) continue;
      lines += 1;
      if (lines > wanted) return { kind: 'found', offset: start + nextLine(bytes, from) };
    }
    after = bytes.subarray(0, first);
    end = start;
    if (first === 0 && start > 0) after = bytes; // a line longer than a chunk: look at both together
  }
  return { kind: 'short', lines };
}

function lineStarts(bytes: Buffer, first: number): number[] {
  const starts: number[] = [];
  for (let from = first; from < bytes.length; ) {
    const end = bytes.indexOf(10, from);
    if (end < 0) return starts;
    starts.push(from);
    from = end + 1;
  }
  return starts;
}

function nextLine(bytes: Buffer, from: number): number {
  return bytes.indexOf(10, from) + 1;
}

function isWhole(line: Buffer): boolean {
  return /^\S+ (?:stdout|stderr) F /.test(line.toString('latin1', 0, 64));
}
