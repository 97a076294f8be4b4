/**
 * The client's half of typed gRPC: a service over a connection as functions that return promises and async iterables.
 *
 * Used through grpc.ts. Not here: connections (daemon/rpc/client.ts, cli/client.ts).
 */
import grpc from '@grpc/grpc-js';
import { asCoveyError, CoveyError } from './errors.js';
import type { Services } from './gen/services.js';
import type { CallOptions, Calls, Duplex } from './grpc.js';
import { readable, serviceDefinition } from './grpc.js';
import { errorOfStatus, problemKey } from './grpc-status.js';
import type { Wire } from './wire.js';

/** What an error of grpc-js stands for. */
function errorFromStatus(error: unknown, wire: Wire): CoveyError {
  if (error instanceof CoveyError) return error;
  const status = error as Partial<grpc.ServiceError>;
  const problem = status.metadata?.get(problemKey)[0];
  const details = status.details ?? (error instanceof Error ? error.message : String(error));
  const bytes = problem instanceof Buffer ? problem : undefined;
  return errorOfStatus({ code: status.code, details, problem: bytes, cause: error }, wire);
}

/** The calls of a service over a connection that the caller owns (`grpc.Client`, closed by its owner). */
export function makeCalls<Name extends keyof Services>(
  client: grpc.Client,
  name: Name,
  wire: Wire,
): Calls<Services[Name]> {
  const calls: Record<string, unknown> = {};
  for (const [method, definition] of Object.entries(serviceDefinition(wire, name))) {
    if (definition.requestStream)
      calls[method] = (options: CallOptions) => callBidi(client, definition, { wire, ...options });
    else if (definition.responseStream)
      calls[method] = (request: unknown, options: CallOptions) =>
        callServerStream(client, definition, { wire, request, ...options });
    else
      calls[method] = (request: unknown, options: CallOptions) =>
        callUnary(client, definition, { wire, request, ...options });
  }
  return calls as Calls<Services[Name]>;
}

type Definition = grpc.MethodDefinition<unknown, unknown>;
type Doing = CallOptions & { readonly wire: Wire; readonly request?: unknown };

function deadlineOf(options: CallOptions): grpc.CallOptions {
  return options.timeoutMs === undefined ? {} : { deadline: new Date(Date.now() + options.timeoutMs) };
}

function metadataOf({ metadata = {} }: CallOptions): grpc.Metadata {
  const made = new grpc.Metadata();
  for (const [key, value] of Object.entries(metadata)) made.set(key, value);
  return made;
}

function callUnary(client: grpc.Client, definition: Definition, doing: Doing): Promise<unknown> {
  return new Promise((resolve, reject) => {
    if (doing.signal.aborted) return reject(asCoveyError(doing.signal.reason));
    const call = client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      doing.request,
      metadataOf(doing),
      deadlineOf(doing),
      (error, response) => {
        doing.signal.removeEventListener('abort', cancel);
        if (error)
          reject(doing.signal.aborted ? asCoveyError(doing.signal.reason) : errorFromStatus(error, doing.wire));
        else resolve(response);
      },
    );
    const cancel = (): void => call.cancel();
    doing.signal.addEventListener('abort', cancel, { once: true });
  });
}

async function* callServerStream(client: grpc.Client, definition: Definition, doing: Doing): AsyncGenerator<unknown> {
  doing.signal.throwIfAborted();
  const call = client.makeServerStreamRequest(
    definition.path,
    definition.requestSerialize,
    definition.responseDeserialize,
    doing.request,
    metadataOf(doing),
    deadlineOf(doing),
  );
  yield* iterate(call, doing);
}

async function* iterate(
  call: grpc.ClientReadableStream<unknown> | grpc.ClientDuplexStream<unknown, unknown>,
  doing: Doing,
): AsyncGenerator<unknown> {
  const cancel = (): void => call.cancel();
  doing.signal.addEventListener('abort', cancel, { once: true });
  try {
    yield* readable(call);
  } catch (error) {
    throw doing.signal.aborted ? asCoveyError(doing.signal.reason) : errorFromStatus(error, doing.wire);
  } finally {
    doing.signal.removeEventListener('abort', cancel);
    call.on('error', () => undefined); // a cancelled call still reports CANCELLED; nobody waits for that any more
    call.cancel();
  }
}

function callBidi(client: grpc.Client, definition: Definition, doing: Doing): Duplex<unknown, unknown> {
  const call = client.makeBidiStreamRequest(
    definition.path,
    definition.requestSerialize,
    definition.responseDeserialize,
    metadataOf(doing),
    deadlineOf(doing),
  );
  let failure: unknown;
  call.on('error', error => {
    failure = error;
  });
  if (doing.signal.aborted) call.cancel();
  return {
    send: message =>
      new Promise((resolve, reject) => {
        const refuse = (error: unknown): void => reject(errorFromStatus(failure ?? error, doing.wire));
        if (failure !== undefined) return refuse(failure);
        call.write(message, undefined, (error: unknown) => (error ? refuse(error) : resolve()));
      }),
    end: () => call.end(),
    cancel: () => call.cancel(),
    [Symbol.asyncIterator]: () => iterate(call, doing),
  };
}
