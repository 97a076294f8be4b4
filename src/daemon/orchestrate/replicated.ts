/**
 * Keeps each replicated service at its number of replicas.
 *
 * `planReplicas` is arithmetic: wanted and seen in, steps out. Calling it again, late, or after a missed event is harmless:
 * when nothing is to be done the plan is empty.
 *
 * Called by pass.ts. Not here: what happens within a slot (slot.ts), choosing nodes (schedule/place.ts), deletion (reap.ts).
 */
import type { Task } from '../../gen/types.js';
import { byAge, type Circumstances, isLive, planSlot, type Slot, type Step } from './slot.js';
import { planUpdate } from './update.js';

export function planReplicas(replicas: number, tasks: readonly Task[], circumstances: Circumstances): readonly Step[] {
  const slots = slotsOf(tasks);
  const surplus = slots.length - replicas;
  const retired = surplus > 0 ? leastMissed(slots, surplus, circumstances) : [];
  const kept = slots.filter(slot => !retired.includes(slot));
  const planned = kept.map(slot => ({ slot, plan: planSlot(slot, circumstances) }));
  return [
    ...freeNumbers(slots, -surplus).map(created),
    ...planned.flatMap(({ plan }) => plan.steps),
    ...planUpdate(planned, circumstances),
    ...retired.flatMap(slot => slot.tasks).map(removed),
  ];
}

/** Slots in which a task is wanted, by number. A slot whose tasks are all to be removed is none any more. */
function slotsOf(tasks: readonly Task[]): readonly Slot[] {
  const groups = Map.groupBy(
    tasks.filter(task => task.desired !== 'remove'),
    task => task.slot,
  );
  return [...groups]
    .map(([number, group]) => ({ number, nodeId: undefined, tasks: group.sort(byAge), mayCreate: true }))
    .sort((a, b) => a.number - b.number);
}

function created(slot: number): Step {
  return { kind: 'create', slot, nodeId: undefined, startAfterMs: 0, failures: 0, restarts: undefined };
}

function removed(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'remove' };
}

function freeNumbers(slots: readonly Slot[], count: number): readonly number[] {
  const taken = new Set(slots.map(slot => slot.number));
  const free: number[] = [];
  for (let number = 1; free.length < count; number++) if (!taken.has(number)) free.push(number);
  return free;
}

/** So many slots to give up: what does not run first, then from the node that has most of them, then the highest number. */
function leastMissed(slots: readonly Slot[], count: number, { footing }: Circumstances): readonly Slot[] {
  const isSound = (task: Task): boolean => isLive(task) && task.status.state === 'running' && footing(task) === 'fine';
  const rest = new Map(slots.map(slot => [slot, slot.tasks.find(isSound)?.nodeId]));
  const crowd = new Map<string, number>();
  for (const node of rest.values()) if (node !== undefined) crowd.set(node, (crowd.get(node) ?? 0) + 1);
  const chosen: Slot[] = [];
  while (chosen.length < count) {
    let next: Slot | undefined;
    let most = 0;
    for (const [slot, node] of rest) {
      const weight = node === undefined ? Number.POSITIVE_INFINITY : (crowd.get(node) ?? 0);
      if (next !== undefined && (weight < most || (weight === most && slot.number < next.number))) continue;
      next = slot;
      most = weight;
    }
    if (next === undefined) break;
    const node = rest.get(next);
    if (node !== undefined) crowd.set(node, (crowd.get(node) ?? 1) - 1);
    rest.delete(next);
    chosen.push(next);
  }
  return chosen;
}
