/**
 * Reads a tar archive that arrives in pieces of any size: entries and their data go to a handler as they come, nothing is
 * kept. Pure but for the handler. Extended headers (pax, GNU long names) are applied; what readers could understand in two
 * ways (sparse files, sizes where none may be, two names for one entry) is refused, because the next reader may take it
 * otherwise.
 *
 * Not here: whether an entry may be unpacked (layer-filter.ts).
 */
import { Buffer } from 'node:buffer';
import { CoveyError, type ErrorCode } from '../../errors.js';
import {
  blockBytes,
  isZeroBlock,
  paddingBytes,
  parseHeader,
  type TarEntry,
  TarHeaderError,
  type TarKind,
} from './tar-header.js';

export interface TarHandler {
  /** An entry begins; `offset` is where its data lie in the archive. */
  readonly entry: (entry: TarEntry, offset: number) => void;
  /** A piece of the data of the entry named last. Valid during the call only if the caller reuses its buffers. */
  readonly data: (piece: Buffer) => void;
}

export interface TarReader {
  readonly push: (chunk: Buffer) => void;
  /** The archive is over. Throws when it ends in the middle; says whether its end was marked. */
  readonly finish: () => { readonly isMarked: boolean };
}

export interface TarReaderOptions {
  /** For messages: 'layer 2 of "hello.tar"'. */
  readonly what: string;
  readonly code: ErrorCode;
}

/** Of one pax header, or of a long name. */
const extendedHeaderMaxBytes = 2 ** 20;

type Phase =
  | { readonly kind: 'header' }
  | { readonly kind: 'data'; left: number; padding: number }
  | { readonly kind: 'extended'; readonly type: string; readonly pieces: Buffer[]; left: number; padding: number }
  | { readonly kind: 'end' };

/** What extended headers say about the next entry. */
interface Pending {
  readonly longPath?: string;
  readonly longTarget?: string;
  readonly pax?: ReadonlyMap<string, Buffer>;
}

interface State {
  phase: Phase;
  pending: Pending;
  /** Part of a header block that came at the end of a chunk. */
  rest: Buffer;
  offset: number;
  headerAt: number;
}

export function openTarReader(handler: TarHandler, options: TarReaderOptions): TarReader {
  const state: State = { phase: { kind: 'header' }, pending: {}, rest: Buffer.alloc(0), offset: 0, headerAt: 0 };
  const attempt = (work: () => void): void => {
    try {
      work();
    } catch (cause) {
      if (!(cause instanceof TarHeaderError)) throw cause;
      throw new CoveyError(
        options.code,
        `Cannot read ${options.what}: the header at byte ${state.headerAt} ${cause.message}`,
      );
    }
  };
  return {
    push: chunk => attempt(() => pushChunk(state, handler, chunk)),
    finish: () => {
      if (isWithin(state)) {
        throw new CoveyError(options.code, `Cannot read ${options.what}: it is cut short at byte ${state.offset}`);
      }
      return { isMarked: state.phase.kind === 'end' };
    },
  };
}

/** In the middle of an entry. Some writers (umoci) leave out the end mark, and the zeros that fill the last block. */
function isWithin(state: State): boolean {
  const { phase } = state;
  if (phase.kind === 'data' || phase.kind === 'extended') return phase.left > 0 || hasPending(state);
  return phase.kind === 'header' && (state.rest.length > 0 || hasPending(state));
}

function hasPending(state: State): boolean {
  return Object.keys(state.pending).length > 0;
}

function pushChunk(state: State, handler: TarHandler, chunk: Buffer): void {
  let at = 0;
  while (at < chunk.length) {
    const taken = takeFrom(state, handler, chunk.subarray(at));
    at += taken;
    state.offset += taken;
  }
}

