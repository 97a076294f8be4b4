/**
 * The files of this node about registries: rules, certificates, credentials. Read at each pull, so that changing them needs no
 * restart; the credentials are readable by the daemon alone.
 *
 * Not here: what they mean (registry/), trying a credential (login.ts).
 */
import { CoveyError } from '../../errors.js';
import type { ImageReference } from './reference.js';
import {
  type Credential,
  type Endpoint,
  parseCredentials,
  parseRules,
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
  options: { readonly anonymous?: boolean } = {},
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
  const endpoints = planEndpoints(reference, { rules, credentials });
  return await Promise.all(endpoints.map(endpoint => withCertificates({ host, registries }, endpoint)));
}

async function withCertificates({ host, registries }: Parts, endpoint: Endpoint): Promise<PullEndpoint> {
  const read = async (path: string): Promise<string | undefined> => {
    if (path === '') return undefined;
    try {
      return await host.files.readText(path);
    } catch (cause) {
      throw new CoveyError('bad-config', `Cannot read "${path}", which "${registries.rulesPath}" names`, { cause });
    }
  };
  const [ca, cert, key] = await Promise.all([endpoint.ca, endpoint.cert, endpoint.key].map(read));
  return { endpoint, tls: { insecure: endpoint.insecure, ca, cert, key } };
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
