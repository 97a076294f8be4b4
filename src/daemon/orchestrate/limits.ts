/**
 * Limits that were changed in a service without a change of anything else: its tasks get them where they are, without a
 * restart. Pure; it says nothing when all tasks have them.
 *
 * A task of an older spec is left alone: it is being replaced. Called by pass.ts. Not here: which changes are of limits alone
 * (spec-change.ts), what the node does (tasks/usage).
 */
import type { Service, Task } from '../../gen/types.js';
import { isSame } from '../control/same.js';
import { isCurrent } from './revisions.js';
import { isLive, type Step } from './slot.js';

export function planLimitChanges(service: Service, tasks: readonly Task[]): readonly Step[] {
  const { limits } = service.spec.task;
  return tasks
    .filter(task => isLive(task) && isCurrent(task, service) && !isSame(task.spec.limits, limits))
    .map(task => ({ kind: 'limit', task: task.id, limits }));
}
