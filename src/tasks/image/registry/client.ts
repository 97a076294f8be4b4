/**
 * One registry, asked for what an image consists of: finds out whether it speaks TLS, proves itself when asked to (once a
 * request), follows redirects without ever taking its proof to another host, and turns refusals into errors.
 *
 *     us                                    registry                         realm
 *     GET /v2/NAME/…  ────────────────────► 401, WWW-Authenticate
 *     GET realm?scope (credential) ───────────────────────────────────────► token
 *     GET /v2/NAME/… (token) ─────────────► 307 to a store of blobs
 *     GET there, without the token ──────────────────────────────────────────────────► bytes
 *
 * Not here: repeating (patience.ts), what the bytes mean (resolve.ts, blob.ts), connections (transport.ts).
 */
import { Buffer } from 'node:buffer';
import { CoveyError, codeOf } from '../../../errors.js';
import type { Clock } from '../../../host.js';
import { parseChallenges } from './challenge.js';
import type { Endpoint } from './endpoints.js';
import { parseToken, planProof, type Token } from './tokens.js';
import type { HttpAnswer, TlsChoice, Transport } from './transport.js';

export interface Registry {
  readonly endpoint: Endpoint;
  /** An answer with a status below 300. Throws registry-denied, image-not-found, registry-unreachable, registry-answer. */
  readonly ask: (question: Question) => Promise<HttpAnswer>;
  /** Of a login: what the registry wants kept in the place of the password. */
  readonly findRefreshToken: () => string | undefined;
}

export interface Question {
  readonly method: 'GET' | 'HEAD';
  /** Behind "/v2/NAME/"; empty: "/v2/" itself. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface RegistryOptions {
  readonly endpoint: Endpoint;
  readonly tls: TlsChoice;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly userAgent: string;
  /** Asks for an identity token. */
  readonly isLogin?: boolean;
}

interface State extends RegistryOptions {
  scheme: Promise<string> | undefined;
  proof: (Token & { readonly untilMs: number }) | undefined;
  renewing: Promise<void> | undefined;
}

const redirectsMax = 5;
const tokenMaxBytes = 2 ** 20;
/** A token that is about to end is not used any more. */
const tokenMarginMs = 5_000;
const errorBodyMaxBytes = 4_096;

export function openRegistry(options: RegistryOptions): Registry {
  const state: State = { ...options, scheme: undefined, proof: undefined, renewing: undefined };
  return {
    endpoint: options.endpoint,
    ask: question => ask(state, question),
    findRefreshToken: () => state.proof?.refreshToken,
  };
}

async function ask(state: State, question: Question): Promise<HttpAnswer> {
  const { endpoint } = state;
  const url = new URL(`${await schemeOf(state, question.signal)}//${endpoint.host}/v2/`);
  if (question.path !== '') url.pathname += `${endpoint.repository}/${question.path}`;
  if (endpoint.mirrorOf !== undefined) url.searchParams.set('ns', endpoint.mirrorOf);
  const used = state.proof;
  const first = await follow(state, question, url);
  if (first.status !== 401) return checked(state, question, first);
  const challenge = first.header('www-authenticate');
  first.discard();
  await renewOnce(state, used, { challenge, url, question });
  return checked(state, question, await follow(state, question, url));
}

/** Found out once: with TLS, unless the registry need not have it and has not. */
async function schemeOf(state: State, signal: AbortSignal): Promise<string> {
  if (!state.endpoint.insecure) return 'https:';
  state.scheme ??= probe(state, signal);
  try {
    return await state.scheme;
  } catch (error) {
    state.scheme = undefined;
    throw error;
  }
}

async function probe(state: State, signal: AbortSignal): Promise<string> {
  const url = new URL(`https://${state.endpoint.host}/v2/`);
  const send = (): Promise<HttpAnswer> =>
    state.transport.send({ method: 'GET', url, headers: { 'user-agent': state.userAgent }, tls: state.tls, signal });
  try {
    (await send()).discard();
    return 'https:';
  } catch (error) {
    // What speaks HTTP there answers our hello with a text, or hangs up.
    const isPlain =
      codeOf(error) === 'registry-tls' ||
      (error instanceof CoveyError && /ECONNRESET|socket hang up|EPIPE|HPE_/.test(error.state ?? ''));
    if (isPlain) return 'http:';
    throw error;
  }
}

/** Redirects, by hand: the proof goes to the registry alone, and never from TLS to none. */
async function follow(state: State, question: Question, start: URL): Promise<HttpAnswer> {
  const { method, signal } = question;
  let url = start;
  for (let count = 0; count <= redirectsMax; count += 1) {
    const isHome = url.origin === start.origin;
    const headers = { ...question.headers, 'user-agent': state.userAgent, ...(isHome ? proofOf(state) : {}) };
    const tls = isHome ? state.tls : { ...noTlsChoice, insecure: state.endpoint.insecure };
    const answer = await state.transport.send({ method, url, headers, tls, signal });
    if (![301, 302, 303, 307, 308].includes(answer.status)) return answer;
    const location = answer.header('location');
    answer.discard();
    const next = URL.parse(location, url);
    if (next === null || !/^https?:$/.test(next.protocol) || (url.protocol === 'https:' && next.protocol === 'http:')) {
      throw new CoveyError('registry-answer', `Cannot follow "${url.host}" to "${location.slice(0, 200)}"`, {
        state: 'only http and https are followed, and never from https to http',
      });
    }
    url = next;
  }
  throw new CoveyError('registry-answer', `Cannot follow "${start.host}" any more: ${redirectsMax} redirects and more`);
}

