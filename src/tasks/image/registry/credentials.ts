/**
 * Credentials for registries, in the form of Docker's config.json: one entry a registry (or a part of one: "host/team"), each
 * with a user and password, an identity token, or a bearer token. Pure: texts in, texts out; keys that others wrote are kept.
 *
 * Not here: where the file lies (pull.ts), who gets a credential (endpoints.ts), tokens made from them (tokens.ts).
 */
import { Buffer } from 'node:buffer';
import { CoveyError } from '../../../errors.js';
import { type JsonPlace, objectAt, parseJson, textAt } from '../json.js';

export type Credential =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  /** A refresh token that the registry gave at the login, instead of the password. */
  | { readonly kind: 'identity'; readonly username: string; readonly token: string }
  /** Sent as it is. */
  | { readonly kind: 'bearer'; readonly token: string };

/** Kept by a program of whoever wrote the file (`credHelpers`, `credsStore`): not to be had here. */
export interface Elsewhere {
  readonly kind: 'elsewhere';
  readonly helper: string;
}

/** By "host" or "host/path". */
export type Credentials = ReadonlyMap<string, Credential | Elsewhere>;

/** Docker keeps what is for docker.io under the address of an API that is gone. */
const dockerKeys = ['https://index.docker.io/v1/', 'index.docker.io', 'registry-1.docker.io'];

/** Throws bad-config. */
export function parseCredentials(path: string, text: string): Credentials {
  try {
    const file = parseJson(path, text);
    const auths = objectAt(file, 'auths');
    const helpers = objectAt(file, 'credHelpers');
    const store = textAt(file, 'credsStore') ?? '';
    const found = new Map<string, Credential | Elsewhere>();
    for (const key of Object.keys(helpers?.value ?? {})) {
      const helper = helpers === undefined ? undefined : textAt(helpers, key);
      if (helper !== undefined) found.set(placeOf(key), { kind: 'elsewhere', helper });
    }
    for (const key of Object.keys(auths?.value ?? {})) {
      const entry = auths === undefined ? undefined : objectAt(auths, key);
      const credential = entry === undefined ? undefined : parseEntry(entry);
      // An entry with nothing in it says that the store has one.
      if (credential !== undefined) found.set(placeOf(key), credential);
      else if (store !== '' && !found.has(placeOf(key))) found.set(placeOf(key), { kind: 'elsewhere', helper: store });
    }
    return found;
  } catch (cause) {
    throw new CoveyError('bad-config', `Cannot read the credentials in "${path}"`, {
      hint: 'it has the form of ~/.docker/config.json; covey login writes it',
      cause,
    });
  }
}

function parseEntry(place: JsonPlace): Credential | undefined {
  const identity = textAt(place, 'identitytoken') ?? '';
  const bearer = textAt(place, 'registrytoken') ?? '';
  const packed = Buffer.from(textAt(place, 'auth') ?? '', 'base64').toString('utf8');
  const colon = packed.indexOf(':');
  const username = textAt(place, 'username') ?? (colon < 0 ? '' : packed.slice(0, colon));
  const password = textAt(place, 'password') ?? (colon < 0 ? '' : packed.slice(colon + 1));
  if (bearer !== '') return { kind: 'bearer', token: bearer };
  if (identity !== '') return { kind: 'identity', username, token: identity };
  return username === '' ? undefined : { kind: 'password', username, password };
}

/** "https://host/v1/" -> "host"; "host/team" stays. */
function placeOf(key: string): string {
  if (dockerKeys.includes(key)) return 'docker.io';
  return key.replace(/^https?:\/\//, '').replace(/\/(?:v[12]\/?)?$/, '');
}

/** The entry for the longest part of "host/repository" that has one. Throws credential-helper where another program has it. */
export function findCredential(credentials: Credentials, host: string, repository: string): Credential | undefined {
  return findEntry(credentials, host, repository)?.credential;
}

interface Entry {
  /** "host" or "host/path". */
  readonly place: string;
  readonly credential: Credential;
}

export interface Picked {
  readonly text: string;
  /** Registries that no source has a credential for. */
  readonly missing: readonly string[];
}

/**
 * A file with the entries for these images and no others, each from the first of the sources that has one. Throws
 * credential-helper when all that is known of one is that another program has it.
 */
export function pickCredentials(
  sources: readonly Credentials[],
  images: readonly { readonly registry: string; readonly repository: string }[],
): Picked {
  const picked = new Map<string, Credential>();
  const missing = new Set<string>();
  for (const { registry, repository } of images) {
    const [found, problem] = findInAny(sources, registry, repository);
    if (found !== undefined) picked.set(found.place, found.credential);
    else if (problem !== undefined) throw problem;
    else missing.add(registry);
  }
  const auths = Object.fromEntries([...picked].map(([place, one]) => [keyOf(place), renderEntry(one)]));
  return { text: JSON.stringify({ auths }), missing: [...missing] };
}

function findInAny(
  sources: readonly Credentials[],
  registry: string,
  repository: string,
): readonly [Entry | undefined, CoveyError | undefined] {
  let problem: CoveyError | undefined;
  for (const source of sources) {
    try {
      const found = findEntry(source, registry, repository);
      if (found !== undefined) return [found, undefined];
    } catch (error) {
      if (!(error instanceof CoveyError)) throw error;
      problem ??= error;
    }
  }
  return [undefined, problem];
}

function findEntry(credentials: Credentials, host: string, repository: string): Entry | undefined {
  for (let place = `${host}/${repository}`; ; place = place.slice(0, place.lastIndexOf('/'))) {
    const found = credentials.get(place);
    if (found?.kind === 'elsewhere') {
      throw new CoveyError(
        'credential-helper',
        `Cannot log in to "${place}": its credential is not in the file that was looked at`,
        {
          state: `the file names the helper "${found.helper}", and covey runs none`,
          hint: `covey login ${place.split('/')[0]}`,
        },
      );
    }
    if (found !== undefined) return { place, credential: found };
    if (!place.includes('/')) return undefined;
  }
}

/** The text of the file with the credential in it, or without that of the registry. */
export function renderCredentials(text: string, registry: string, credential: Credential | undefined): string {
  const place = text === '' ? undefined : parseJson('the credentials', text);
  const auths = place === undefined ? undefined : objectAt(place, 'auths');
  const others = Object.entries(auths?.value ?? {}).filter(([key]) => placeOf(key) !== registry);
  const entries = credential === undefined ? others : [...others, [keyOf(registry), renderEntry(credential)] as const];
  return `${JSON.stringify({ ...place?.value, auths: Object.fromEntries(entries) }, undefined, 2)}\n`;
}

function keyOf(place: string): string {
  return place === 'docker.io' ? 'https://index.docker.io/v1/' : place;
}

function renderEntry(credential: Credential): object {
  switch (credential.kind) {
    case 'password':
      return { auth: Buffer.from(`${credential.username}:${credential.password}`).toString('base64') };
    case 'identity':
      return {
        auth: Buffer.from(`${credential.username}:`).toString('base64'),
        identitytoken: credential.token,
      };
    case 'bearer':
      return { registrytoken: credential.token };
  }
}
