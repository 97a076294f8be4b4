/**
 * A container of a task by the name that people give; the main one without.
 *
 * Not here: tasks by name (daemon/control).
 */
import { CoveyError } from '../errors.js';
import type { Task } from '../gen/types.js';

/** Its index in the task. */
export function getContainer(task: Task, name: string): number {
  if (name === '') return 0;
  const index = task.spec.containers.findIndex(container => container.name === name);
  if (index >= 0) return index;
  throw new CoveyError('not-found', `Cannot find container "${name}" in task ${task.id}`, {
    state: `it has ${task.spec.containers.map(container => `"${container.name}"`).join(', ')}`,
  });
}
