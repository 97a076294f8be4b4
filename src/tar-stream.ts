/**
 * Tar streams for copies between a terminal and a container: written as POSIX (pax) archives, read in all common forms (pax,
 * ustar, GNU long names). Names are bytes, held as latin1 texts: a file's name need not be UTF-8.
 *
 * Pure. Not here: files (host-linux/tree-copy.ts), layers of images, which have rules of their own (tasks/image).
 */
import { CoveyError } from './errors.js';

export type TarKind = 'file' | 'directory' | 'symlink' | 'link' | 'other';

export interface TarEntry {
  readonly kind: TarKind;
  /** Without a slash at its end. */
  readonly name: string;
  /** Of links. */
  readonly target: string;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedMs: number;
}

const blockBytes = 512;
const nameMaxBytes = 4_096;
const headMaxBytes = 1_048_576;
const flags: Readonly<Record<Exclude<TarKind, 'other'>, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  directory: '5',
};

/** Its header block, with a pax header before it where the fields are too small. */
export function renderTarHeader(entry: TarEntry & { readonly kind: Exclude<TarKind, 'other'> }): Buffer {
  const name = entry.kind === 'directory' ? `${entry.name}/` : entry.name;
  const pax: string[] = [];
  const say = (key: string, value: string): void => void pax.push(paxRecord(key, value));
  if (name.length > 100) say('path', name);
  if (entry.target.length > 100) say('linkpath', entry.target);
  if (entry.sizeBytes >= 8 ** 11) say('size', String(entry.sizeBytes));
  if (entry.uid >= 8 ** 7) say('uid', String(entry.uid));
  if (entry.gid >= 8 ** 7) say('gid', String(entry.gid));
  if (entry.modifiedMs % 1_000 !== 0 || entry.modifiedMs < 0) say('mtime', (entry.modifiedMs / 1_000).toFixed(3));
  const own = renderBlock({ ...entry, name }, flags[entry.kind]);
  if (pax.length === 0) return own;
  const records = Buffer.from(pax.join(''), 'latin1');
  const plain = { target: '', mode: 0o644, uid: 0, gid: 0, modifiedMs: 0 };
  const head = renderBlock({ ...plain, name: 'pax', sizeBytes: records.length }, 'x');
  return Buffer.concat([head, records, tarPadding(records.length), own]);
}

/** "17 path=some/name\n": the number counts the whole record, itself included. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let size = rest.length + 1;
  while (String(size).length + rest.length !== size) size = String(size).length + rest.length;
  return `${size}${rest}`;
}

function renderBlock(entry: Omit<TarEntry, 'kind'>, flag: string): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, width: number): void => {
    const text = Math.max(0, Math.trunc(value)).toString(8);
    block.write(text.length < width ? text.padStart(width - 1, '0') : '0'.repeat(width - 1), at, 'latin1');
  };
  block.write(entry.name.slice(0, 100), 0, 'latin1');
  octal(entry.mode & 0o7777, 100, 8);
  octal(entry.uid, 108, 8);
  octal(entry.gid, 116, 8);
  octal(entry.sizeBytes, 124, 12);
  octal(entry.modifiedMs / 1_000, 136, 12);
  block.write('        ', 148, 'latin1');
  block.write(flag, 156, 'latin1');
  block.write(entry.target.slice(0, 100), 157, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((blockBytes - (sizeBytes % blockBytes)) % blockBytes);
}

export const tarEnd = (): Buffer => Buffer.alloc(2 * blockBytes);

export interface TarSink {
  /** A new entry; those of kind 'other' are devices, FIFOs and what nobody knows. */
  readonly entry: (entry: TarEntry) => void;
  /** Bytes of the entry that came last. */
  readonly data: (bytes: Uint8Array) => void;
}

export interface TarParser {
  readonly push: (chunk: Uint8Array) => void;
  /** Throws when the archive is cut short. */
  readonly finish: () => void;
}

interface Parsing {
  readonly sink: TarSink;
  rest: Buffer;
  /** Bytes of the present entry that are still to come, and those of its padding. */
  left: number;
  padding: number;
  /** Bytes that describe the next entry are being gathered. */
  gather: { readonly flag: string; readonly pieces: Buffer[] } | undefined;
  pax: Map<string, string>;
  ended: boolean;
}

export function openTarParser(sink: TarSink): TarParser {
  const state: Parsing = {
    sink,
    rest: Buffer.alloc(0),
    left: 0,
    padding: 0,
    gather: undefined,
    pax: new Map(),
    ended: false,
  };
  return {
    push: chunk => {
      state.rest = state.rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([state.rest, chunk]);
      while (!state.ended && advance(state));
      if (state.ended) state.rest = Buffer.alloc(0);
    },
    finish: () => {
      if (state.ended || (state.rest.length === 0 && state.left + state.padding === 0 && state.gather === undefined))
        return;
      throw refused('it is cut short');
    },
  };
}

function refused(why: string): CoveyError {
  return new CoveyError('bad-archive', `Cannot read the tar archive: ${why}`);
}

