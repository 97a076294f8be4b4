/**
 * `task restart`: the managers put another task in the place of each. A task is started once and never again; a further attempt
 * is opened by its agent alone, when no manager answers (ARCHITECTURE.md). So the old task is told to end, and orchestrate
 * fills its slot at once, because what was told to end is replaced whatever the restart policy says.
 *
 * Not here: filling the slot (orchestrate/slot.ts).
 */
import type { Write } from '../../raft/store.js';
import { checkTaskVerb, getTask } from '../bulk/target.js';
import { type ControlHandlers, change, type Parts } from './parts.js';

export function restartTasksOf(parts: Parts): ControlHandlers['restartTasks'] {
  return async ({ tasks: texts }, context) => {
    const ids = [...new Set(texts.map(text => getTask(parts.store.view(), text).id))];
    await change(parts, context, view =>
      ids.map((id): Write => {
        const task = getTask(view, id);
        checkTaskVerb('restart', task);
        return { kind: 'put', table: 'task', object: { ...task, desired: 'shutdown' } };
      }),
    );
    return { taskIds: ids };
  };
}
