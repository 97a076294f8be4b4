/**
 * Identity: the root CA of a cluster, certificates of nodes, join tokens.
 *
 * Keeps true: keys are made where they are used; a token's secret is kept as its hash only; roles come from the store.
 *
 * How it goes: `issue.ts` serves Join, Renew and Leave -> `x509.ts` (loaded late) makes certificates -> `token.ts` and
 * `tokens.ts` are join tokens -> `renewal.ts` keeps a node's own certificate young -> `identity.ts` holds the present one.
 *
 * Try it: `npm run test -- daemon/ca`.
 */
export { holdIdentity, type IdentityHolder, type NodeIdentity } from './identity.js';
export { caHandlers } from './issue.js';
export { openRenewal } from './renewal.js';
export { tokenHandlers } from './tokens.js';
