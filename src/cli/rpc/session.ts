/**
 * The client's half of HTTP/2 over one connection, as far as gRPC needs it: requests are streams, each with flow control in both
 * directions. It loads in a millisecond; node:http2 brings TLS and HTTP/1 and takes longer than most calls.
 *
 * Keeps true: what the reader of a stream has not taken stops its sender at the window; a stream ends once, with or without an
 * error; what breaks the protocol ends the connection and says how.
 *
 * Not here: frames and header blocks (frames.ts, hpack.ts), messages (calls.ts), the socket (console.ts).
 */
import type { Duplex } from 'node:stream';
import {
  contentOf,
  decodeSettings,
  encodeFrame,
  encodeNumber,
  encodeSettings,
  type Frame,
  flags,
  frameTypes,
  openFrameReader,
  payloadMaxBytes,
  preface,
  settings,
} from './frames.js';
import { encodeHeaders, type Header, openHeaderDecoder } from './hpack.js';

/** What happens to a stream. Nothing happens after its end. */
export interface StreamEvents {
  readonly onHeaders: (headers: readonly Header[]) => void;
  readonly onData: (bytes: Buffer) => void;
  /** Whole (undefined), or why not. */
  readonly onEnd: (reason: EndReason | undefined) => void;
}

export type EndReason =
  /** The other side gave the stream up, with a code of HTTP/2. */
  | { readonly kind: 'reset'; readonly code: number }
  /** The connection has ended. */
  | { readonly kind: 'gone'; readonly error: Error };

export interface Stream {
  /** Resolves when the connection has taken all; rejects when the stream ended before. */
  readonly write: (bytes: Uint8Array) => Promise<void>;
  /** Nothing more is written. */
  readonly finish: () => void;
  /** Gives the stream up; `onEnd` is not called. */
  readonly cancel: () => void;
  /** The reader has taken so many bytes: the sender may go on. */
  readonly taken: (bytes: number) => void;
}

export interface Session {
  /** The other side speaks HTTP/2; rejects when the connection ends before. */
  readonly greeted: Promise<void>;
  readonly open: (headers: readonly Header[], events: StreamEvents) => Stream;
  /** What is under way ends with that error. */
  readonly close: (error?: Error) => void;
}

interface Outgoing {
  readonly bytes: Uint8Array;
  at: number;
  readonly done: (error?: Error) => void;
}

interface StreamState {
  readonly id: number;
  readonly events: StreamEvents;
  readonly queue: Outgoing[];
  /** Bytes that may still be sent. */
  window: number;
  /** Bytes taken by the reader and not yet given back. */
  owed: number;
  finishing: boolean;
  finished: boolean;
  ended: boolean;
}

interface SessionState {
  readonly socket: Duplex;
  readonly streams: Map<number, StreamState>;
  readonly read: (bytes: Buffer) => readonly Frame[];
  readonly decode: (block: Buffer) => readonly Header[];
  readonly greet: (error?: Error) => void;
  nextId: number;
  window: number;
  streamWindow: number;
  /** Of the whole connection, not yet given back. */
  owed: number;
  /** A header block that goes on in the next frame. */
  block: { readonly stream: number; readonly parts: Buffer[]; readonly ends: boolean } | undefined;
  gone: Error | undefined;
}

const firstWindow = 65_535;
const windowMax = 2 ** 31 - 1;
const ourWindow = 4 * 2 ** 20;
/** Windows are given back in pieces of this size. */
const giveBackBytes = 2 ** 18;
const blockMaxBytes = 2 ** 18;
const cancelCode = 8;
const noErrorCode = 0;

export function openSession(socket: Duplex): Session {
  const greeting = Promise.withResolvers<void>();
  greeting.promise.catch(() => undefined); // whoever asks is told
  const state: SessionState = {
    socket,
    streams: new Map(),
    read: openFrameReader(),
    decode: openHeaderDecoder(),
    greet: error => (error === undefined ? greeting.resolve() : greeting.reject(error)),
    nextId: 1,
    window: firstWindow,
    streamWindow: firstWindow,
    owed: 0,
    block: undefined,
    gone: undefined,
  };
  socket.on('data', (bytes: Buffer) => receive(state, bytes));
  socket.on('error', error => end(state, error));
  socket.on('close', () => end(state, new Error('the connection was closed')));
  const greetingSettings = encodeSettings([
    [settings.headerTableSize, 0],
    [settings.enablePush, 0],
    [settings.initialWindowSize, ourWindow],
  ]);
  const whole = encodeNumber(frameTypes.windowUpdate, windowMax - firstWindow, 0);
  socket.write(Buffer.concat([preface, greetingSettings, whole]));
  return {
    greeted: greeting.promise,
    open: (headers, events) => openStream(state, headers, events),
    close: error => {
      end(state, error ?? new Error('the connection was closed'));
      socket.destroy();
    },
  };
}

