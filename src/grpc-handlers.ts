/**
 * Whole services as values: each handler wrapped in the same way, and the call of the same name on another machine. Types are
 * lost on the way and come back at the end: what goes in and what comes out is the same service.
 *
 * Used through grpc.ts. Not here: what is wrapped around (daemon/control-route.ts, control-once.ts).
 */
import type { Services } from './gen/services.js';
import type { CallContext, CallOptions, Calls, Handlers } from './grpc.js';
import { serviceDefinition } from './grpc.js';
import type { Wire } from './wire.js';

/** A handler of any shape: a promise for a unary call, an async iterable for a stream of answers. */
export type AnyHandler = (request: unknown, context: CallContext) => unknown;

export interface AnyMethod<Name extends keyof Services> {
  readonly name: keyof Handlers<Services[Name]>;
  /** "/covey.v1.Control/ListNodes" and the like. */
  readonly path: string;
  readonly handler: AnyHandler;
  /** The caller sends a stream; it gets one. */
  readonly sendsStream: boolean;
  readonly getsStream: boolean;
}

export function mapHandlers<Name extends keyof Services>(
  service: { readonly name: Name; readonly wire: Wire; readonly handlers: Handlers<Services[Name]> },
  wrap: (method: AnyMethod<Name>) => AnyHandler,
): Handlers<Services[Name]> {
  const definition = serviceDefinition(service.wire, service.name);
  const wrapped = Object.entries(service.handlers).map(([name, handler]) => {
    const { path = '', requestStream = false, responseStream = false } = definition[name] ?? {};
    const method = {
      name: name as keyof Handlers<Services[Name]>,
      path,
      handler: handler as AnyHandler,
      sendsStream: requestStream,
      getsStream: responseStream,
    };
    return [name, wrap(method)];
  });
  return Object.fromEntries(wrapped) as Handlers<Services[Name]>;
}

/** What is called on another machine: in the shape that the method has. */
export interface Remote {
  readonly unary: (request: unknown, options: CallOptions) => Promise<unknown>;
  readonly stream: (request: unknown, options: CallOptions) => AsyncIterable<unknown>;
}

/** The call of that name. What a caller sends as a stream is passed on until either side ends. */
export function remoteOf<Name extends keyof Services>(calls: Calls<Services[Name]>, method: AnyMethod<Name>): Remote {
  const call = calls[method.name as keyof typeof calls] as unknown;
  return {
    unary: call as Remote['unary'],
    stream: (request, options) => {
      if (!method.sendsStream) return (call as Remote['stream'])(request, options);
      const duplex = (call as (options: CallOptions) => AnyDuplex)(options);
      // Not waited for: it ends with either side, and what fails shows in the answers.
      void passOn(request as AsyncIterable<unknown>, duplex);
      return duplex;
    },
  };
}

interface AnyDuplex extends AsyncIterable<unknown> {
  readonly send: (message: unknown) => Promise<void>;
  readonly end: () => void;
}

async function passOn(from: AsyncIterable<unknown>, to: AnyDuplex): Promise<void> {
  try {
    for await (const message of from) await to.send(message);
  } catch {
    // The side that broke tells its own reader.
  }
  to.end();
}
