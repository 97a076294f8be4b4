/**
 * The files of this node about registries: rules, certificates, credentials. Read at each pull, so that changing them needs no
 * restart; the credentials are readable by the daemon alone.
 *
 * Not here: what they mean (registry/), trying a credential (login.ts).
 */
import { dirname } from 'node:path';
import { CoveyError } from '../../errors.js';
import { type ImageReference, parseReference } from './reference.js';
import {
  type Credential,
  type Endpoint,
  type Picked,
  parseCredentials,
  parseRules,
  pickCredentials,
  planEndpoints,
  renderCredentials,
} from './registry/index.js';
import type { StoreState } from './store-state.js';
import type { PullEndpoint } from './unpack-protocol.js';

type Parts = Pick<StoreState, 'host' | 'registries'>;

/** Where to ask for the image, with certificates and, if wanted, credentials; the registry itself is the last. */
export async function readRegistries(
  { host, registries }: Parts,
  reference: Pick<ImageReference, 'registry' | 'repository'>,
  options: {
    readonly anonymous?: boolean;
    /** Credentials of the service that pulls, in the form of the file: they go before those of the node. */
    readonly own?: string | undefined;
  } = {},
): Promise<readonly PullEndpoint[]> {
  const [rulesText, credentialsText] = await Promise.all([
    host.files.findText(registries.rulesPath),
    host.files.findText(registries.credentialsPath),
  ]);
  const rules = rulesText === undefined ? [] : parseRules(registries.rulesPath, rulesText);
  const credentials =
    credentialsText === undefined || options.anonymous === true
      ? new Map()
      : parseCredentials(registries.credentialsPath, credentialsText);
  const own = options.own === undefined ? {} : { own: parseCredentials('what came with the service', options.own) };
  const endpoints = planEndpoints(reference, { rules, credentials, ...own });
  return await Promise.all(endpoints.map(endpoint => withCertificates({ host, registries }, endpoint)));
}

async function withCertificates({ host, registries }: Parts, endpoint: Endpoint): Promise<PullEndpoint> {
  const read = async (path: string): Promise<string | undefined> => {
    if (path === '') return undefined;
    try {
      return await host.files.readText(path);
    } catch (cause) {
      throw new CoveyError('bad-config', `Cannot read the certificate "${path}"`, { cause });
    }
  };
  const folder = `${dirname(registries.rulesPath)}/certs.d/${endpoint.host}`;
  const found = planCertificates(folder, await host.files.list(folder));
  const authorities = await Promise.all([endpoint.ca, ...found.authorities].map(read));
  const [cert, key] = await Promise.all([endpoint.cert || found.cert, endpoint.key || found.key].map(read));
  const ca = authorities.filter(text => text !== undefined).join('\n');
  return { endpoint, tls: { insecure: endpoint.insecure, ca: ca === '' ? undefined : ca, cert, key } };
}

/**
 * Docker's folders: `certs.d/HOST[:PORT]/` beside the rules, in it authorities in "*.crt" and one certificate of our own in
 * "*.cert" with its key in "*.key". Throws bad-config.
 */
export function planCertificates(
  folder: string,
  names: readonly string[],
): { readonly authorities: readonly string[]; readonly cert: string; readonly key: string } {
  const sorted = [...names].sort();
  const authorities = sorted.filter(name => name.endsWith('.crt')).map(name => `${folder}/${name}`);
  const [cert] = sorted.filter(name => name.endsWith('.cert'));
  if (cert === undefined) return { authorities, cert: '', key: '' };
  const key = cert.replace(/\.cert$/, '.key');
  if (names.includes(key)) return { authorities, cert: `${folder}/${cert}`, key: `${folder}/${key}` };
  throw new CoveyError('bad-config', `Cannot use the certificate "${folder}/${cert}": "${key}" is not beside it`);
}

/** What a person, and after them this node, has for the registries of these images. */
export async function pickFor(
  { host, registries }: Parts,
  request: { readonly images: readonly string[]; readonly userFile: string; readonly userPath: string },
): Promise<Picked> {
  const own = (await host.files.findText(registries.credentialsPath)) ?? '';
  const sources = [
    [request.userPath, request.userFile],
    [registries.credentialsPath, own],
  ].flatMap(([path = '', text = '']) => (text === '' ? [] : [parseCredentials(path, text)]));
  return pickCredentials(sources, request.images.map(parseReference));
}

/** undefined: forgets it. Says whether there was one. */
export async function keepCredential(
  { host, registries }: Parts,
  registry: string,
  credential: Credential | undefined,
): Promise<boolean> {
  const path = registries.credentialsPath;
  const text = await host.files.findText(path);
  const before = text === undefined ? undefined : parseCredentials(path, text).get(registry);
  const had = before !== undefined && before.kind !== 'elsewhere';
  if (credential === undefined && !had) return false;
  await host.files.replace(path, renderCredentials(text ?? '', registry, credential), { mode: 0o600 });
  return had;
}
