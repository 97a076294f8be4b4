/**
 * gRPC over a session: a service as functions that return promises and async iterables, as grpc-client.ts makes them over
 * grpc-js, for a program that lives for one call.
 *
 * Keeps true: a call ends once, with its answer, the error that the other side sent, or `gone` when the connection ended; one
 * whose signal is aborted ends at once. A reader that stops taking stops the sender.
 *
 * Not here: HTTP/2 (session.ts), the connection (client.ts).
 */
import { type Channel, openChannel } from '../../channel.js';
import { asCoveyError, CoveyError } from '../../errors.js';
import methods from '../../gen/methods.json' with { type: 'json' };
import type { Services } from '../../gen/services.js';
import type { Messages } from '../../gen/types.js';
import type { CallOptions, Calls, Duplex } from '../../grpc.js';
import { errorOfStatus, problemKey, statusCodes } from '../../grpc-status.js';
import type { Clock, Timer } from '../../host.js';
import type { Wire, WireType } from '../../wire.js';
import type { Header } from './hpack.js';
import { openAssembler } from './messages.js';
import type { EndReason, Session, Stream } from './session.js';

export interface CallParts {
  readonly session: Session;
  readonly wire: Wire;
  readonly clock: Clock;
  /** The error of a call that was given up, or whose connection ended with an error. */
  readonly gone: (error?: Error) => CoveyError;
}

interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly request: string;
  readonly response: string;
}

/** A message as it is before it is known which. */
type Message = Messages[keyof Messages];

export function makeCalls<Name extends keyof Services>(parts: CallParts, name: Name): Calls<Services[Name]> {
  const described: Readonly<Record<string, Method>> = methods[name];
  const calls = Object.entries(described).map(([method, definition]) => [method, makeCall(parts, definition)]);
  return Object.fromEntries(calls);
}

function makeCall(parts: CallParts, method: Method): unknown {
  if (method.requestStream) return (options: CallOptions) => callBidi(parts, method, options);
  return method.responseStream
    ? (request: Message, options: CallOptions) => callServerStream(parts, method, { request, ...options })
    : (request: Message, options: CallOptions) => callUnary(parts, method, { request, ...options });
}

interface Asked extends CallOptions {
  readonly request: Message;
}

async function callUnary(parts: CallParts, method: Method, { request, ...options }: Asked): Promise<Message> {
  options.signal.throwIfAborted();
  using call = startCall(parts, method, options);
  await call.send(request).catch(() => undefined); // the answer tells why
  call.finish();
  let answer: Message | undefined;
  for await (const message of call.messages()) answer ??= message;
  if (answer === undefined) throw new CoveyError('internal', 'Cannot read an answer: there is none');
  return answer;
}

async function* callServerStream(
  parts: CallParts,
  method: Method,
  { request, ...options }: Asked,
): AsyncGenerator<Message> {
  options.signal.throwIfAborted();
  using call = startCall(parts, method, options);
  await call.send(request).catch(() => undefined);
  call.finish();
  yield* call.messages();
}

function callBidi(parts: CallParts, method: Method, options: CallOptions): Duplex<Message, Message> {
  const call = startCall(parts, method, options);
  return {
    send: call.send,
    end: call.finish,
    cancel: call.cancel,
    [Symbol.asyncIterator]: async function* () {
      using _ended = call;
      yield* call.messages();
    },
  };
}

interface Call extends Disposable {
  readonly send: (message: Message) => Promise<void>;
  readonly finish: () => void;
  readonly cancel: () => void;
  /** Until the call has ended well; throws when it ended otherwise. */
  readonly messages: () => AsyncGenerator<Message>;
}

interface Arrived {
  readonly message: Message;
  readonly taken: () => void;
}

const messageMaxBytes = 64 * 1024 * 1024;