const noTlsChoice: TlsChoice = { insecure: false, ca: undefined, cert: undefined, key: undefined };

function proofOf({ proof, clock }: State): Readonly<Record<string, string>> {
  return proof === undefined || proof.untilMs < clock.monotonicMs() ? {} : { authorization: proof.authorization };
}

interface Refusal {
  readonly challenge: string;
  readonly url: URL;
  readonly question: Question;
}

/** Layers side by side are refused side by side: one of them gets a new proof for all. */
async function renewOnce(state: State, used: State['proof'], refusal: Refusal): Promise<void> {
  if (state.proof !== used) return;
  state.renewing ??= renewProof(state, refusal).finally(() => {
    state.renewing = undefined;
  });
  await state.renewing;
}

async function renewProof(state: State, refusal: Refusal): Promise<void> {
  const { endpoint, clock } = state;
  const plan = planProof(parseChallenges(refusal.challenge), {
    endpoint,
    url: refusal.url,
    scope: refusal.question.path === '' ? undefined : `repository:${endpoint.repository}:pull`,
    offline: state.isLogin,
  });
  switch (plan.kind) {
    case 'none':
      throw denied(endpoint, plan.because);
    case 'header':
      state.proof = { authorization: plan.authorization, lifeMs: 0, untilMs: Number.POSITIVE_INFINITY };
      return;
    case 'token': {
      const { url } = plan.request;
      const headers = { ...plan.request.headers, 'user-agent': state.userAgent };
      const tls = url.origin === refusal.url.origin ? state.tls : { ...noTlsChoice, insecure: endpoint.insecure };
      const answer = await state.transport.send({ ...plan.request, headers, tls, signal: refusal.question.signal });
      if (isPassing(answer.status)) throw await unreachable(url.host, answer);
      if (answer.status !== 200) {
        answer.discard();
        throw denied(endpoint, `${url.host} answers ${answer.status} to the request for a token`);
      }
      const what = `the token of ${url.host}`;
      const token = parseToken(what, (await readBody(answer, { what, maxBytes: tokenMaxBytes })).toString('utf8'));
      state.proof = { ...token, untilMs: clock.monotonicMs() + token.lifeMs - tokenMarginMs };
      return;
    }
  }
}

function denied({ host, repository, credential }: Endpoint, because: string): CoveyError {
  return new CoveyError('registry-denied', `Cannot get "${repository}" from "${host}": it is refused`, {
    state: because,
    hint:
      credential === undefined ? `covey login ${host}` : `the credential for ${host} is wrong, or not for this image`,
  });
}

function isPassing(status: number): boolean {
  return status === 429 || status === 408 || status >= 500;
}

async function checked({ endpoint }: State, question: Question, answer: HttpAnswer): Promise<HttpAnswer> {
  const { status } = answer;
  if (status >= 200 && status < 300) return answer;
  if (isPassing(status)) throw await unreachable(endpoint.host, answer);
  const said = await saidBy(answer);
  if (status === 401 || status === 403) throw denied(endpoint, `it answers ${status}${said}`);
  const what = `"${endpoint.repository}", ${question.path || '/v2/'}`;
  if (status === 404) {
    throw new CoveyError('image-not-found', `Cannot find ${what} at "${endpoint.host}"`, {
      state: `it answers 404${said}`,
      hint: 'check the name and the tag; private images need covey login',
    });
  }
  throw new CoveyError('registry-answer', `Cannot get ${what} from "${endpoint.host}"`, {
    state: `it answers ${status}${said}`,
  });
}

async function unreachable(host: string, answer: HttpAnswer): Promise<CoveyError> {
  const wait = answer.header('retry-after');
  return new CoveyError('registry-unreachable', `Cannot get anything from "${host}" now`, {
    state: `it answers ${answer.status}${wait === '' ? '' : `, retry-after ${wait.slice(0, 40)}`}${await saidBy(answer)}`,
  });
}

/** The first message in an error of the distribution specification, if that is what came. */
async function saidBy(answer: HttpAnswer): Promise<string> {
  try {
    const text = (await readBody(answer, { what: 'an error', maxBytes: errorBodyMaxBytes })).toString('utf8');
    const message = /"message"\s*:\s*"([^"\\]{1,200})"/.exec(text)?.[1];
    return message === undefined ? '' : `: ${message.replace(/\p{C}/gu, '?')}`;
  } catch {
    return ''; // it is refused already; why is a courtesy
  }
}

/** Throws registry-answer when it is larger. */
export async function readBody(
  answer: HttpAnswer,
  options: { readonly what: string; readonly maxBytes: number },
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of answer.body) {
    size += piece.length;
    if (size > options.maxBytes) {
      throw new CoveyError(
        'registry-answer',
        `Cannot read ${options.what}: it is larger than ${options.maxBytes} bytes`,
      );
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
