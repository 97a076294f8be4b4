/**
 * Where an image may be asked for, in order: the mirrors of its registry, then the registry itself. Each place has its own
 * certificates and its own credential; that of the registry never goes to a mirror. Pure.
 *
 * Not here: asking (client.ts), the file with the rules (rules.ts).
 */
import { CoveyError } from '../../../errors.js';
import type { ImageReference } from '../reference.js';
import { type Credential, type Credentials, findCredential } from './credentials.js';
import { findRule, type PlaceRule, type RegistryRule } from './rules.js';

export interface Endpoint {
  /** "registry-1.docker.io", "localhost:5000". */
  readonly host: string;
  readonly repository: string;
  /** The registry that this is a mirror of: told to it as `?ns=`. */
  readonly mirrorOf: string | undefined;
  /** Certificates are not checked, and HTTP is spoken where there is no TLS. */
  readonly insecure: boolean;
  /** Paths of PEM files; empty: none. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly credential: Credential | undefined;
}

const dockerHost = 'registry-1.docker.io';

/** Throws registry-blocked. */
export function planEndpoints(
  reference: Pick<ImageReference, 'registry' | 'repository'>,
  options: {
    readonly rules: readonly RegistryRule[];
    readonly credentials: Credentials;
    /** Those of who asks, before those of the node. */
    readonly own?: Credentials;
  },
): readonly Endpoint[] {
  const { registry, repository } = reference;
  const name = `${registry}/${repository}`;
  const rule = findRule(options.rules, name);
  if (rule?.blocked === true) {
    throw new CoveyError('registry-blocked', `Cannot pull from "${rule.prefix}": the settings of this node forbid it`);
  }
  const place = rule ?? { location: registry, insecure: false, ca: '', cert: '', key: '' };
  const rest = rule === undefined ? `/${repository}` : name.slice(rule.prefix.length);
  const credentialFor = (host: string, path: string): Credential | undefined =>
    (options.own && findCredential(options.own, host, path)) ?? findCredential(options.credentials, host, path);
  const endpointAt = (at: PlaceRule, mirrorOf: string | undefined): Endpoint => {
    const full = `${at.location}${rest}`;
    const slash = full.indexOf('/');
    const host = full.slice(0, slash);
    return {
      host: host === 'docker.io' ? dockerHost : host,
      repository: full.slice(slash + 1),
      mirrorOf,
      insecure: at.insecure || isLoopback(host),
      ca: at.ca,
      cert: at.cert,
      key: at.key,
      credential: credentialFor(host, full.slice(slash + 1)),
    };
  };
  return [...(rule?.mirrors ?? []).map(mirror => endpointAt(mirror, registry)), endpointAt(place, undefined)];
}

/** As with Docker, nothing on its own machine has to have a certificate. */
export function isLoopback(host: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/.test(host);
}
