/**
 * The manager's half of the agent sessions: who is there, what each node has to run and to show, what the agents report.
 *
 * Keeps true: what a node is sent is computed from the store when it is sent; what agents report reaches the store through
 * their own edges only; stops wait for the endpoint to be gone.
 *
 * How it goes: `dispatcher.ts` serves the streams -> `node-session.ts` knows what each was sent -> `tables.ts` and
 * `assignments.ts` say what it should have -> `drain.ts` holds stops -> `presence.ts` and `reports.ts` write to the store.
 *
 * Try it: `npm run test -- dispatcher` (a store in memory, streams in memory).
 */
export { openDispatcher } from './dispatcher.js';
export type { BulkRelay, Dispatcher } from './types.js';
