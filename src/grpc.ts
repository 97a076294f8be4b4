/**
 * Typed gRPC on top of grpc-js: servers are plain objects of functions over domain types, clients are functions that return
 * promises and async iterables. Errors cross as Problem in the trailer `covey-problem-bin`, so that code, state and hint
 * survive. Streams respect back-pressure in both directions.
 *
 * The server's half; grpc-client.ts is the other, grpc-handlers.ts wraps whole services.
 *
 * Not here: who may call (daemon/rpc), addresses and redialling (the owner of the client), codecs (wire.ts).
 */
import type { Readable } from 'node:stream';
import grpc from '@grpc/grpc-js';
import { asCoveyError, CoveyError, codeOf, toProblem } from './errors.js';
import methods from './gen/methods.json' with { type: 'json' };
import type { Services } from './gen/services.js';
import type { Messages } from './gen/types.js';
import { problemKey } from './grpc-status.js';
import type { Wire } from './wire.js';

export interface Method {
  readonly shape: 'unary' | 'serverStream' | 'clientStream' | 'bidi';
  readonly request: unknown;
  readonly response: unknown;
}

/** Who calls, as the connection proves it. */
export type Caller =
  | { readonly kind: 'uid'; readonly uid: number }
  | {
      readonly kind: 'node';
      readonly nodeId: string;
      readonly clusterId: string;
      /** As the managers have it now; "removed"; empty: nothing is known of it. */
      readonly role: string;
      /** As its certificate says. */
      readonly certified?: string;
      readonly serial: string;
      /** "address:port" that it calls from. */
      readonly peer?: string;
    }
  | { readonly kind: 'anonymous'; readonly address: string };

export interface CallContext {
  readonly caller: Caller;
  /** Aborted when the caller is gone or the deadline is over. */
  readonly signal: AbortSignal;
  readonly metadata: grpc.Metadata;
  /** Names the change that is asked for, so that asking again does it once. */
  readonly once?: { readonly client: string; readonly sequence: number; readonly settled: number } | undefined;
}

/** The functions of a service. */
export type Handlers<Service> = { readonly [Name in keyof Service]: Handler<Service[Name]> };

type Handler<M> = M extends { shape: 'unary'; request: infer Req; response: infer Res }
  ? (request: Req, context: CallContext) => Promise<Res>
  : M extends { shape: 'serverStream'; request: infer Req; response: infer Res }
    ? (request: Req, context: CallContext) => AsyncIterable<Res>
    : M extends { shape: 'bidi'; request: infer Req; response: infer Res }
      ? (requests: AsyncIterable<Req>, context: CallContext) => AsyncIterable<Res>
      : never;

/** The calls of a service. */
export type Calls<Service> = { readonly [Name in keyof Service]: Call<Service[Name]> };

export interface CallOptions {
  /** How long the whole call may take; undefined: as long as it lives. */
  readonly timeoutMs?: number | undefined;
  readonly signal: AbortSignal;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** Both halves of a stream: what to send is pushed, what comes is iterated. */
export interface Duplex<Req, Res> extends AsyncIterable<Res> {
  /** Resolves when the message was handed to the transport; rejects when the stream has ended. */
  readonly send: (message: Req) => Promise<void>;
  readonly end: () => void;
  readonly cancel: () => void;
}

type Call<M> = M extends { shape: 'unary'; request: infer Req; response: infer Res }
  ? (request: Req, options: CallOptions) => Promise<Res>
  : M extends { shape: 'serverStream'; request: infer Req; response: infer Res }
    ? (request: Req, options: CallOptions) => AsyncIterable<Res>
    : M extends { shape: 'bidi'; request: infer Req; response: infer Res }
      ? (options: CallOptions) => Duplex<Req, Res>
      : never;

/** Caller of a call, found by the server from its connection. */
export type FindCaller = (
  call:
    | grpc.ServerUnaryCall<unknown, unknown>
    | grpc.ServerWritableStream<unknown, unknown>
    | grpc.ServerDuplexStream<unknown, unknown>,
) => Caller;

/** "/covey.v1.Control/ListNodes" and the like, for every method of a service. */
export function pathsOf(service: keyof Services): readonly string[] {
  return Object.values(methodsOf(service)).map(method => method.path);
}

/** The service as grpc-js wants it, with our codecs. Keys are method names in camel case. */
export function serviceDefinition(wire: Wire, service: keyof Services): grpc.ServiceDefinition {
  const definitions = Object.entries(methodsOf(service)).map(([name, method]) => {
    const request = wire.type(method.request as keyof Messages);
    const response = wire.type(method.response as keyof Messages);
    const definition: grpc.MethodDefinition<unknown, unknown> = {
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: value => Buffer.from(request.encode(value as Messages[keyof Messages] as never)),
      requestDeserialize: bytes => request.decode(bytes),
      responseSerialize: value => Buffer.from(response.encode(value as Messages[keyof Messages] as never)),
      responseDeserialize: bytes => response.decode(bytes),
    };
    return [name, definition] as const;
  });
  return Object.fromEntries(definitions);
}

/** As proto-loader described it when it was generated (scripts/gen.mjs). */
interface DescribedMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly request: string;
  readonly response: string;
}

function methodsOf(service: keyof Services): Readonly<Record<string, DescribedMethod>> {
  return methods[service];
}

