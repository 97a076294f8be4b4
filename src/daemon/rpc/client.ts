/**
 * Connections to managers: always a fresh one with a TCP connection of its own, verified against the cluster's root and bound
 * to the node id that is expected; given up after about a second.
 *
 * A kept channel would need up to 22 s after a cut of 30 s (reconnect back-off, SYN retransmission); a fresh one needs 1 s.
 *
 * Not here: when to dial again (session/), what is called (grpc.ts).
 */
import type * as net from 'node:net';
import * as tls from 'node:tls';
import grpc from '@grpc/grpc-js';
import { asCoveyError, CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import { type Calls, makeCalls } from '../../grpc.js';
import type { Clock } from '../../host.js';
import { fairDeadline } from '../../lifetime.js';
import type { Wire } from '../../wire.js';
import { roleUnits, tlsNameOf } from '../ca/identity.js';
import { findShownValidity } from './root-fetch.js';

export interface ManagerClient extends AsyncDisposable {
  readonly address: string;
  readonly calls: <Name extends keyof Services>(service: Name) => Calls<Services[Name]>;
}

export interface ConnectOptions {
  /** "host:port". */
  readonly address: string;
  /** The manager that has to answer there. */
  readonly nodeId: string;
  readonly clusterId: string | undefined;
  /** PEM. */
  readonly root: string;
  /** PEM; undefined: without a client certificate (Join). */
  readonly client: { readonly certificate: string; readonly key: string } | undefined;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** A full set of assignments with secrets is the largest message. */
export const messageMaxBytes = 64 * 1024 * 1024;

/** Streams that have ended still flush within this time after the connection is given back. */
const closeGraceMs = 1_000;

export async function connectToManager(options: ConnectOptions): Promise<ManagerClient> {
  const credentials = new OwnedCredentials(credentialsFor(options));
  const client = new grpc.Client(options.address, credentials, {
    'grpc.ssl_target_name_override': tlsNameOf(options.nodeId),
    'grpc.use_local_subchannel_pool': 1,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': messageMaxBytes,
    'grpc.max_send_message_length': messageMaxBytes,
  });
  try {
    await untilReady(client.getChannel(), options);
  } catch (error) {
    client.close();
    credentials.destroySockets();
    throw error;
  }
  return {
    address: options.address,
    calls: service => makeCalls(client, service, options.wire),
    [Symbol.asyncDispose]: async () => {
      client.close();
      // To a peer that is gone, closing alone would leave the socket to the kernel's retries for a quarter of an hour.
      options.clock.after(closeGraceMs, () => credentials.destroySockets());
    },
  };
}

/**
 * Credentials that own the sockets made with them. grpc-js drops a connection that it is still making (a manager that
 * accepts and says nothing, a SYN that is answered after the end of a cut) without closing its socket.
 */
class OwnedCredentials extends grpc.ChannelCredentials {
  readonly #inner: grpc.ChannelCredentials;
  readonly #sockets = new Set<net.Socket>();
  #destroyed = false;

  constructor(inner: grpc.ChannelCredentials) {
    super();
    this.#inner = inner;
  }

  destroySockets(): void {
    this.#destroyed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  override compose(): never {
    throw new CoveyError('bug', 'Cannot add call credentials to a connection between nodes');
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: grpc.ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    ...parameters: Parameters<grpc.ChannelCredentials['_createSecureConnector']>
  ): ReturnType<grpc.ChannelCredentials['_createSecureConnector']> {
    const connector = this.#inner._createSecureConnector(...parameters);
    return {
      connect: socket => {
        if (this.#destroyed) {
          socket.destroy();
          return Promise.reject(new Error('the connection was given up'));
        }
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
        return connector.connect(socket);
      },
      waitForReady: () => connector.waitForReady(),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  }
}

function credentialsFor(options: ConnectOptions): grpc.ChannelCredentials {
  const { client, clusterId } = options;
  const own = client === undefined ? {} : { cert: client.certificate, key: client.key };
  const context = tls.createSecureContext({ minVersion: 'TLSv1.3', ca: options.root, ...own });
  return grpc.credentials.createFromSecureContext(context, {
    checkServerIdentity: (name, certificate) => {
      const wrongName = tls.checkServerIdentity(name, certificate);
      if (wrongName !== undefined) return wrongName;
      // A worker's certificate must not pass for a manager's.
      const { O: organization, OU: unit } = certificate.subject;
      if (unit !== roleUnits.manager)
        return new Error(`its certificate says "${String(unit)}", not "${roleUnits.manager}"`);
      if (clusterId !== undefined && organization !== clusterId)
        return new Error('its certificate is of another cluster');
      return undefined;
    },
  });
}

/** Resolves when connected; rejects at the first failed attempt, or when the time is over. */
async function untilReady(channel: grpc.ChannelInterface, options: ConnectOptions): Promise<void> {
  using limit = fairDeadline(options.clock, {
    ms: options.timeoutMs,
    parent: options.signal,
    reason: () => noConnection(options, `no connection within ${options.timeoutMs} ms`),
  });
  for (;;) {
    limit.signal.throwIfAborted();
    const state = channel.getConnectivityState(true);
    if (state === grpc.connectivityState.READY) return;
    if (state === grpc.connectivityState.TRANSIENT_FAILURE || state === grpc.connectivityState.SHUTDOWN) {
      throw await refusedBy(options, await failureText(channel));
    }
    await changed(channel, state, limit.signal);
  }
}

/** The channel keeps the reason to itself; a call that cannot wait is told it. */
function failureText(channel: grpc.ChannelInterface): Promise<string> {
  return new Promise(resolve => {
    const call = channel.createCall('/covey.v1.Ca/Join', Infinity, null, null, null);
    call.start(new grpc.Metadata(), {
      onReceiveMetadata: () => undefined,
      onReceiveMessage: () => undefined,
      onReceiveStatus: status => resolve(status.details),
    });
    call.halfClose();
  });
}

function changed(channel: grpc.ChannelInterface, state: grpc.connectivityState, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(asCoveyError(signal.reason));
    signal.addEventListener('abort', abort, { once: true });
    channel.watchConnectivityState(state, Infinity, () => {
      signal.removeEventListener('abort', abort);
      resolve();
    });
  });
}

/** A certificate that is out of its time by the clock here is told with both times: one of the clocks is wrong. */
async function refusedBy(options: ConnectOptions, text: string): Promise<CoveyError> {
  const isEarly = /not yet valid/.test(text);
  if (!isEarly && !/certificate has expired/.test(text)) return noConnection(options, text);
  const now = new Date(options.clock.wallMs()).toISOString();
  const shown = await findShownValidity(options);
  const validity = shown === undefined ? '' : `; its certificate is valid from ${shown.from} to ${shown.until}`;
  return new CoveyError(
    isEarly ? 'clock-skew' : 'certificate-expired',
    `Cannot trust the manager at "${options.address}" ${isEarly ? 'yet' : 'any more'}`,
    { state: `the clock here says ${now}${validity}`, hint: 'set the clock that is wrong: chronyc makestep' },
  );
}

function noConnection(options: ConnectOptions, state: string): CoveyError {
  return new CoveyError('no-connection', `Cannot connect to the manager at "${options.address}"`, { state });
}
