/**
 * A node that comes back without a task that was filled a second time meanwhile: that task is gone, and its replacement must
 * not go in its favour.
 *
 * `findAbsent` is the rule. Called by serve.ts at each hello, before the node counts as ready. Not here: which of two tasks
 * stays when both are there (orchestrate/slot.ts).
 */
import type { Hello, Task } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { NodeId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import { type Store, stateRank, type View } from '../../raft/store.js';
import { isPlaced } from './tables.js';

export function findAbsent(view: View, nodeId: NodeId, hello: Pick<Hello, 'tasks'>): readonly Task[] {
  const said = new Set<string>(hello.tasks.map(report => report.taskId));
  return [...view.tasksOfNode(nodeId)].filter(
    task =>
      task.superseded && isPlaced(task) && stateRank(task.status.state) > stateRank('assigned') && !said.has(task.id),
  );
}

export async function orphanAbsent(
  { store, clock, lifetime }: { readonly store: Store; readonly clock: Clock; readonly lifetime: Lifetime },
  nodeId: NodeId,
  hello: Pick<Hello, 'tasks'>,
): Promise<void> {
  if (findAbsent(store.view(), nodeId, hello).length === 0) return;
  const error = 'its node came back without it';
  await store.update(
    view =>
      findAbsent(view, nodeId, hello).map(task => {
        const status = { ...task.status, state: 'orphaned' as const, sinceMs: clock.wallMs(), error };
        return { kind: 'put', table: 'task', object: { ...task, status } };
      }),
    { principal: 'system:reconcile', signal: lifetime.signal },
  );
}
