/**
 * How a client proves itself to a registry after a 401: with a bearer token that the named realm gives (anonymously, for a
 * password, or for an identity token), or with the password itself. Pure: what to ask the realm, and what its answer means.
 *
 * Not here: sending and remembering (client.ts).
 */
import { Buffer } from 'node:buffer';
import { CoveyError, codeOf, messageOf } from '../../../errors.js';
import { countAt, parseJson, textAt } from '../json.js';
import type { Challenge } from './challenge.js';
import { type Endpoint, isLoopback } from './endpoints.js';

export type Proof =
  /** The header to send. */
  | { readonly kind: 'header'; readonly authorization: string }
  | { readonly kind: 'token'; readonly request: TokenRequest }
  | { readonly kind: 'none'; readonly because: string };

export interface TokenRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface Token {
  readonly authorization: string;
  readonly lifeMs: number;
  /** Identity token that stands for the user and password from now on; most registries give none. */
  readonly refreshToken?: string | undefined;
}

/** Of a token whose answer does not say: the standard's value. */
const lifeSecondsDefault = 60;
const lifeSecondsMin = 10;

export interface ProofContext {
  readonly endpoint: Endpoint;
  /** Of the request that was refused. */
  readonly url: URL;
  /** "repository:NAME:pull"; used when the challenge names none. undefined: only to see whether the credential is taken. */
  readonly scope: string | undefined;
  /** A login: asks for an identity token too. */
  readonly offline?: boolean | undefined;
}

export function planProof(challenges: readonly Challenge[], context: ProofContext): Proof {
  const { credential } = context.endpoint;
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  if (bearer !== undefined) {
    if (credential?.kind === 'bearer') return { kind: 'header', authorization: `Bearer ${credential.token}` };
    return planToken(bearer, context);
  }
  if (!challenges.some(({ scheme }) => scheme === 'basic')) {
    return { kind: 'none', because: 'it names no way to prove oneself that covey knows (Bearer, Basic)' };
  }
  return credential?.kind === 'password'
    ? { kind: 'header', authorization: basic(credential.username, credential.password) }
    : { kind: 'none', because: 'it wants a user and a password' };
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function planToken({ parameters }: Challenge, context: ProofContext): Proof {
  const { credential } = context.endpoint;
  const realm = parameters.get('realm') ?? '';
  const url = URL.parse(realm);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return { kind: 'none', because: `it sends for tokens to "${realm.slice(0, 200)}", which is no address` };
  }
  if (!mayAsk(url, context)) {
    return {
      kind: 'none',
      because: `it sends for tokens to ${url.origin}, another host without TLS: nothing is sent there`,
    };
  }
  const service = parameters.get('service');
  const scope = parameters.get('scope') ?? context.scope;
  const query = new URLSearchParams();
  if (service !== undefined) query.set('service', service);
  if (scope !== undefined) query.set('scope', scope);
  if (credential?.kind === 'identity') {
    query.set('grant_type', 'refresh_token');
    query.set('client_id', 'covey');
    query.set('refresh_token', credential.token);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return { kind: 'token', request: { method: 'POST', url, headers, body: query.toString() } };
  }
  const isKnown = credential?.kind === 'password';
  if (isKnown) query.set('account', credential.username);
  if (isKnown && context.offline === true) {
    query.set('client_id', 'covey');
    query.set('offline_token', 'true');
  }
  for (const [name, value] of query) url.searchParams.set(name, value);
  const headers: Record<string, string> = isKnown
    ? { authorization: basic(credential.username, credential.password) }
    : {};
  return { kind: 'token', request: { method: 'GET', url, headers } };
}

/** TLS, or the registry itself where that is spoken to without, or this machine. */
function mayAsk(realm: URL, { endpoint, url }: ProofContext): boolean {
  if (realm.protocol === 'https:' || isLoopback(realm.host)) return true;
  return endpoint.insecure && url.protocol === 'http:' && realm.host === url.host;
}

/** Throws registry-answer. */
export function parseToken(what: string, text: string): Token {
  try {
    return readToken(what, text);
  } catch (error) {
    if (codeOf(error) === 'registry-answer') throw error;
    throw new CoveyError('registry-answer', `Cannot use ${what}`, { state: messageOf(error) });
  }
}

function readToken(what: string, text: string): Token {
  const place = parseJson(what, text);
  const token = textAt(place, 'token') || textAt(place, 'access_token') || '';
  if (token === '' || !/^[\x21-\x7e]+$/.test(token))
    throw new CoveyError('registry-answer', `Cannot use ${what}: it holds no token`);
  const seconds = Math.max(lifeSecondsMin, countAt(place, 'expires_in') || lifeSecondsDefault);
  const refreshToken = textAt(place, 'refresh_token') || undefined;
  return { authorization: `Bearer ${token}`, lifeMs: seconds * 1_000, ...(refreshToken && { refreshToken }) };
}
