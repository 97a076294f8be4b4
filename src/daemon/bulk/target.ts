/**
 * The task that a bulk stream or a verb is for: found by what people call it, and asked whether its state allows it.
 *
 * Not here: which verb goes in which state (tasks/verbs.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Task } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { checkVerb, type TaskVerbName } from '../../tasks/verbs.js';
import { getTasks } from '../control/find.js';

/** By id, beginning of an id, or name; of a place with history, the task that counts now. */
export function getTask(view: View, text: string): Task {
  const [task] = getTasks(view, text);
  if (task !== undefined) return task;
  throw new CoveyError('not-found', `Cannot find task "${text}"`);
}

/** Throws what forbids the verb. */
export function taskFor(view: View, verb: TaskVerbName, text: string): Task {
  const task = getTask(view, text);
  checkTaskVerb(verb, task);
  return task;
}

/** False when there is nothing to do. */
export function checkTaskVerb(verb: TaskVerbName, task: Task): boolean {
  const name = task.slot > 0 ? `${task.serviceName}.${task.slot}` : task.id;
  const { state, paused, error } = task.status;
  return checkVerb(verb, { name, state, paused: paused ?? false, error, desired: task.desired });
}

/** "web.1", or "web.rack1" for a task whose slot is its node. */
export function taskNameOf(task: Task, nodeName: string): string {
  return `${task.serviceName}.${task.slot === 0 ? nodeName : task.slot}`;
}
