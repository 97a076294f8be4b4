/**
 * One header block of a tar archive, both ways: parse (V7, ustar, GNU, star) and render (ustar, with GNU's long names and big
 * numbers, and a pax header where only that can say it). Pure.
 *
 * Names are kept as "latin1" texts, one character a byte: file names are bytes, and must come out as they went in.
 *
 * Not here: the order of blocks and extended headers while reading (tar-reader.ts).
 */
import { Buffer } from 'node:buffer';

export const blockBytes = 512;

export type TarKind = 'file' | 'hard-link' | 'symlink' | 'char-device' | 'block-device' | 'directory' | 'fifo';

export interface TarEntry {
  readonly kind: TarKind;
  /** As written: may begin with "/" or "./", may hold "..". */
  readonly path: string;
  /** Of links. */
  readonly target: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970 in decimals, with or without a fraction. */
  readonly modified: string;
  /** Of the data that follow; 0 for all but files. */
  readonly sizeBytes: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/** The fields of a block before extended headers are applied to them. */
export interface TarHeader {
  readonly type: string;
  readonly path: string;
  readonly target: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedSeconds: number;
  readonly sizeBytes: number;
  readonly major: number;
  readonly minor: number;
}

/** What is wrong with a block, in words that follow "the header at byte N". */
export class TarHeaderError extends Error {}

const numberField: Readonly<Record<string, readonly [at: number, bytes: number]>> = {
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  'time of change': [136, 12],
  'device major': [329, 8],
  'device minor': [337, 8],
};

export function isZeroBlock(block: Uint8Array): boolean {
  return block.every(byte => byte === 0);
}

export function parseHeader(block: Buffer): TarHeader {
  checkSum(block);
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const isStar = isUstar && block.toString('latin1', 508, 512) === 'tar\0';
  const prefix = isUstar ? textAt(block, 345, isStar ? 131 : 155) : '';
  const name = textAt(block, 0, 100);
  const type = String.fromCharCode(block[156] ?? 0);
  const isDevice = type === '3' || type === '4';
  return {
    type,
    path: prefix === '' ? name : `${prefix}/${name}`,
    target: textAt(block, 157, 100),
    mode: numberAt(block, 'mode') & 0o7777,
    uid: numberAt(block, 'uid'),
    gid: numberAt(block, 'gid'),
    modifiedSeconds: numberAt(block, 'time of change'),
    sizeBytes: numberAt(block, 'size'),
    major: isDevice ? numberAt(block, 'device major') : 0,
    minor: isDevice ? numberAt(block, 'device minor') : 0,
  };
}

function checkSum(block: Buffer): void {
  const wanted = octal(block.toString('latin1', 148, 156));
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < blockBytes; at += 1) {
    const byte = at >= 148 && at < 156 ? 32 : (block[at] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  // Some old writers summed signed characters.
  if (wanted !== unsigned && wanted !== signed) throw new TarHeaderError('has a wrong checksum');
}

function textAt(block: Buffer, at: number, bytes: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end < 0 || end > at + bytes ? at + bytes : end);
}

function numberAt(block: Buffer, what: keyof typeof numberField): number {
  const [at, bytes] = numberField[what] ?? [0, 0];
  const first = block[at] ?? 0;
  const value =
    first >= 0x80 ? binary(block.subarray(at, at + bytes)) : octal(block.toString('latin1', at, at + bytes));
  if (value === undefined || !Number.isSafeInteger(value)) throw new TarHeaderError(`has no number as its ${what}`);
  return value;
}

/** undefined when the field holds something else. Empty is 0, as all readers take it. */
function octal(field: string): number | undefined {
  const text = field.replace(/^[ \0]+/, '').replace(/[ \0].*$/s, '');
  if (text === '') return 0;
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

/** GNU's form of numbers that octal digits cannot hold: big-endian, the top bit set, 0xff first when negative. */
function binary(field: Uint8Array): number {
  const isNegative = field[0] === 0xff;
  let value = isNegative ? -1n : BigInt((field[0] ?? 0) & 0x7f);
  for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
  return Number(value);
}

const typeOf: Readonly<Record<TarKind, string>> = {
  file: '0',
  'hard-link': '1',
  symlink: '2',
  'char-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
};

/** All blocks that stand before the data of the entry. */
export function renderEntry(entry: TarEntry): Buffer {
  const parts: Buffer[] = [];
  const whole = /^\d+$/.test(entry.modified);
  const records = [...entry.xattrs].map(([name, value]) => paxRecord(`SCHILY.xattr.${name}`, value));
  if (!whole) records.push(paxRecord('mtime', Buffer.from(entry.modified, 'latin1')));
  if (records.length > 0) parts.push(extra('x', './pax', Buffer.concat(records)));
  // GNU's long names and not pax: pax names are UTF-8, and a file name need not be.
  if (entry.target.length > 100) parts.push(extra('K', './@LongLink', terminated(entry.target)));
  if (entry.path.length > 100) parts.push(extra('L', './@LongLink', terminated(entry.path)));
  parts.push(renderBlock(entry, typeOf[entry.kind], whole ? Number(entry.modified) : 0));
  return parts.length === 1 ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts);
}

/** Zero bytes that fill the last block of data. */
export function paddingBytes(sizeBytes: number): number {
  return (blockBytes - (sizeBytes % blockBytes)) % blockBytes;
}

function terminated(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'latin1');
}

function extra(type: string, path: string, data: Buffer): Buffer {
  const block = renderBlock({ ...nothing, path, sizeBytes: data.length }, type, 0);
  return Buffer.concat([block, data, Buffer.alloc(paddingBytes(data.length))]);
}

const nothing: TarEntry = {
  kind: 'file',
  path: '',
  target: '',
  mode: 0o600,
  uid: 0,
  gid: 0,
  modified: '0',
  sizeBytes: 0,
  major: 0,
  minor: 0,
  xattrs: new Map(),
};

function renderBlock(entry: TarEntry, type: string, seconds: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  block.write(entry.path.slice(0, 100), 0, 'latin1');
  writeNumber(block, 'mode', entry.mode);
  writeNumber(block, 'uid', entry.uid);
  writeNumber(block, 'gid', entry.gid);
  writeNumber(block, 'size', entry.sizeBytes);
  writeNumber(block, 'time of change', seconds);
  block.write(type, 156, 'latin1');
  block.write(entry.target.slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  writeNumber(block, 'device major', entry.major);
  writeNumber(block, 'device minor', entry.minor);
  block.fill(32, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function writeNumber(block: Buffer, what: keyof typeof numberField, value: number): void {
  const [at, bytes] = numberField[what] ?? [0, 0];
  const digits = value.toString(8);
  if (digits.length < bytes) {
    block.write(`${digits.padStart(bytes - 1, '0')}\0`, at, 'latin1');
    return;
  }
  block.writeBigUInt64BE(BigInt(value), at + bytes - 8);
  block[at] = (block[at] ?? 0) | 0x80;
}

/** "len key=value\n", where len counts itself. */
function paxRecord(key: string, value: Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}
