/**
 * What the agent of a node has to have: its tasks, the secrets and configs that those tasks name, and the credentials with
 * which they pull; no others.
 *
 * A task whose endpoint is still being taken away is held: its agent does not hear of the stop yet (drain.ts). Changes that
 * the agent made itself (statuses) are not sent back to it.
 *
 * Pure. Called by sessions.ts.
 */
import type { Config, Secret, Task } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import type { View } from '../../raft/store.js';
import { sameContent } from './diff.js';
import { isPlaced, isWanted } from './tables.js';

export interface WantedOfNode {
  readonly tasks: ReadonlyMap<TaskId, Task>;
  readonly secrets: ReadonlyMap<string, Secret>;
  readonly configs: ReadonlyMap<string, Config>;
}

export const nothingWanted: WantedOfNode = { tasks: new Map(), secrets: new Map(), configs: new Map() };

/** `isHeld` says whether the stop of the task has to wait. */
export function planAssignments(view: View, nodeId: string, isHeld: (taskId: TaskId) => boolean): WantedOfNode {
  const tasks = new Map<TaskId, Task>();
  const secrets = new Map<string, Secret>();
  const configs = new Map<string, Config>();
  for (const task of view.tasksOfNode(nodeId)) {
    if (!isAssigned(task)) continue;
    const held = !isWanted(task) && isHeld(task.id);
    tasks.set(task.id, held ? { ...task, desired: 'running' } : task);
    if (!isPlaced(task)) continue;
    addFound(secrets, task.serviceId, view.find('secret', task.serviceId));
    for (const container of task.spec.containers) {
      for (const { source } of container.secrets) addFound(secrets, source, view.find('secret', source));
      for (const { source } of container.configs) addFound(configs, source, view.find('config', source));
    }
  }
  return { tasks, secrets, configs };
}

/** Whether a task of the node names any of those secrets and configs, or pulls with those credentials. */
export function isNamedOn(view: View, nodeId: string, ids: ReadonlySet<string>): boolean {
  for (const task of view.tasksOfNode(nodeId)) {
    if (ids.has(task.serviceId)) return true;
    for (const { secrets, configs } of task.spec.containers) {
      if (secrets.some(({ source }) => ids.has(source)) || configs.some(({ source }) => ids.has(source))) return true;
    }
  }
  return false;
}

export interface AssignmentChanges {
  readonly tasks: readonly Task[];
  readonly removedTasks: readonly TaskId[];
  readonly secrets: readonly Secret[];
  readonly configs: readonly Config[];
}

/** undefined when there is nothing to say. */
export function diffAssignments(sent: WantedOfNode, wanted: WantedOfNode): AssignmentChanges | undefined {
  const tasks: Task[] = [];
  for (const [id, task] of wanted.tasks) {
    const before = sent.tasks.get(id);
    if (before === undefined || !sameOrder(before, task)) tasks.push(task);
  }
  const removedTasks = [...sent.tasks.keys()].filter(id => !wanted.tasks.has(id));
  const secrets = newOnes(sent.secrets, wanted.secrets);
  const configs = newOnes(sent.configs, wanted.configs);
  const count = tasks.length + removedTasks.length + secrets.length + configs.length;
  return count === 0 ? undefined : { tasks, removedTasks, secrets, configs };
}

/** Ended ones too, as long as they are in the store: their logs and exit codes are still asked for. */
function isAssigned(task: Task): boolean {
  return task.status.state !== 'new' && task.status.state !== 'pending' && task.status.state !== 'orphaned';
}

/** Whether both tell the agent the same. Of the spec of a task, nothing but its limits ever changes. */
function sameOrder(left: Task, right: Task): boolean {
  return (
    left === right ||
    (left.desired === right.desired &&
      left.startAfterMs === right.startAfterMs &&
      left.stopAfterDisconnectMs === right.stopAfterDisconnectMs &&
      sameContent(left.spec.limits, right.spec.limits) &&
      sameContent(left.endpoints, right.endpoints) &&
      sameContent(left.ports, right.ports))
  );
}

function addFound<Item>(into: Map<string, Item>, id: string, found: Item | undefined): void {
  if (found !== undefined) into.set(id, found);
}

function newOnes<Item extends { readonly digest: Uint8Array }>(
  sent: ReadonlyMap<string, Item>,
  wanted: ReadonlyMap<string, Item>,
): readonly Item[] {
  return [...wanted].filter(([id, item]) => !isSameData(sent.get(id), item)).map(([, item]) => item);
}

function isSameData(
  sent: { readonly digest: Uint8Array } | undefined,
  wanted: { readonly digest: Uint8Array },
): boolean {
  return sent !== undefined && (sent === wanted || Buffer.compare(sent.digest, wanted.digest) === 0);
}
