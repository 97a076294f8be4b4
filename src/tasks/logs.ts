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

export const rotatedMax = 3;
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

export interface LogRead {
  readonly path: string;
  /** -1: all. */
  readonly tail: number;
  readonly sinceMs: number;
  readonly follow: boolean;
  /** No more will be written: a follower ends when it has read all. */
  readonly isEnded: () => boolean;
  /** Resolves when the log may have grown, or the task ended, or the signal is over. */
  readonly grown: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

export async function* readLogs(
  files: Pick<Files, 'openReader' | 'findStat'>,
  read: LogRead,
): AsyncIterable<BulkFrame> {
  const join = makeLineJoiner();
  const old = await findRotated(files, read.path);
  // Opened before the old ones are read: a rotation in between moves it, and it is read all the same.
  let reader = await openWhenThere(files, read);
  const tail =
    read.tail < 0 ? undefined : await findTail([...old, ...(reader === undefined ? [] : [reader])], read.tail);
  try {
    for (const [at, source] of old.entries()) {
      const fromByte = tail === undefined ? 0 : tail.at === at ? tail.offset : tail.at > at ? undefined : 0;
      if (fromByte !== undefined) yield* framesOf(source, { fromByte, sinceMs: read.sinceMs, join });
      await source[Symbol.asyncDispose]();
    }
    let fromByte = tail?.at === old.length ? tail.offset : 0;
    while (reader !== undefined && !read.signal.aborted) {
      const ended = read.isEnded();
      fromByte = yield* framesOf(reader, { fromByte, sinceMs: read.sinceMs, join });
      if (!read.follow) return;
      const next = await findNewer(files, read.path, reader);
      if (next !== undefined) {
        yield* framesOf(reader, { fromByte, sinceMs: read.sinceMs, join });
        await reader[Symbol.asyncDispose]();
        reader = next;
        fromByte = 0;
        continue;
      }
      if (ended) return;
      await read.grown(read.signal);
    }
  } finally {
    for (const source of old) await source[Symbol.asyncDispose]();
    await reader?.[Symbol.asyncDispose]();
  }
}

/** The rotated ones that are there, oldest first. */
async function findRotated(files: Pick<Files, 'openReader'>, path: string): Promise<readonly FileReader[]> {
  const readers: FileReader[] = [];
  for (let number = rotatedMax; number >= 1; number -= 1) {
    const reader = await files.openReader(`${path}.${number}`);
    if (reader !== undefined) readers.push(reader);
  }
  return readers;
}

async function openWhenThere(files: Pick<Files, 'openReader'>, read: LogRead): Promise<FileReader | undefined> {
  for (;;) {
    const reader = await files.openReader(read.path);
    if (reader !== undefined || !read.follow || read.isEnded() || read.signal.aborted) return reader;
    await read.grown(read.signal);
  }
}

/** The new log, when the one that is read was renamed. */
async function findNewer(
  files: Pick<Files, 'openReader' | 'findStat'>,
  path: string,
  reader: FileReader,
): Promise<FileReader | undefined> {
  const stat = await files.findStat(path);
  if (stat === undefined || stat.inode === (await reader.stat()).inode) return undefined;
  return await files.openReader(path);
}

interface Span {
  readonly fromByte: number;
  readonly sinceMs: number;
  readonly join: (line: LogLine) => BulkFrame | undefined;
}

/** Whole lines to the present end; returns where the first unread line begins. */
async function* framesOf(reader: FileReader, span: Span): AsyncGenerator<BulkFrame, number> {
  let position = span.fromByte;
  let rest: Uint8Array = new Uint8Array();
  for (;;) {
    const chunk = await reader.read(position + rest.length, chunkBytes);
    if (chunk.length === 0) return position;
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      const line = parseLogLine(bytes.subarray(from, end));
      from = end + 1;
      if (line === undefined || line.atMs < span.sinceMs) continue;
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