/** Adds a service to a server. Every error of a handler reaches the caller as its CoveyError. */
export function addService<Name extends keyof Services>(
  server: grpc.Server,
  name: Name,
  options: { readonly wire: Wire; readonly handlers: Handlers<Services[Name]>; readonly findCaller: FindCaller },
): void {
  const serving = { ...options, over: new CoveyError('cancelled', 'Cannot go on: the call was answered') };
  const handlers = options.handlers as unknown as Record<string, (request: never, context: CallContext) => never>;
  const definition = serviceDefinition(options.wire, name);
  const implementation: Record<string, grpc.UntypedHandleCall> = {};
  for (const [method, shape] of Object.entries(definition)) {
    const handler = handlers[method];
    if (handler === undefined) throw new CoveyError('bug', `Cannot serve ${name} without ${method}`);
    implementation[method] = shape.responseStream
      ? streamHandler(handler as never, shape.requestStream, serving)
      : unaryHandler(handler as never, serving);
  }
  server.addService(definition, implementation);
}

interface ServeOptions {
  readonly wire: Wire;
  readonly findCaller: FindCaller;
  /** What the signals of calls that were answered say; made once, because an exception costs more than the rest of a call's end. */
  readonly over: CoveyError;
}

function unaryHandler(
  handler: (request: unknown, context: CallContext) => Promise<unknown>,
  options: ServeOptions,
): grpc.handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const { context, done } = contextOf(call, options);
    const run = async (): Promise<unknown> => handler(call.request, context);
    run()
      .then(
        response => callback(null, response),
        error => callback(statusOf(error, options.wire)),
      )
      .finally(done);
  };
}

type StreamCall = grpc.ServerWritableStream<unknown, unknown> | grpc.ServerDuplexStream<unknown, unknown>;

function streamHandler(
  handler: (request: unknown, context: CallContext) => AsyncIterable<unknown>,
  requestStream: boolean,
  options: ServeOptions,
): (call: StreamCall) => void {
  return call => {
    const { context, done } = contextOf(call, options);
    const run = async (): Promise<void> => {
      const requests = requestStream
        ? readable(call as grpc.ServerDuplexStream<unknown, unknown>)
        : (call as grpc.ServerWritableStream<unknown, unknown>).request;
      for await (const message of handler(requests, context)) {
        if (context.signal.aborted) return;
        if (!call.write(message)) await drained(call, context.signal);
      }
    };
    run()
      .then(
        () => call.end(),
        error => call.emit('error', statusOf(error, options.wire)),
      )
      .finally(done);
  };
}

function drained(call: StreamCall, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const finish = (): void => {
      call.removeListener('drain', finish);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    call.once('drain', finish);
    signal.addEventListener('abort', finish, { once: true });
    if (signal.aborted) finish();
  });
}

function contextOf(call: Parameters<FindCaller>[0], options: ServeOptions): { context: CallContext; done: () => void } {
  const controller = new AbortController();
  const cancel = (): void => controller.abort(new CoveyError('cancelled', 'Cannot go on: the caller has gone'));
  const events: NodeJS.EventEmitter = call as grpc.ServerDuplexStream<unknown, unknown>;
  events.once('cancelled', cancel);
  return {
    context: { caller: options.findCaller(call), signal: controller.signal, metadata: call.metadata },
    done: () => {
      events.removeListener('cancelled', cancel);
      controller.abort(options.over);
    },
  };
}

/** Error codes that have a gRPC status of their own; all others travel as UNKNOWN with their Problem. */
const statusByCode: Readonly<Record<string, grpc.status>> = {
  cancelled: grpc.status.CANCELLED,
  timeout: grpc.status.DEADLINE_EXCEEDED,
  'not-found': grpc.status.NOT_FOUND,
  'no-certificate': grpc.status.UNAUTHENTICATED,
  'role-refused': grpc.status.PERMISSION_DENIED,
  'not-leader': grpc.status.UNAVAILABLE,
  'no-leader': grpc.status.UNAVAILABLE,
};

/** The error as the status of a call. */
export function statusOf(error: unknown, wire: Wire): Partial<grpc.StatusObject> & grpc.ServiceError {
  const own = asCoveyError(error);
  const metadata = new grpc.Metadata();
  const bytes = wire.type('Problem').encode(toProblem(own));
  // Trailers have a limit of 16 KiB in total; a chain that long is cut to its outermost error.
  metadata.set(
    problemKey,
    Buffer.from(
      bytes.length < 8_192
        ? bytes
        : wire.type('Problem').encode({ ...toProblem(own), cause: undefined, message: own.message.slice(0, 4_000) }),
    ),
  );
  return Object.assign(new Error(own.message), {
    code: statusByCode[codeOf(own)] ?? grpc.status.UNKNOWN,
    details: own.message.slice(0, 1_000).replace(/[^\x20-\x7e]/g, '?'),
    metadata,
  });
}

/** Iterating a duplex in the ordinary way would destroy its writing half at the end of the reading one. */
export function readable(call: Readable): AsyncIterable<unknown> {
  return { [Symbol.asyncIterator]: () => call.iterator({ destroyOnReturn: false }) };
}

export { makeCalls } from './grpc-client.js';
export { type AnyHandler, type AnyMethod, mapHandlers, remoteOf } from './grpc-handlers.js';
