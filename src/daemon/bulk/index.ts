/**
 * Bulk data (exec, logs) between people, managers and nodes, on connections of its own, so that a flood never delays a
 * heartbeat.
 *
 * Keeps true: a reader that stops reading stops the writer, across all hops; nothing here buffers more than a few frames.
 *
 * How it goes: `relay.ts` makes a ticket and asks the node -> `node.ts` opens the stream and runs it -> `logs.ts` merges the
 * streams of many tasks.
 *
 * Try it: `npm run test -- bulk`.
 */
export { openBulkRelay } from './relay.js';