/** Consumes the beginning of the piece, at least one byte of it; returns how much. */
function takeFrom(state: State, handler: TarHandler, piece: Buffer): number {
  const phase = state.phase;
  switch (phase.kind) {
    case 'end':
      return piece.length; // what follows the end mark is no part of the archive
    case 'header':
      return takeHeader(state, handler, piece);
    case 'data': {
      if (phase.left === 0) return takePadding(state, phase, piece);
      const data = piece.subarray(0, phase.left);
      handler.data(data);
      phase.left -= data.length;
      if (phase.left === 0 && phase.padding === 0) state.phase = { kind: 'header' };
      return data.length;
    }
    case 'extended': {
      if (phase.left === 0) return takePadding(state, phase, piece);
      const data = Buffer.from(piece.subarray(0, phase.left));
      phase.pieces.push(data);
      phase.left -= data.length;
      if (phase.left === 0) {
        state.pending = withExtended(state.pending, phase.type, Buffer.concat(phase.pieces));
        if (phase.padding === 0) state.phase = { kind: 'header' };
      }
      return data.length;
    }
  }
}

function takePadding(state: State, phase: { padding: number }, piece: Buffer): number {
  const taken = Math.min(phase.padding, piece.length);
  phase.padding -= taken;
  if (phase.padding === 0) state.phase = { kind: 'header' };
  return taken;
}

function takeHeader(state: State, handler: TarHandler, piece: Buffer): number {
  const taken = Math.min(blockBytes - state.rest.length, piece.length);
  const block =
    state.rest.length === 0 ? piece.subarray(0, taken) : Buffer.concat([state.rest, piece.subarray(0, taken)]);
  if (block.length < blockBytes) {
    state.rest = Buffer.from(block);
    return taken;
  }
  state.rest = Buffer.alloc(0);
  const dataAt = state.offset + taken;
  if (isZeroBlock(block)) {
    if (hasPending(state)) throw new TarHeaderError('ends the archive after an extended header');
    state.phase = { kind: 'end' };
    return taken;
  }
  if (!hasPending(state)) state.headerAt = dataAt - blockBytes;
  takeBlock(state, handler, { block, dataAt });
  return taken;
}

function takeBlock(
  state: State,
  handler: TarHandler,
  place: { readonly block: Buffer; readonly dataAt: number },
): void {
  const header = parseHeader(place.block);
  if ('xgLK'.includes(header.type)) {
    if (header.sizeBytes < 0 || header.sizeBytes > extendedHeaderMaxBytes) {
      throw new TarHeaderError(`is extended by ${header.sizeBytes} bytes; the limit is ${extendedHeaderMaxBytes}`);
    }
    const padding = paddingBytes(header.sizeBytes);
    state.phase = { kind: 'extended', type: header.type, pieces: [], left: header.sizeBytes, padding };
    if (header.sizeBytes === 0) {
      state.pending = withExtended(state.pending, header.type, Buffer.alloc(0));
      state.phase = { kind: 'header' };
    }
    return;
  }
  const entry = entryOf(header, state.pending);
  state.pending = {};
  handler.entry(entry, place.dataAt);
  const padding = paddingBytes(entry.sizeBytes);
  state.phase = entry.sizeBytes === 0 ? { kind: 'header' } : { kind: 'data', left: entry.sizeBytes, padding };
}

function withExtended(pending: Pending, type: string, data: Buffer): Pending {
  const once = (isSet: boolean): void => {
    if (isSet) throw new TarHeaderError('follows two extended headers of one kind');
  };
  switch (type) {
    case 'L':
      once(pending.longPath !== undefined);
      return { ...pending, longPath: upToZero(data) };
    case 'K':
      once(pending.longTarget !== undefined);
      return { ...pending, longTarget: upToZero(data) };
    case 'x':
      once(pending.pax !== undefined);
      return { ...pending, pax: parsePax(data) };
    default: {
      // 'g' is for all entries that follow. Comments are harmless (git writes one); the rest would need a second reader to agree.
      const other = [...parsePax(data).keys()].find(key => key !== 'comment');
      if (other !== undefined) throw new TarHeaderError(`sets "${other}" for all entries, which is not supported`);
      return pending;
    }
  }
}

function upToZero(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end < 0 ? data.length : end);
}