function startCall(parts: CallParts, method: Method, options: CallOptions): Call {
  const { session, wire, clock } = parts;
  const request = codecOf(wire, method.request);
  const response = codecOf(wire, method.response);
  const arrived: Channel<Arrived> = openChannel(Number.POSITIVE_INFINITY);
  const assembler = openAssembler(messageMaxBytes);
  const headers = new Map<string, string>();
  let failure: CoveyError | undefined;
  let timer: Timer | undefined;
  const settle = (error: CoveyError | undefined): void => {
    timer?.cancel();
    options.signal.removeEventListener('abort', abort);
    failure ??= error;
    if (error === undefined) arrived.close();
    else arrived.fail(error);
  };
  const giveUp = (error: CoveyError): void => {
    stream.cancel();
    settle(error);
  };
  const abort = (): void => giveUp(asCoveyError(options.signal.reason));
  /** Of a message that is not whole yet: only for a reader that waits for it. */
  const giveBack = (): void => {
    if (arrived.length() === 0) stream.taken(assembler.unfinished());
  };
  const take = (bytes: Buffer): void => {
    for (const { message, owed } of assembler.add(bytes))
      arrived.push({ message: response.decode(message), taken: () => stream.taken(owed) });
    giveBack();
  };
  const stream: Stream = session.open(headersOf(method, options), {
    onHeaders: more => {
      for (const [name, value] of more) headers.set(name, value);
    },
    onData: bytes => {
      try {
        take(bytes);
      } catch (error) {
        giveUp(asCoveyError(error));
      }
    },
    onEnd: reason => settle(errorOfEnd(reason, headers, parts)),
  });
  options.signal.addEventListener('abort', abort, { once: true });
  const { timeoutMs } = options;
  if (timeoutMs !== undefined) timer = clock.after(timeoutMs, () => giveUp(lateError(timeoutMs)));
  if (options.signal.aborted) abort();
  return {
    send: message =>
      stream.write(frameMessage(request.encode(message))).catch((error: unknown) => {
        throw failure ?? new CoveyError('internal', 'Cannot send: the call has ended', { cause: error });
      }),
    finish: stream.finish,
    cancel: () => giveUp(new CoveyError('cancelled', 'Cannot go on: cancelled')),
    messages: async function* () {
      for await (const { message, taken } of arrived) {
        if (options.signal.aborted) break;
        yield message;
        taken();
        giveBack();
      }
      if (failure !== undefined) throw failure;
    },
    [Symbol.dispose]: () => {
      stream.cancel(); // nothing when it has ended
      settle(undefined);
    },
  };
}

function codecOf(wire: Wire, name: string): WireType<Message> {
  return wire.type(name as keyof Messages) as WireType<Message>;
}

function lateError(timeoutMs: number): CoveyError {
  return new CoveyError('timeout', 'Cannot get an answer in time', { state: `none within ${timeoutMs} ms` });
}

function headersOf({ path }: Method, { timeoutMs, metadata = {} }: CallOptions): readonly Header[] {
  return [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['te', 'trailers'],
    ['content-type', 'application/grpc'],
    ...(timeoutMs === undefined ? [] : [['grpc-timeout', `${Math.ceil(timeoutMs)}m`] as const]),
    ...Object.entries(metadata).map(([name, value]) => [name.toLowerCase(), value] as const),
  ];
}

const frameHeadBytes = 5;

function frameMessage(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(frameHeadBytes + message.length);
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, frameHeadBytes);
  return frame;
}

/** Codes of HTTP/2 with which a connection's end or a server's stop reaches a stream: no error, refused, cancelled. */
const goneCodes: readonly number[] = [0, 7, 8];

function errorOfEnd(
  reason: EndReason | undefined,
  headers: ReadonlyMap<string, string>,
  { wire, gone }: CallParts,
): CoveyError | undefined {
  if (reason?.kind === 'gone') return gone(reason.error);
  if (reason?.kind === 'reset') {
    if (goneCodes.includes(reason.code)) return gone();
    return new CoveyError('internal', `Cannot go on: the other side gave the call up (HTTP/2 code ${reason.code})`);
  }
  const text = headers.get('grpc-status');
  const status = headers.get(':status');
  if (text === undefined) return new CoveyError('internal', `Cannot read an answer: HTTP status ${status}, no gRPC`);
  const code = Number(text);
  if (code === statusCodes.ok) return undefined;
  const problem = headers.get(problemKey);
  if (code === statusCodes.unavailable && problem === undefined) return gone();
  return errorOfStatus(
    {
      code,
      details: decodeDetails(headers.get('grpc-message') ?? ''),
      problem: problem === undefined ? undefined : Buffer.from(problem, 'base64'),
    },
    wire,
  );
}

function decodeDetails(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
