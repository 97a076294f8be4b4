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
import { type Footing, isLive, type Step } from './slot.js';

interface NodeView {
  readonly find: (table: 'node', id: string) => Node | undefined;
}

const never = Number.POSITIVE_INFINITY;

/** From when on the tasks of the node are to run elsewhere. */
function lostAtMs(node: Node, loss: LossPolicy | undefined): number {
  const { state, sinceMs, silentSinceMs } = node.status;
  if (loss?.lostAfterMs === undefined) return state === 'lost' ? 0 : never;
  if (silentSinceMs === undefined) return state === 'lost' ? sinceMs : never;
  return silentSinceMs + loss.lostAfterMs;
}

/** When the tasks of a node that drains are stopped, whether or not others run in their place. */
function drainEndsMs({ spec }: Node): number {
  return spec.availability === 'drain' ? (spec.drainUntilMs ?? never) : never;
}

/** The times at which nodes of its tasks will count as lost, or have been drained for long enough. */
export function lossTimes(view: NodeView, service: Service, tasks: readonly Task[]): readonly number[] {
  const { loss } = service.spec;
  const nodes = new Set(tasks.filter(isLive).map(task => task.nodeId));
  return [...nodes]
    .flatMap(id => view.find('node', id) ?? [])
    .flatMap(node => [...(loss?.lostAfterMs === undefined ? [] : [lostAtMs(node, loss)]), drainEndsMs(node)])
    .filter(Number.isFinite);
}

/** Where a task stands. A node that is lost, or silent, counts as lost once it has been for as long as `loss` puts up with. */
export function footingOf(view: NodeView, task: Task, loss?: LossPolicy, nowMs = 0): Footing {
  if (task.nodeId === '') return 'unplaced';
  const node = view.find('node', task.nodeId);
  if (node === undefined || node.status.state === 'left') return 'gone';
  if (lostAtMs(node, loss) <= nowMs) return 'lost';
  if (node.spec.availability !== 'drain') return 'fine';
  return drainEndsMs(node) <= nowMs ? 'expelled' : 'draining';
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
