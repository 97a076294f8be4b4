/**
 * A manager that waits for its unlock key: it runs its containers, and says so to whoever asks for anything else.
 *
 * Called by member-node.ts. Not here: the keys (keys/), opening it (unlock.ts).
 */
import type { Services } from '../gen/services.js';
import type { Finding } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import { gateControl } from './control-gate.js';
import { type Lock, lockedError } from './keys/index.js';
import { wishOf } from './sight.js';
import { type WorkerMemory, workerControl } from './worker-control.js';

/** Refuses everything, but for what a worker would answer from memory (`node ls --stale`). */
export function lockedControl(lock: Lock, memory: WorkerMemory): Handlers<Services['Control']> {
  const refused = gateControl(() => {
    throw lockedError(lock);
  });
  const remembered = workerControl(memory);
  return {
    ...refused,
    listNodes: async (request, context) => {
      if (wishOf(context) !== 'stale') return await refused.listNodes(request, context);
      const answer = await remembered.listNodes(request, context);
      const asOf = answer.asOf && { ...answer.asOf, why: 'remembered by this manager, which is locked: covey unlock' };
      return { ...answer, asOf };
    },
  };
}

/** What doctor says of it: that no manager is heard goes without saying. */
export function withLockFinding(lock: Lock | undefined, others: readonly Finding[]): readonly Finding[] {
  if (lock === undefined) return others;
  const { message, state = '', hint = '' } = lockedError(lock, 'this manager is locked');
  const locked: Finding = { level: 'fail', code: 'locked', message: `${message}: ${state}`, hint };
  return [locked, ...others.filter(({ code }) => code !== 'managers-unreachable')];
}
