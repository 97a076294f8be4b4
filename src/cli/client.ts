/**
 * The connection to a daemon: gRPC over its unix socket, the services Local and Control as typed calls.
 *
 * Keeps true: a daemon that is not there, does not accept or does not greet is `no-daemon` within two seconds, with the reason;
 * so is one that goes away during a call.
 *
 * Loaded late, by context.ts: it brings grpc-js and protobufjs. Not here: retries, which no command does by itself.
 */
import grpc from '@grpc/grpc-js';
import type { Console } from '../console.js';
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { AsOf } from '../gen/types.js';
import { type Calls, type Duplex, makeCalls, mapCalls } from '../grpc.js';
import { openWire } from '../wire.js';
import { connectTimeoutMs } from './defaults.js';
import type { ReadWish } from './sight.js';

export interface Client {
  readonly control: Calls<Services['Control']>;
  readonly local: Calls<Services['Local']>;
  readonly socket: string;
  readonly close: () => void;
}

export interface OpenClientOptions {
  readonly socket: string;
  readonly console: Pick<Console, 'probeSocket'>;
  readonly signal: AbortSignal;
  readonly wish: ReadWish;
  /** An answer says that it is old. */
  readonly onAsOf: (asOf: AsOf) => Promise<void>;
}

const messageMaxBytes = 64 * 1024 * 1024;

export async function openClient(options: OpenClientOptions): Promise<Client> {
  const errno = await options.console.probeSocket(options.socket);
  if (errno !== undefined) throw socketError(options.socket, errno);
  const client = new grpc.Client(`unix:${options.socket}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': messageMaxBytes,
    'grpc.max_send_message_length': messageMaxBytes,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    // Without a proxy of the environment, and without asking a resolver.
    'grpc.enable_http_proxy': 0,
  });
  await greeted(client, options.socket);
  const wire = openWire();
  const explain = (error: unknown): unknown => (isLost(error) ? lostError(options.socket) : error);
  return {
    control: withSight(explained(makeCalls(client, 'Control', wire), explain), options),
    local: explained(makeCalls(client, 'Local', wire), explain),
    socket: options.socket,
    close: () => client.close(),
  };
}

function greeted(client: grpc.Client, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + connectTimeoutMs, error => {
      if (error === undefined) return resolve();
      client.close();
      reject(
        new CoveyError('no-daemon', 'Cannot reach coveyd', {
          state: `${socket} accepts, and nothing greets within ${connectTimeoutMs / 1000} s`,
          hint: 'systemctl status covey',
          cause: error,
        }),
      );
    });
  });
}

/** The error for the errno of connecting to the socket. */
function socketError(socket: string, errno: string): CoveyError {
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new CoveyError('no-socket-rights', 'Cannot reach coveyd', {
      state: `${socket} may not be used by this user`,
      hint: 'sudo covey …, or join the group covey',
    });
  }
  const state =
    errno === 'ENOENT'
      ? `there is no ${socket}`
      : errno === 'ECONNREFUSED'
        ? `nothing listens on ${socket}`
        : `${socket}: ${errno}`;
  return new CoveyError('no-daemon', 'Cannot reach coveyd', { state, hint: 'systemctl status covey' });
}

/** Whether the connection itself went away, as against an answer that speaks of another connection, or our own giving up. */
function isLost(error: unknown): boolean {
  if (!(error instanceof CoveyError) || error.cause === undefined || error.cause instanceof CoveyError) return false;
  return error.code === 'no-connection' || error.code === 'cancelled';
}

/** Without its cause: what gRPC calls it says less. */
function lostError(socket: string): CoveyError {
  return new CoveyError('no-daemon', 'Cannot go on: coveyd has gone away during the command', {
    state: `the connection over ${socket} broke`,
    hint: 'systemctl status covey',
  });
}

/** The calls with the wish sent along, and each answer looked at. */
function withSight<Service extends object>(
  calls: Service,
  { wish, onAsOf }: Pick<OpenClientOptions, 'wish' | 'onAsOf'>,
): Service {
  return mapCalls(calls, (call, options) => {
    const result = call(
      wish === undefined ? options : { ...options, metadata: { ...options.metadata, 'covey-read': wish } },
    );
    if (!(result instanceof Promise)) return result;
    return result.then(async (answer: { readonly asOf?: AsOf | undefined }) => {
      if (answer.asOf !== undefined) await onAsOf(answer.asOf);
      return answer;
    });
  });
}

type Explain = (error: unknown) => unknown;

/** The calls with every error passed through `explain`. */
function explained<Service extends object>(calls: Service, explain: Explain): Service {
  return mapCalls(calls, (call, options) => explainResult(call(options), explain));
}

function explainResult(result: unknown, explain: Explain): unknown {
  if (result instanceof Promise) {
    return result.catch((error: unknown) => {
      throw explain(error);
    });
  }
  const stream = result as AsyncIterable<unknown> & Partial<Duplex<unknown, unknown>>;
  const iterate = async function* (): AsyncGenerator<unknown> {
    try {
      yield* stream;
    } catch (error) {
      throw explain(error);
    }
  };
  if (stream.send === undefined) return iterate();
  return { send: stream.send, end: stream.end, cancel: stream.cancel, [Symbol.asyncIterator]: iterate };
}
