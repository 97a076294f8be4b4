/**
 * Which tasks to move so that nodes that came late, or came back, share the work.
 *
 * What is even is what placement goes by (schedule/place.ts): first the tasks of a service are spread over the nodes, then all
 * tasks. A task moves from A to B when its service has at least two more tasks on A than on B, or one more and A has at least
 * two tasks more in all. Each such move makes the sum of squares, of the tasks of services by node and then of all tasks by
 * node, smaller, so there is an end, and after it there is nothing left to plan.
 *
 * Keeps true: a task goes only where the one feasibility function lets it (after the moves before it). What has volumes of its
 * own on a node stays there, and what is spread over labels where placement put it. What does not serve, is being updated, or moves already is left alone.
 *
 * Pure. Called by control/rebalance.ts. Not here: carrying moves out (moves.ts).
 */
import type { Node, Service, Task } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import type { View } from '../../raft/store.js';
import { isServing } from '../../serving.js';
import { addTask, demandOf, findRefusal, type NodeUsage, surveyNodes, withoutTask } from '../schedule/filters.js';
import { failuresByNode, failuresMax } from '../schedule/place.js';
import { namedVolumes } from '../schedule/volumes.js';
import { isMarked } from './moves.js';
import { isUnderWay } from './progress.js';
import { isCurrent } from './revisions.js';
import { isLive } from './slot.js';

export interface Move {
  readonly task: Task;
  readonly to: Node;
}

export interface Rebalancing {
  readonly moves: readonly Move[];
  /** There are more than were asked for. */
  readonly isMore: boolean;
  /** What stays as it is though it might be spread better, and why. */
  readonly notes: readonly string[];
}

interface Group {
  readonly service: Service;
  /** Those that may move, by the node that they are on (or will be). */
  readonly tasks: Map<string, Task[]>;
  readonly failures: ReadonlyMap<string, number>;
}

interface Planning {
  readonly usages: Map<string, NodeUsage>;
  readonly groups: readonly Group[];
  /** By task; one that goes on from where it was to go, goes there at once. */
  readonly moves: Map<TaskId, Move>;
  readonly movesMax: number;
}

export function planRebalance(
  view: View,
  { movesMax, nowMs }: { readonly movesMax: number; readonly nowMs: number },
): Rebalancing {
  const notes: string[] = [];
  const planning: Planning = {
    usages: new Map(surveyNodes(view.list('node'), view.list('task'))),
    groups: [...view.list('service')]
      .sort((a, b) => (a.spec.name < b.spec.name ? -1 : 1))
      .flatMap(service => groupOf(view, service, { nowMs, notes })),
    moves: new Map(),
    // One more than asked for shows whether there are more.
    movesMax: movesMax + 1,
  };
  for (let wentOn = true; wentOn; ) {
    wentOn = false;
    for (const group of planning.groups) while (spreadService(planning, group)) wentOn = true;
    while (spreadAll(planning)) wentOn = true;
  }
  const moves = [...planning.moves.values()];
  return { moves: moves.slice(0, movesMax), isMore: moves.length > movesMax, notes };
}

/** None when nothing of the service may move. */
function groupOf(
  view: View,
  service: Service,
  { nowMs, notes }: { readonly nowMs: number; readonly notes: string[] },
): readonly Group[] {
  if (service.removing || service.spec.mode.kind !== 'replicated') return [];
  const all = [...view.tasksOfService(service.id)];
  const live = all.filter(isLive);
  const { name } = service.spec;
  if (service.rollout !== undefined && isUnderWay(service.rollout)) {
    notes.push(`${name} is being updated`);
    return [];
  }
  if (live.some(isMarked)) {
    notes.push(`${name} is being moved already`);
    return [];
  }
  if (namedVolumes(service.spec.task).length > 0) {
    notes.push(`${name} has volumes on its nodes`);
    return [];
  }
  if (service.spec.task.placement.spread.length > 0) {
    notes.push(`${name} is spread by its own preference`);
    return [];
  }
  const inSlot = Map.groupBy(live, task => task.slot);
  const tasks = live.filter(task => mayMove(view, task, service) && inSlot.get(task.slot)?.length === 1);
  const failures = failuresByNode(all, service.specVersion, nowMs);
  return [{ service, tasks: Map.groupBy(tasks.sort(bySlotDown), task => task.nodeId), failures }];
}

function mayMove(view: View, task: Task, service: Service): boolean {
  if (task.desired !== 'running' || task.superseded || !isServing(task.status)) return false;
  const node = view.find('node', task.nodeId);
  return isCurrent(task, service) && node?.status.state === 'ready' && node.spec.availability !== 'drain';
}

function bySlotDown(a: Task, b: Task): number {
  return b.slot - a.slot;
}

/** One move that spreads the tasks of the service; false when there is none. */
function spreadService(planning: Planning, group: Group): boolean {
  const count = countOf(group);
  const usages = [...planning.usages.values()];
  const full = usages.filter(usage => group.tasks.has(usage.node.id)).sort(byCount(count, -1));
  const empty = usages.sort(byCount(count, 1));
  for (const from of full) {
    for (const to of empty) {
      if (count(from) - count(to) < 2) break;
      if (move(planning, group, { from, to })) return true;
    }
  }
  return false;
}

/** One move that spreads all tasks and leaves each service as spread as it is; false when there is none. */
function spreadAll(planning: Planning): boolean {
  const byTasks = [...planning.usages.values()].sort((a, b) => a.tasks - b.tasks || (a.node.id < b.node.id ? -1 : 1));
  for (const from of byTasks.toReversed()) {
    const groups = planning.groups.filter(group => group.tasks.has(from.node.id));
    for (const to of byTasks) {
      if (from.tasks - to.tasks < 2) break;
      for (const group of groups) {
        const count = countOf(group);
        if (count(from) - count(to) === 1 && move(planning, group, { from, to })) return true;
      }
    }
  }
  return false;
}

function countOf({ service }: Group): (usage: NodeUsage) => number {
  return usage => usage.services.get(service.id) ?? 0;
}

function byCount(count: (usage: NodeUsage) => number, sign: 1 | -1): (a: NodeUsage, b: NodeUsage) => number {
  return (a, b) => sign * (count(a) - count(b) || a.tasks - b.tasks) || (a.node.id < b.node.id ? -1 : 1);
}

/** Notes the move of one task of the group, if it can go there. */
function move(
  { usages, moves, movesMax }: Planning,
  { tasks, failures }: Group,
  { from, to }: { readonly from: NodeUsage; readonly to: NodeUsage },
): boolean {
  const here = tasks.get(from.node.id) ?? [];
  const [task, ...rest] = here;
  if (task === undefined || moves.size >= movesMax) return false;
  if ((failures.get(to.node.id) ?? 0) >= failuresMax) return false;
  if (findRefusal(to, demandOf(task)) !== undefined) return false;
  if (rest.length === 0) tasks.delete(from.node.id);
  else tasks.set(from.node.id, rest);
  tasks.set(to.node.id, [...(tasks.get(to.node.id) ?? []), task]);
  const after = { ...to, services: new Map(to.services), hostPorts: new Set(to.hostPorts) };
  addTask(after, task);
  usages.set(from.node.id, withoutTask(from, task));
  usages.set(to.node.id, after);
  if (to.node.id === task.nodeId) moves.delete(task.id);
  else moves.set(task.id, { task, to: to.node });
  return true;
}