/** False when more bytes are needed. */
function advance(state: Parsing): boolean {
  if (state.left > 0) return takeData(state);
  if (state.padding > 0) {
    if (state.rest.length < state.padding) return false;
    state.rest = state.rest.subarray(state.padding);
    state.padding = 0;
    if (state.gather !== undefined) endGather(state);
    return true;
  }
  if (state.gather !== undefined) {
    endGather(state);
    return true;
  }
  if (state.rest.length < blockBytes) return false;
  const block = state.rest.subarray(0, blockBytes);
  state.rest = state.rest.subarray(blockBytes);
  if (block.every(byte => byte === 0)) state.ended = true;
  else takeHeader(state, block);
  return true;
}

function takeData(state: Parsing): boolean {
  if (state.rest.length === 0) return false;
  const piece = state.rest.subarray(0, state.left);
  state.rest = state.rest.subarray(piece.length);
  state.left -= piece.length;
  if (state.gather === undefined) state.sink.data(piece);
  else state.gather.pieces.push(Buffer.from(piece));
  return true;
}

function takeHeader(state: Parsing, block: Buffer): void {
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (sum !== readNumber(block, 148, 8)) throw refused('a header has a wrong checksum');
  const flag = String.fromCharCode(block[156] ?? 0);
  const isAbout = 'xgLK'.includes(flag);
  const sizeText = isAbout ? undefined : state.pax.get('size');
  const sizeBytes = sizeText === undefined ? readNumber(block, 124, 12) : Number(sizeText);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw refused('a size is no number');
  state.left = sizeBytes;
  state.padding = tarPadding(sizeBytes).length;
  if (isAbout) {
    if (sizeBytes > headMaxBytes) throw refused(`a header of ${sizeBytes} bytes is longer than ${headMaxBytes}`);
    state.gather = { flag, pieces: [] };
    return;
  }
  const entry = entryOf(state, block, { flag, sizeBytes });
  state.pax = new Map();
  // Links and directories have no data, whatever they say.
  if (entry.kind !== 'file' && entry.kind !== 'other') [state.left, state.padding] = [0, 0];
  state.sink.entry(entry);
}

function entryOf(
  { pax }: Parsing,
  block: Buffer,
  { flag, sizeBytes }: { readonly flag: string; readonly sizeBytes: number },
): TarEntry {
  const prefix = readText(block, 257, 5) === 'ustar' && block[262] === 0 ? readText(block, 345, 155) : '';
  const short = prefix === '' ? readText(block, 0, 100) : `${prefix}/${readText(block, 0, 100)}`;
  const name = pax.get('path') ?? short;
  const target = pax.get('linkpath') ?? readText(block, 157, 100);
  if (name.length > nameMaxBytes || target.length > nameMaxBytes)
    throw refused(`a name is longer than ${nameMaxBytes}`);
  const number = (key: string, at: number): number => Number(pax.get(key) ?? readNumber(block, at, 8));
  return {
    kind: kindOf(flag, name),
    name: name.replace(/\/+$/, ''),
    target,
    sizeBytes,
    mode: readNumber(block, 100, 8) & 0o7777,
    uid: number('uid', 108),
    gid: number('gid', 116),
    modifiedMs: Math.round(Number(pax.get('mtime') ?? readNumber(block, 136, 12)) * 1_000),
  };
}

function kindOf(flag: string, name: string): TarKind {
  if (flag === '0' || flag === '\0' || flag === '7') return name.endsWith('/') ? 'directory' : 'file';
  return flag === '5' ? 'directory' : flag === '2' ? 'symlink' : flag === '1' ? 'link' : 'other';
}

function endGather(state: Parsing): void {
  const { flag, pieces } = state.gather ?? { flag: '', pieces: [] };
  state.gather = undefined;
  const text = Buffer.concat(pieces).toString('latin1');
  if (flag === 'L') state.pax.set('path', text.replace(/\0.*$/s, ''));
  else if (flag === 'K') state.pax.set('linkpath', text.replace(/\0.*$/s, ''));
  else if (flag === 'x') for (const [key, value] of readPax(text)) state.pax.set(key, value);
}

function* readPax(text: string): Generator<readonly [string, string]> {
  for (let at = 0; at < text.length; ) {
    const size = /^(\d{1,7}) /.exec(text.slice(at, at + 8))?.[1];
    const record = size === undefined ? '' : text.slice(at + size.length + 1, at + Number(size) - 1);
    const equals = record.indexOf('=');
    if (size === undefined || Number(size) === 0 || equals < 0) throw refused('a pax header is damaged');
    yield [record.slice(0, equals), record.slice(equals + 1)];
    at += Number(size);
  }
}

function readText(block: Buffer, at: number, width: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end < 0 || end > at + width ? at + width : end);
}

/** Octal, or GNU's binary form for large ones. */
function readNumber(block: Buffer, at: number, width: number): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return block.subarray(at + 1, at + width).reduce((value, byte) => value * 256 + byte, 0);
  const text = readText(block, at, width).trim();
  return text === '' ? 0 : /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
}
