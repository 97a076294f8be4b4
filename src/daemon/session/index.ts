/**
 * The node's half of the agent session.
 *
 * Keeps true: exactly one stream to a manager that leads, opened anew whatever happens; without managers tasks and tables stay
 * as they are; older commands are ignored.
 *
 * How it goes: `dial.ts` finds a manager -> `session.ts` serves the stream -> the agent gets assignments, `table-keeper.ts`
 * brings tables into effect -> `outbox.ts` holds what is still to say -> `memory.ts` remembers managers and tables on disk.
 *
 * Try it: `npm run test -- daemon/session`.
 */
export { makeDial } from './dial.js';
export { openSessionMemory } from './memory.js';
export { openSession } from './session.js';
export type { BulkAgent, Session, SessionTables } from './types.js';
