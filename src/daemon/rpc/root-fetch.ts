/**
 * Gets the root certificate from a machine that is not trusted yet: whoever answers must show a certificate chain that holds
 * the root whose digest the token names. That root is then the only one trusted; the next connection verifies everything.
 *
 * Each way to fail has its own error: unresolvable and no-connection within connectMs, not-covey, wrong-ca and root-replaced within
 * handshakeMs after the connection. A machine that is there but busy gets more time than one that does not answer at all.
 *
 * Not here: connections with verification (client.ts), the token's text (ca/token.ts).
 */
import { X509Certificate } from 'node:crypto';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { CoveyError, errnoOf } from '../../errors.js';
import type { Clock } from '../../host.js';
import { fairDeadline } from '../../lifetime.js';
import { digestOf, equalBytes } from '../ca/token.js';
import { defaultPort, parseHostPort } from '../config.js';

export interface FetchedRoot {
  /** DER. */
  readonly root: Uint8Array;
  /** CN of the certificate shown: the node id to expect on the next connection, which verifies it. */
  readonly nodeId: string;
}

export interface FetchRootOptions {
  readonly host: string;
  readonly port: number;
  readonly rootDigest: Uint8Array;
  readonly clock: Clock;
  readonly connectMs: number;
  readonly handshakeMs: number;
  readonly signal: AbortSignal;
}

type Stage = 'resolve' | 'connect' | 'handshake';

export async function fetchRoot(options: FetchRootOptions): Promise<FetchedRoot> {
  const at = `${options.host}:${options.port}`;
  let stage: Stage = 'resolve';
  const within = (ms: number) =>
    fairDeadline(options.clock, {
      ms,
      parent: options.signal,
      reason: () => failure(stage, at, `no answer within ${ms} ms`),
    });
  using limit = within(options.connectMs);
  const tcp = net.connect({ host: options.host, port: options.port });
  tcp.once('lookup', (error: Error | null) => {
    if (error === null) stage = 'connect';
  });
  if (net.isIP(options.host) !== 0) stage = 'connect';
  try {
    await eventOf(tcp, 'connect', limit.signal);
    stage = 'handshake';
    using handshakeLimit = within(options.handshakeMs);
    const secure = tls.connect({
      socket: tcp,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
    });
    try {
      await eventOf(secure, 'secureConnect', handshakeLimit.signal);
      return rootAmong(secure, options, at);
    } finally {
      secure.destroy();
    }
  } catch (error) {
    if (error instanceof CoveyError) throw error;
    options.signal.throwIfAborted();
    throw failure(stage, at, messageFor(error), error);
  } finally {
    tcp.destroy();
  }
}

/** When the certificate that is shown at the address is valid; nothing is checked, it is for people only. */
export async function findShownValidity(options: {
  readonly address: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<{ readonly from: string; readonly until: string } | undefined> {
  const { host, port } = parseHostPort(options.address, defaultPort);
  using limit = fairDeadline(options.clock, {
    ms: options.timeoutMs,
    parent: options.signal,
    reason: () => failure('handshake', options.address, `no answer within ${options.timeoutMs} ms`),
  });
  const socket = tls.connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' });
  try {
    await eventOf(socket, 'secureConnect', limit.signal);
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return undefined;
    return { from: certificate.validFromDate.toISOString(), until: certificate.validToDate.toISOString() };
  } catch {
    // What is wrong is known without it.
    return undefined;
  } finally {
    socket.destroy();
  }
}

function rootAmong(socket: tls.TLSSocket, options: FetchRootOptions, at: string): FetchedRoot {
  const leaf = socket.getPeerCertificate(true);
  if (socket.alpnProtocol !== 'h2' || leaf.raw === undefined)
    throw failure('handshake', at, 'it speaks TLS, but no HTTP/2');
  const seen = new Set<string>();
  let isReplaced = false;
  for (let shown = leaf; shown !== undefined && !seen.has(shown.fingerprint256); shown = shown.issuerCertificate) {
    seen.add(shown.fingerprint256);
    if (equalBytes(digestOf(shown.raw), options.rootDigest)) {
      if (isReplaced) throw replaced(at);
      return { root: new Uint8Array(shown.raw), nodeId: String(leaf.subject.CN) };
    }
    // Behind the root that serves come those that it has replaced. Nothing is believed of them but that the token is old.
    isReplaced ||= isSelfSigned(shown.raw);
  }
  throw new CoveyError('wrong-ca', `Cannot trust the manager at "${at}"`, {
    state: `none of its ${seen.size} certificates has the digest that the token names`,
    hint: 'check the address, and take a fresh token from that cluster: covey token worker',
  });
}

function isSelfSigned(certificate: Uint8Array): boolean {
  const parsed = new X509Certificate(certificate);
  return parsed.subject === parsed.issuer && parsed.verify(parsed.publicKey);
}

function replaced(at: string): CoveyError {
  return new CoveyError('root-replaced', `Cannot trust the manager at "${at}" by this token`, {
    state: 'the token names a root that the cluster has replaced since it was made',
    hint: 'covey token worker   (on a manager)',
  });
}

function failure(stage: Stage, at: string, state: string, cause?: unknown): CoveyError {
  switch (stage) {
    case 'resolve':
      return new CoveyError('unresolvable', `Cannot find the address of "${at}"`, {
        state,
        hint: 'use its IP address',
        cause,
      });
    case 'connect':
      return new CoveyError('no-connection', `Cannot connect to "${at}"`, {
        state,
        hint: 'is coveyd a manager there, and does a firewall let the port in?',
        cause,
      });
    case 'handshake':
      return new CoveyError('not-covey', `Cannot talk to "${at}" as a manager of covey`, {
        state,
        hint: 'the port is that of --listen of a manager (7377)',
        cause,
      });
  }
}

function messageFor(error: unknown): string {
  const errno = errnoOf(error);
  const text = error instanceof Error ? error.message : String(error);
  return errno === undefined || text.includes(errno) ? text : `${errno}: ${text}`;
}

function eventOf(socket: net.Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => settle(signal.reason);
    const close = (): void => settle(new Error('the other side closed the connection'));
    const done = (): void => settle(undefined);
    const settle = (error: unknown): void => {
      signal.removeEventListener('abort', abort);
      socket.removeListener('close', close);
      socket.removeListener(event, done);
      // An error that comes after the outcome is of no interest, but unheard it would end the process.
      socket.once('error', () => undefined);
      if (error === undefined) resolve();
      else reject(error);
    };
    socket.once('error', settle);
    socket.once('close', close);
    socket.once(event, done);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}
