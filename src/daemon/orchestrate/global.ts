/**
 * Keeps one task of a global service on every node that its constraints admit.
 *
 * A node that is lost keeps its task (there is no other place for it); one that the constraints admit no more has it stopped;
 * one that is paused keeps what it has and gets nothing new. One that drains has it stopped last, when the tasks of replicated
 * services have gone: those may need it there (logs, storage, metrics) to their end.
 *
 * Called by pass.ts. Not here: what happens within a slot (slot.ts), whether the task fits (schedule/place.ts).
 */
import type { Node, Task } from '../../gen/types.js';
import type { NodeId } from '../../ids.js';
import { byAge, type Circumstances, type Footing, isLive, planSlot, type Slot, type Step } from './slot.js';
import { planUpdate } from './update.js';

const stopsLast = 'stops last';

export interface GlobalNodes {
  readonly nodes: readonly Node[];
  readonly admits: (node: Node) => boolean;
  /** Tasks of replicated services there that have not ended. */
  readonly countOthers: (node: Node) => number;
}

export function planGlobal(
  { nodes, admits, countOthers }: GlobalNodes,
  tasks: readonly Task[],
  circumstances: Circumstances,
): readonly Step[] {
  const wanted = tasks.filter(task => task.desired !== 'remove');
  const byNode = Map.groupBy(wanted, task => task.nodeId);
  const present = new Set<NodeId>(nodes.map(node => node.id));
  const steps: Step[] = [];
  const slots: Slot[] = [];
  for (const node of nodes) {
    const group = (byNode.get(node.id) ?? []).sort(byAge);
    const isWelcome = node.spec.availability !== 'drain' && admits(node);
    const others = admits(node) && node.status.state === 'ready' ? countOthers(node) : 0;
    if (isWelcome) steps.push(...group.flatMap(planStaying));
    if (isWelcome) slots.push({ number: 0, nodeId: node.id, tasks: group, mayCreate: takesTasks(node) });
    else steps.push(...group.filter(isLive).flatMap(task => planLeaving(task, others, circumstances)));
  }
  // A lost node's task still fills its slot: nowhere else could another one stand in for it.
  const patient: Circumstances = { ...circumstances, footing: task => patience(circumstances.footing(task)) };
  const planned = slots.map(slot => ({ slot, plan: planSlot(slot, patient) }));
  const reachable = planned.filter(
    ({ slot, plan }) => slot.mayCreate && (plan.keep === undefined || circumstances.footing(plan.keep) !== 'lost'),
  );
  return [
    ...planned.flatMap(({ plan }) => plan.steps),
    ...steps,
    ...planUpdate(reachable, patient),
    ...wanted.filter(task => !present.has(task.nodeId)).map(removed),
  ];
}

function planLeaving(task: Task, others: number, { footing }: Circumstances): readonly Step[] {
  if (others === 0 || footing(task) === 'expelled') return [stopped(task)];
  const message = `${stopsLast}: ${others} ${others === 1 ? 'task' : 'tasks'} of other services still here`;
  return [{ kind: 'say', task: task.id, message }];
}

/** The drain was called off. */
function planStaying(task: Task): readonly Step[] {
  return task.status.message.startsWith(stopsLast) ? [{ kind: 'say', task: task.id, message: '' }] : [];
}

function takesTasks(node: Node): boolean {
  return node.status.state === 'ready' && node.spec.availability === 'active';
}

function patience(footing: Footing): Footing {
  return footing === 'lost' ? 'fine' : footing;
}

function stopped(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'shutdown' };
}

function removed(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'remove' };
}