function openStream(state: SessionState, headers: readonly Header[], events: StreamEvents): Stream {
  const stream: StreamState = {
    id: state.nextId,
    events,
    queue: [],
    window: state.streamWindow,
    owed: 0,
    finishing: false,
    finished: false,
    ended: false,
  };
  state.nextId += 2;
  if (state.gone !== undefined) {
    stream.ended = true;
    const error = state.gone;
    queueMicrotask(() => events.onEnd({ kind: 'gone', error }));
  } else {
    state.streams.set(stream.id, stream);
    sendHeaders(state, stream.id, encodeHeaders(headers));
  }
  return {
    write: bytes =>
      new Promise((resolve, reject) => {
        if (stream.ended || stream.finishing) return reject(new Error('the stream has ended'));
        stream.queue.push({ bytes, at: 0, done: error => (error === undefined ? resolve() : reject(error)) });
        pump(state, stream);
      }),
    finish: () => {
      stream.finishing = true;
      pump(state, stream);
    },
    cancel: () => {
      if (stream.ended) return;
      state.socket.write(encodeNumber(frameTypes.resetStream, cancelCode, stream.id));
      forget(state, stream);
    },
    taken: bytes => giveBack(state, stream, bytes),
  };
}

function sendHeaders(state: SessionState, stream: number, block: Buffer): void {
  for (let at = 0; at === 0 || at < block.length; at += payloadMaxBytes) {
    const isLast = at + payloadMaxBytes >= block.length;
    const type = at === 0 ? frameTypes.headers : frameTypes.continuation;
    const piece = block.subarray(at, at + payloadMaxBytes);
    state.socket.write(encodeFrame(type, piece, { stream, flags: isLast ? flags.endsHeaders : 0 }));
  }
}

/** Sends what the windows let through. */
function pump(state: SessionState, stream: StreamState): void {
  if (stream.ended || stream.finished) return;
  state.socket.cork();
  for (let next = stream.queue[0]; next !== undefined; next = stream.queue[0]) {
    const left = next.bytes.length - next.at;
    const length = Math.min(left, payloadMaxBytes, stream.window, state.window);
    if (length <= 0 && left > 0) break;
    const piece = next.bytes.subarray(next.at, next.at + length);
    next.at += length;
    stream.window -= length;
    state.window -= length;
    const isDone = next.at >= next.bytes.length;
    if (isDone) stream.queue.shift();
    const { done } = next;
    const frame = encodeFrame(frameTypes.data, piece, { stream: stream.id });
    state.socket.write(frame, isDone ? error => done(error ?? undefined) : undefined);
  }
  if (stream.finishing && stream.queue.length === 0) {
    stream.finished = true;
    const { id } = stream;
    state.socket.write(encodeFrame(frameTypes.data, Buffer.alloc(0), { stream: id, flags: flags.endsStream }));
  }
  state.socket.uncork();
}

function giveBack(state: SessionState, stream: StreamState, bytes: number): void {
  if (state.gone !== undefined) return;
  state.owed += bytes;
  if (state.owed >= giveBackBytes) {
    state.socket.write(encodeNumber(frameTypes.windowUpdate, state.owed, 0));
    state.owed = 0;
  }
  stream.owed += bytes;
  if (stream.ended || stream.owed < giveBackBytes) return;
  state.socket.write(encodeNumber(frameTypes.windowUpdate, stream.owed, stream.id));
  stream.owed = 0;
}

function receive(state: SessionState, bytes: Buffer): void {
  if (state.gone !== undefined) return;
  try {
    for (const frame of state.read(bytes)) take(state, frame);
  } catch (error) {
    end(state, new Error(`no HTTP/2: ${error instanceof Error ? error.message : String(error)}`));
    state.socket.destroy();
  }
}

function take(state: SessionState, frame: Frame): void {
  if (state.block !== undefined && (frame.type !== frameTypes.continuation || frame.stream !== state.block.stream))
    throw new Error('a header block that is interrupted');
  takers.get(frame.type)?.(state, frame); // those without one: priorities, and what later versions add
}

