/**
 * Servers and connections: one port between nodes, one unix socket for people, who may call what.
 *
 * Keeps true: no handler runs before the role table allowed the call; every connection is verified or known to be anonymous.
 *
 * How it goes: `cluster-server.ts` (TLS 1.3, certificates) and `local-server.ts` (unix socket, uid) ask `roles.ts`;
 * `client.ts` connects to managers, `refused.ts` asks whether one has ended; `root-fetch.ts` gets the root that a token names.
 *
 * Try it: `npm run test -- daemon/rpc`.
 */
export { connectToManager, type ManagerClient } from './client.js';
export { type ClusterServer, openClusterServer } from './cluster-server.js';
export { openLocalServer } from './local-server.js';
export { isRefused } from './refused.js';
