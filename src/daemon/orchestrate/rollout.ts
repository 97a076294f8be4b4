/**
 * Replaces tasks of an old spec: those that do not run at once, those that run one at a time, stopped first. The next one
 * goes only when what came before runs, and only when its successor would find a place; so a spec that does not start takes
 * down one task and no more, and one that fits nowhere takes down none.
 *
 * Called by replicated.ts and global.ts. Not here: making the successor (slot.ts does that when the old task has ended),
 * whether it would fit (schedule/; asked through `obstacle`).
 */
import type { Task } from '../../gen/types.js';
import { isEnded } from '../../raft/store.js';
import { type Circumstances, isWanted, type Slot, type SlotPlan, type Step } from './slot.js';

export interface PlannedSlot {
  readonly slot: Slot;
  readonly plan: SlotPlan;
}

export function planRollout(slots: readonly PlannedSlot[], circumstances: Circumstances): readonly Step[] {
  const stale: Task[] = [];
  let isBusy = false;
  for (const { slot, plan } of slots) {
    const { keep } = plan;
    if (keep !== undefined && keep.specVersion < circumstances.specVersion) stale.push(keep);
    else if (isInTransit(slot, plan, circumstances.specVersion)) isBusy = true;
  }
  const idle = stale.filter(task => task.status.state !== 'running');
  const running = stale.filter(task => task.status.state === 'running');
  const next = isBusy || idle.length > 0 || running.length === 0 ? [] : planNext(running, circumstances);
  return [...idle.map(stopped), ...next];
}

function planNext(running: readonly Task[], { obstacle }: Circumstances): readonly Step[] {
  let first: Step | undefined;
  for (const task of running) {
    const message = obstacle(task);
    if (message === undefined) return [stopped(task)];
    first ??= { kind: 'say', task: task.id, message: `waits to be replaced: ${message}` };
  }
  return first === undefined ? [] : [first];
}

function stopped(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'shutdown' };
}

/**
 * A task of it is being stopped or started, or the new one has failed. One that only waits for a place is not counted: it may
 * wait for the very place that an old task holds.
 */
function isInTransit(slot: Slot, { keep, steps }: SlotPlan, specVersion: number): boolean {
  if (keep !== undefined) return keep.status.state !== 'running' && keep.status.state !== 'pending';
  const hasFailed = slot.tasks.some(
    task =>
      task.specVersion === specVersion &&
      isWanted(task.desired) &&
      (task.status.state === 'failed' || task.status.state === 'rejected'),
  );
  const isActive = slot.tasks.some(task => !isEnded(task.status.state));
  return hasFailed || isActive || steps.some(step => step.kind === 'create');
}
