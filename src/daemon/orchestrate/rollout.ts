/**
 * Replaces tasks of an old spec: those that do not run at once, those that run one at a time, stopped first. The next one
 * goes only when every other slot runs the present spec or still the old one, so a spec that does not start takes down one
 * task and no more.
 *
 * Called by replicated.ts and global.ts. Not here: making the successor (slot.ts does that when the old task has ended).
 */
import type { Task } from '../../gen/types.js';
import type { Circumstances, Slot, SlotPlan, Step } from './slot.js';

export interface PlannedSlot {
  readonly slot: Slot;
  readonly plan: SlotPlan;
}

export function planRollout(slots: readonly PlannedSlot[], { specVersion }: Circumstances): readonly Step[] {
  const stale: Task[] = [];
  let isBusy = false;
  for (const { slot, plan } of slots) {
    const { keep } = plan;
    const isOld = keep !== undefined && keep.specVersion < specVersion;
    if (isOld) stale.push(keep);
    else if (keep?.status.state !== 'running' && !isResting(slot, plan)) isBusy = true;
  }
  const idle = stale.filter(task => task.status.state !== 'running');
  const running = stale.filter(task => task.status.state === 'running');
  const next = isBusy || idle.length > 0 ? [] : running.slice(0, 1);
  return [...idle, ...next].map(task => ({ kind: 'retire', task: task.id, desired: 'shutdown' }));
}

/** Nothing runs in it and nothing is about to: its last task ended and is not restarted, or its node takes none. */
function isResting(slot: Slot, plan: SlotPlan): boolean {
  const isActive = slot.tasks.some(
    task => !['complete', 'shutdown', 'failed', 'rejected', 'orphaned'].includes(task.status.state),
  );
  return !isActive && !plan.steps.some(step => step.kind === 'create');
}