const takers: ReadonlyMap<number, (state: SessionState, frame: Frame) => void> = new Map([
  [frameTypes.data, takeData],
  [frameTypes.headers, takeHeaders],
  [frameTypes.continuation, (state, frame) => takeBlock(state, frame, frame.payload)],
  [frameTypes.settings, takeSettings],
  [frameTypes.windowUpdate, takeWindow],
  [frameTypes.resetStream, takeReset],
  [frameTypes.ping, takePing],
  [frameTypes.goAway, takeGoAway],
  [frameTypes.pushPromise, refusePush],
]);

function takeHeaders(state: SessionState, frame: Frame): void {
  state.block = { stream: frame.stream, parts: [], ends: (frame.flags & flags.endsStream) !== 0 };
  takeBlock(state, frame, contentOf(frame));
}

function takeReset(state: SessionState, frame: Frame): void {
  const stream = state.streams.get(frame.stream);
  if (stream !== undefined) endStream(state, stream, { kind: 'reset', code: frame.payload.readUInt32BE(0) });
}

function takePing(state: SessionState, frame: Frame): void {
  if ((frame.flags & flags.acknowledges) !== 0) return;
  state.socket.write(encodeFrame(frameTypes.ping, frame.payload, { flags: flags.acknowledges }));
}

function refusePush(): void {
  throw new Error('a push that was not allowed');
}

function takeSettings(state: SessionState, frame: Frame): void {
  if ((frame.flags & flags.acknowledges) !== 0) return;
  for (const [id, value] of decodeSettings(frame.payload)) {
    if (id !== settings.initialWindowSize) continue;
    for (const stream of state.streams.values()) stream.window += value - state.streamWindow;
    state.streamWindow = value;
  }
  state.socket.write(encodeFrame(frameTypes.settings, Buffer.alloc(0), { flags: flags.acknowledges }));
  state.greet();
  for (const stream of state.streams.values()) pump(state, stream);
}

function takeBlock(state: SessionState, frame: Frame, piece: Buffer): void {
  const { block } = state;
  if (block === undefined) throw new Error('a header block without its beginning');
  block.parts.push(piece);
  if (block.parts.reduce((sum, part) => sum + part.length, 0) > blockMaxBytes)
    throw new Error(`headers of more than ${blockMaxBytes} bytes`);
  if ((frame.flags & flags.endsHeaders) === 0) return;
  state.block = undefined;
  const headers = state.decode(Buffer.concat(block.parts));
  const stream = state.streams.get(block.stream);
  if (stream === undefined) return;
  stream.events.onHeaders(headers);
  if (block.ends) endStream(state, stream, undefined);
}

function takeData(state: SessionState, frame: Frame): void {
  const stream = state.streams.get(frame.stream);
  const content = contentOf(frame);
  if (stream === undefined) {
    // Of a stream that was given up: it counts for the connection all the same.
    state.owed += frame.payload.length;
    return;
  }
  // Nobody takes the padding.
  if (content.length < frame.payload.length) giveBack(state, stream, frame.payload.length - content.length);
  if (content.length > 0) stream.events.onData(content);
  if ((frame.flags & flags.endsStream) !== 0) endStream(state, stream, undefined);
}

function takeWindow(state: SessionState, frame: Frame): void {
  const more = frame.payload.readUInt32BE(0) & windowMax;
  if (frame.stream === 0) {
    state.window += more;
    for (const stream of state.streams.values()) pump(state, stream);
    return;
  }
  const stream = state.streams.get(frame.stream);
  if (stream === undefined) return;
  stream.window += more;
  pump(state, stream);
}

/** Streams that the other side has not seen and will not see end; the others go on. */
function takeGoAway(state: SessionState, frame: Frame): void {
  const last = frame.payload.readUInt32BE(0) & windowMax;
  const error = new Error(`the other side ends the connection (code ${frame.payload.readUInt32BE(4)})`);
  for (const stream of state.streams.values()) if (stream.id > last) endStream(state, stream, { kind: 'gone', error });
}

/** Out of the tables; what waits to be written is refused. */
function forget(state: SessionState, stream: StreamState): void {
  stream.ended = true;
  state.streams.delete(stream.id);
  for (const { done } of stream.queue.splice(0)) done(new Error('the stream has ended'));
}

function endStream(state: SessionState, stream: StreamState, reason: EndReason | undefined): void {
  if (stream.ended) return;
  // Answered before we had finished asking: there is nothing more to say.
  if (reason === undefined && !stream.finished)
    state.socket.write(encodeNumber(frameTypes.resetStream, noErrorCode, stream.id));
  forget(state, stream);
  stream.events.onEnd(reason);
}

function end(state: SessionState, error: Error): void {
  if (state.gone !== undefined) return;
  state.gone = error;
  state.greet(error);
  for (const stream of [...state.streams.values()]) endStream(state, stream, { kind: 'gone', error });
}