/** Records of "length key=value\n", where length counts the whole record. */
function parsePax(data: Buffer): ReadonlyMap<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < data.length; ) {
    const blank = data.indexOf(32, at);
    const digits = blank < 0 ? '' : data.toString('latin1', at, blank);
    const end = /^[1-9][0-9]{0,6}$/.test(digits) ? at + Number(digits) : 0;
    const equals = data.indexOf(61, blank);
    const isWhole = end > blank && end <= data.length && data[end - 1] === 10 && equals > blank + 1 && equals < end;
    if (!isWhole) throw new TarHeaderError('has a damaged pax header');
    records.set(data.toString('latin1', blank + 1, equals), data.subarray(equals + 1, end - 1));
    at = end;
  }
  return records;
}

const kinds: Readonly<Record<string, TarKind>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hard-link',
  '2': 'symlink',
  '3': 'char-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
};

function entryOf(header: ReturnType<typeof parseHeader>, pending: Pending): TarEntry {
  const pax = pending.pax ?? new Map<string, Buffer>();
  refuseSparse(header.type, pax);
  const path = nameOf(header.path, pending.longPath, pax.get('path'));
  const plain = kinds[header.type];
  if (plain === undefined) throw new TarHeaderError(`is of the unknown type ${JSON.stringify(header.type)}`);
  // Archives of before 1988 had no type for directories.
  const kind = plain === 'file' && path.endsWith('/') ? 'directory' : plain;
  const sizeBytes = numberOf(pax, 'size') ?? header.sizeBytes;
  if (sizeBytes < 0) throw new TarHeaderError('has a negative size');
  if (kind !== 'file' && sizeBytes !== 0) throw new TarHeaderError(`gives ${sizeBytes} bytes of data to a ${kind}`);
  return {
    kind,
    path,
    target:
      kind === 'symlink' || kind === 'hard-link' ? nameOf(header.target, pending.longTarget, pax.get('linkpath')) : '',
    mode: header.mode,
    uid: numberOf(pax, 'uid') ?? header.uid,
    gid: numberOf(pax, 'gid') ?? header.gid,
    modified: timeOf(pax) ?? String(header.modifiedSeconds),
    sizeBytes,
    major: header.major,
    minor: header.minor,
    xattrs: xattrsOf(pax),
  };
}

function refuseSparse(type: string, pax: ReadonlyMap<string, Buffer>): void {
  const key = [...pax.keys()].find(name => name.startsWith('GNU.sparse.') || name === 'SCHILY.realsize');
  if (type === 'S' || key !== undefined)
    throw new TarHeaderError('is that of a sparse file: make the archive without --sparse');
}

/** All that name the entry have to agree, else two readers would unpack two different things. */
function nameOf(short: string, long: string | undefined, pax: Buffer | undefined): string {
  const paxName = pax === undefined || pax.length === 0 ? undefined : pax.toString('latin1');
  if (long !== undefined && paxName !== undefined && long !== paxName)
    throw new TarHeaderError('has two different names');
  const name = paxName ?? long ?? short;
  if (name.includes('\0')) throw new TarHeaderError('has a zero byte in a name');
  return name;
}

function numberOf(pax: ReadonlyMap<string, Buffer>, key: string): number | undefined {
  const text = pax.get(key)?.toString('latin1') ?? '';
  if (text === '') return undefined;
  const value = /^-?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new TarHeaderError(`has no number as its pax ${key}`);
  return value;
}

function timeOf(pax: ReadonlyMap<string, Buffer>): string | undefined {
  const text = pax.get('mtime')?.toString('latin1') ?? '';
  if (text === '') return undefined;
  if (!/^-?[0-9]{1,15}(\.[0-9]*)?$/.test(text)) throw new TarHeaderError('has no number as its pax mtime');
  return text.replace(/\.0*$/, '');
}

function xattrsOf(pax: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Uint8Array> {
  const prefix = 'SCHILY.xattr.';
  const found = [...pax].filter(([key]) => key.startsWith(prefix));
  return new Map(found.map(([key, value]) => [key.slice(prefix.length), value]));
}
