/**
 * The client's half of the OCI distribution specification: finding, proving, resolving and reading, for the child that pulls.
 *
 * Keeps true: a credential goes to the place it is for and to its realm, and nowhere else; nothing is read before its digest
 * was checked; what may pass is repeated with patience, and what may not is told at once.
 *
 * How it goes: `endpoints.ts` says where to ask -> `client.ts` asks (`transport.ts`, `tokens.ts`) -> `resolve.ts` finds
 * manifest and config -> `blob.ts` reads layers, `patience.ts` repeats.
 *
 * Try it: `scripts/tap tasks/image/registry` (a registry of our own that lies, stalls and cuts).
 */
export { streamBlob } from './blob.js';
export { openRegistry, type Registry } from './client.js';
export {
  type Credential,
  type Credentials,
  type Picked,
  parseCredentials,
  pickCredentials,
  renderCredentials,
} from './credentials.js';
export { type Endpoint, planEndpoints } from './endpoints.js';
export { type PatienceLimits, type PatienceParts, patienceLimits, patiently } from './patience.js';
export { findDigest, type Resolved, resolveImage } from './resolve.js';
export { parseRules, type RegistryRule } from './rules.js';
export { openTransport, type ProxyEnvironment, type TlsChoice } from './transport.js';
