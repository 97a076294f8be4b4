/**
 * Identity: the root CA of a cluster, certificates of nodes, join tokens.
 *
 * Keeps true: keys are made where they are used; a token's secret is kept as its hash only; roles come from the store.
 *
 * How it goes: `issue.ts` serves Join, Renew, Recover and Leave -> `authority.ts` says who signs and whom nodes trust ->
 * `grant.ts` and `x509.ts` (loaded late) make certificates -> `token.ts` and `tokens.ts` are join tokens -> `renewal.ts` keeps a
 * node's own certificate young -> `identity.ts` holds the present one.
 *
 * Try it: `npm run test -- daemon/ca`.
 */
export { holdIdentity, type IdentityHolder, type NodeIdentity } from './identity.js';
export { caHandlers } from './issue.js';
export { openRenewal, type RenewalOptions } from './renewal.js';
export { tokenHandlers } from './tokens.js';
