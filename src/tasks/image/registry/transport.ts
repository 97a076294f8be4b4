/**
 * HTTP as the registry client needs it: one request, its answer with a body that streams. Keeps connections for reuse, a pool
 * for each host and its certificates; goes through the proxies that the environment names.
 *
 * Runs in the child that pulls. Errors: registry-unreachable (may pass), registry-unknown (no such host), registry-tls.
 *
 * Not here: who is asked for what (client.ts), redirects, tokens, repetitions.
 */
import type { Buffer } from 'node:buffer';
import * as http from 'node:http';
import * as https from 'node:https';
import { createSecureContext, getCACertificates } from 'node:tls';
import { CoveyError, messageOf } from '../../../errors.js';

/** PEM texts; undefined: none. */
export interface TlsChoice {
  readonly insecure: boolean;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly tls: TlsChoice;
  /** Also ends the body. */
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  /** Empty when there is none. */
  readonly header: (name: string) => string;
  readonly body: AsyncIterable<Buffer>;
  /** The rest of the body is not wanted. */
  readonly discard: () => void;
}

export interface Transport extends Disposable {
  readonly send: (request: HttpRequest) => Promise<HttpAnswer>;
}

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in both spellings. */
export type ProxyEnvironment = Readonly<Record<string, string>>;

const connectionsPerHostMax = 6;
/** For an answer to begin, the connection included. */
const answerTimeoutMs = 30_000;

export function openTransport(proxyEnv: ProxyEnvironment): Transport {
  const agents = new Map<string, http.Agent>();
  const options = { keepAlive: true, maxSockets: connectionsPerHostMax, proxyEnv };
  const agentFor = (request: HttpRequest): http.Agent => {
    const isPlain = request.url.protocol === 'http:';
    const key = isPlain ? 'http' : JSON.stringify(request.tls);
    const known = agents.get(key);
    if (known !== undefined) return known;
    const agent = isPlain
      ? new http.Agent(options)
      : new https.Agent({
          ...options,
          rejectUnauthorized: !request.tls.insecure,
          secureContext: secureContext(request.tls),
        });
    agents.set(key, agent);
    return agent;
  };
  return {
    send: request => send(request, agentFor(request)),
    [Symbol.dispose]: () => {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

function secureContext({ ca, cert, key }: TlsChoice): ReturnType<typeof createSecureContext> {
  const authorities = new Set([...getCACertificates('bundled'), ...getCACertificates('system')]);
  try {
    return createSecureContext({
      ca: [...authorities, ...(ca === undefined ? [] : [ca])],
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      minVersion: 'TLSv1.2',
    });
  } catch (cause) {
    throw new CoveyError('registry-tls', 'Cannot use the certificates named for this registry', { cause });
  }
}

function send(request: HttpRequest, agent: http.Agent): Promise<HttpAnswer> {
  const { url, method, headers, signal } = request;
  return new Promise((resolve, reject) => {
    let hasAnswered = false;
    const start = url.protocol === 'http:' ? http.request : https.request;
    const outgoing = start(url, { agent, method, headers, signal, timeout: answerTimeoutMs });
    outgoing.on('timeout', () => {
      if (!hasAnswered) outgoing.destroy(new Error(`no answer within ${answerTimeoutMs / 1_000} s`));
    });
    outgoing.on('error', cause => reject(signal.aborted ? signal.reason : sendError(url, cause)));
    outgoing.on('response', incoming => {
      hasAnswered = true;
      resolve({
        status: incoming.statusCode ?? 0,
        header: name => headerOf(incoming.headers[name.toLowerCase()]),
        body: bodyOf(incoming, request),
        discard: () => void incoming.destroy(),
      });
    });
    outgoing.end(request.body);
  });
}

function headerOf(value: string | readonly string[] | undefined): string {
  return typeof value === 'string' ? value : (value ?? []).join(', ');
}

async function* bodyOf(incoming: http.IncomingMessage, { url, signal }: HttpRequest): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of incoming) {
      const piece: Buffer = chunk;
      yield piece;
    }
  } catch (cause) {
    throw signal.aborted ? signal.reason : sendError(url, cause);
  } finally {
    incoming.destroy();
  }
}

const tlsCodes = /^(?:ERR_SSL_|ERR_TLS_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|EPROTO$|ERR_OSSL_)/;

function sendError(url: URL, cause: unknown): CoveyError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const state = code === '' ? messageOf(cause) : `${code}: ${messageOf(cause)}`;
  if (code === 'ENOTFOUND') {
    return new CoveyError('registry-unknown', `Cannot find a host named "${url.hostname}"`, { state });
  }
  if (tlsCodes.test(code)) {
    return new CoveyError('registry-tls', `Cannot speak TLS with "${url.host}"`, {
      state,
      hint: `put its authority into /etc/covey/certs.d/${url.host}/ca.crt; "insecure: true" in registries.yaml goes without`,
    });
  }
  return new CoveyError('registry-unreachable', `Cannot reach "${url.host}"`, { state });
}
