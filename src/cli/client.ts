/**
 * The connection to a daemon: gRPC over its unix socket, the services Local and Control as typed calls.
 *
 * Keeps true: a daemon that is not there, does not accept or does not greet is `no-daemon` within two seconds, with the reason;
 * so is one that goes away during a call.
 *
 * Loaded late, by context.ts: it brings the protos. Not grpc-js, whose start takes longer than most calls (rpc/). Not here:
 * retries, which no command does by itself.
 */
import type { Duplex } from 'node:stream';
import type { Console } from '../console.js';
import { CoveyError, errnoOf } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { AsOf } from '../gen/types.js';
import type { Calls } from '../grpc.js';
import { mapCalls } from '../grpc-calls.js';
import type { Clock } from '../host.js';
import { openWire } from '../wire.js';
import { connectTimeoutMs } from './defaults.js';
import { makeCalls } from './rpc/calls.js';
import { openSession, type Session } from './rpc/session.js';
import type { ReadWish } from './sight.js';

export interface Client {
  readonly control: Calls<Services['Control']>;
  readonly local: Calls<Services['Local']>;
  readonly socket: string;
  readonly close: () => void;
}

export type TaskCalls = Pick<Client['control'], 'listTasks' | 'exec' | 'logs' | 'runTaskVerb'>;

export interface OpenClientOptions {
  readonly socket: string;
  readonly console: Pick<Console, 'connectSocket' | 'clock'>;
  readonly wish: ReadWish;
  /** An answer says that it is old. */
  readonly onAsOf: (asOf: AsOf) => Promise<void>;
}

/** Does not wait for the greeting: a call may be on its way before it, and tells of it when it does not come. */
export async function openClient(options: OpenClientOptions): Promise<Client> {
  const { socket, console } = options;
  const session = openSession(await connect(console, socket));
  const greeting = watchGreeting(session, console.clock);
  const gone = (error?: Error): CoveyError =>
    error === undefined || greeting.isHeard() ? lostError(socket) : unheardError(socket, error);
  const parts = { session, wire: openWire(), clock: console.clock, gone };
  return {
    control: withSight(makeCalls(parts, 'Control'), options),
    local: makeCalls(parts, 'Local'),
    socket,
    close: session.close,
  };
}

/** A connection that is not greeted in time is closed. */
function watchGreeting(session: Session, clock: Clock): { readonly isHeard: () => boolean } {
  let isHeard = false;
  const silent = (): void => session.close(new Error(`nothing greets within ${connectTimeoutMs / 1000} s`));
  const timer = clock.after(connectTimeoutMs, silent);
  const end = (heard: boolean): void => {
    timer.cancel();
    isHeard = heard;
  };
  session.greeted.then(
    () => end(true),
    () => end(false),
  );
  return { isHeard: () => isHeard };
}

function unheardError(socket: string, cause: Error): CoveyError {
  return new CoveyError('no-daemon', 'Cannot reach coveyd', {
    state: `${socket} accepts, but ${cause.message}`,
    hint: 'systemctl status covey',
    cause,
  });
}

async function connect(console: Pick<Console, 'connectSocket'>, socket: string): Promise<Duplex> {
  try {
    return await console.connectSocket(socket);
  } catch (error) {
    throw socketError(socket, errnoOf(error) ?? 'EIO');
  }
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

/** Without a cause: that a stream ended says less. */
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
