/**
 * When a silent node counts as lost for the tasks of one service, by its LossPolicy, and what its agents have to know of that.
 *
 *     heard of                       fine
 *     silent for lost_after          lost: the slot is filled a second time, the first task is superseded
 *     heard of again                 reconcile says which of the two stays (slot.ts); neither goes before the other one serves
 *
 * Without a policy of the service a node's tasks are lost when the node is. Pure. Called by pass.ts. Not here: noticing the
 * silence (dispatcher/presence.ts).
 */
import type { LossPolicy, Node, Service, Task } from '../../gen/types.js';
import { isLive, type Step } from './slot.js';

const never = Number.POSITIVE_INFINITY;

/** From when on the tasks of the node are to run elsewhere. */
export function lostAtMs(node: Node, loss: LossPolicy | undefined): number {
  const { state, sinceMs, silentSinceMs } = node.status;
  if (loss?.lostAfterMs === undefined) return state === 'lost' ? 0 : never;
  if (silentSinceMs === undefined) return state === 'lost' ? sinceMs : never;
  return silentSinceMs + loss.lostAfterMs;
}

/** The times at which nodes of its tasks will count as lost. */
export function lossTimes(
  view: { readonly find: (table: 'node', id: string) => Node | undefined },
  service: Service,
  tasks: readonly Task[],
): readonly number[] {
  const { loss } = service.spec;
  if (loss?.lostAfterMs === undefined) return [];
  const nodes = new Set(tasks.filter(isLive).map(task => task.nodeId));
  return [...nodes]
    .flatMap(id => view.find('node', id) ?? [])
    .map(node => lostAtMs(node, loss))
    .filter(Number.isFinite);
}

export function stopAfterDisconnectOf({ spec }: Service): number | undefined {
  const ms = spec.loss?.stopAfterDisconnectMs ?? 0;
  return ms === 0 ? undefined : ms;
}

/** Tasks get a changed stop-after-disconnect where they are. */
export function planTies(service: Service, tasks: readonly Task[]): readonly Step[] {
  const stopAfterDisconnectMs = stopAfterDisconnectOf(service);
  return tasks
    .filter(task => isLive(task) && task.stopAfterDisconnectMs !== stopAfterDisconnectMs)
    .map(task => ({ kind: 'tie', task: task.id, stopAfterDisconnectMs }));
}
