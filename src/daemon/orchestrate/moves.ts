/**
 * Moves of running tasks to other nodes, as a rebalancing asks for them (rebalance.ts): a mark on the task says where to and
 * until when. A marked task stands as on a draining node: its slot gets a second task, on the node of the mark, and it stops
 * when that one serves. As many at a time as the service's update parallelism allows for.
 *
 * Keeps true: a move always ends. It is given up, and the task stays where it is with the reason, when its time is over, the
 * node takes no tasks any more, its successor fails, or the service is being updated.
 *
 * Pure. Called by pass.ts. Not here: which tasks are to move (rebalance.ts), what happens within a slot (slot.ts).
 */
import type { Node, Task, TaskMove } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import { isEnded } from '../../raft/store.js';
import { byAge, type Footing, isLive, isWanted, type Step } from './slot.js';

export interface MovePlan {
  readonly steps: readonly Step[];
  /** Those that move now. */
  readonly moving: ReadonlySet<TaskId>;
}

export interface MoveCircumstances {
  readonly nowMs: number;
  readonly footing: (task: Task) => Footing;
  readonly findNode: (id: string) => Node | undefined;
  readonly isUpdating: boolean;
  /** At a time; 0: all. */
  readonly parallelism: number;
}

export function planMoves(tasks: readonly Task[], circumstances: MoveCircumstances): MovePlan {
  const steps: Step[] = [];
  const going: Marked[] = [];
  for (const task of tasks) {
    if (!isMarked(task) || !isLive(task)) continue;
    const successors = tasks.filter(other => other !== task && other.slot === task.slot && byAge(task, other) < 0);
    const because = findObstacle(task, successors, circumstances);
    if (because !== undefined) steps.push({ kind: 'stay', task: task.id, because });
    else going.push({ task, hasBegun: successors.some(isLive) });
  }
  // Those that have begun go on; one that was told to stop counts until it has.
  going.sort((a, b) => Number(b.hasBegun) - Number(a.hasBegun) || a.task.slot - b.task.slot);
  const leaving = tasks.filter(task => isMarked(task) && !isWanted(task.desired) && !isEnded(task.status.state)).length;
  const limit = circumstances.parallelism === 0 ? going.length : Math.max(0, circumstances.parallelism - leaving);
  const moving = going.slice(0, limit).map(({ task }) => task);
  const wakes = going.map(({ task }): Step => ({ kind: 'wake', atMs: task.move.untilMs }));
  return { steps: [...steps, ...wakes], moving: new Set(moving.map(task => task.id)) };
}

/** The node that a task is to take, when it is made for one that moves. */
export function findMoveTarget(task: Task, others: Iterable<Task>): string | undefined {
  for (const other of others) {
    if (other.id !== task.id && other.slot === task.slot && isLive(other) && isMarked(other)) return other.move.nodeId;
  }
  return undefined;
}

type MarkedTask = Task & { readonly move: TaskMove };

interface Marked {
  readonly task: MarkedTask;
  readonly hasBegun: boolean;
}

export function isMarked(task: Task): task is MarkedTask {
  return task.move !== undefined;
}

function findObstacle(
  task: MarkedTask,
  successors: readonly Task[],
  { nowMs, footing, findNode, isUpdating }: MoveCircumstances,
): string | undefined {
  const node = findNode(task.move.nodeId);
  const where = `not moved to ${node?.spec.name ?? task.move.nodeId}`;
  if (isUpdating) return `${where}: the service is being updated`;
  if (footing(task) !== 'fine') return `${where}: its own node is ${footing(task)}`;
  if (node === undefined || node.status.state !== 'ready') return `${where}: that is ${node?.status.state ?? 'gone'}`;
  if (node.spec.availability !== 'active') return `${where}: that takes no new tasks`;
  const failed = successors.find(({ status }) => status.state === 'failed' || status.state === 'rejected');
  if (failed !== undefined) return `${where}: ${failed.status.error || failed.status.message || failed.status.state}`;
  if (nowMs < task.move.untilMs) return undefined;
  const waits = successors.find(isLive)?.status.message;
  return `${where}: ${waits || 'no other one served in time'}`;
}
