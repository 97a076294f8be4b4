/**
 * Holds the stop of a task until the nodes that send traffic to it have acknowledged that its endpoint is gone, for at most a
 * second. So a client's connection is never answered by a container that was told to stop a moment ago.
 *
 *     store: desired = shutdown  ->  tables without the endpoint to every node that has it
 *     all acknowledged, or 1 s   ->  assignment with desired = shutdown to the task's agent
 *
 * `holdsFor` and `endedHolds` are the rules, `openHolding` the shell with the timer. Not here: who has acknowledged
 * (node-session.ts).
 */
import type { Task } from '../../gen/types.js';
import type { Clock, Timer } from '../../host.js';
import type { NodeId, TaskId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { StoreEvent, View } from '../../raft/store.js';
import { isWanted } from './tables.js';

export interface Hold {
  readonly taskId: TaskId;
  readonly nodeId: NodeId;
  /** The change of tables that takes the endpoint away. */
  readonly epoch: number;
  readonly untilMs: number;
}

type Holds = Map<TaskId, Hold>;

const holdMs = 1_000;

export interface Holding {
  readonly isHeld: (taskId: TaskId) => boolean;
  /** Begins holds for those of the tasks that need one. */
  readonly hold: (tasks: Iterable<Task>, epoch: number) => void;
  /** Ends the holds that may end; called whenever something may have been acknowledged. */
  readonly release: () => void;
}

/** The holds of one leadership, with one timer for the earliest end. */
export function openHolding(options: {
  readonly clock: Clock;
  readonly lifetime: Lifetime;
  readonly view: () => View;
  readonly isShown: (hold: Hold) => boolean;
  readonly released: (hold: Hold) => void;
}): Holding {
  const { clock } = options;
  const holds: Holds = new Map();
  let timer: Timer | undefined;
  options.lifetime.defer('holds', () => timer?.cancel());
  const arm = (): void => {
    const untilMs = Math.min(...[...holds.values()].map(hold => hold.untilMs));
    if (timer !== undefined || holds.size === 0) return;
    timer = clock.after(Math.max(0, untilMs - clock.monotonicMs()), () => {
      timer = undefined;
      release();
    });
  };
  const release = (): void => {
    if (holds.size === 0) return;
    const now = { view: options.view(), nowMs: clock.monotonicMs(), isShown: options.isShown };
    for (const hold of endedHolds(holds, now)) {
      holds.delete(hold.taskId);
      options.released(hold);
    }
    arm();
  };
  return {
    isHeld: taskId => holds.has(taskId),
    hold: (tasks, epoch) => {
      for (const one of holdsFor(tasks, { epoch, nowMs: clock.monotonicMs() })) holds.set(one.taskId, one);
      arm();
    },
    release,
  };
}

/** Tasks that are to stop while others still send to them: those that a new leader finds, or those of a change. */
export function holdsFor(
  tasks: Iterable<Task>,
  options: { readonly epoch: number; readonly nowMs: number },
): readonly Hold[] {
  const holds: Hold[] = [];
  for (const task of tasks) {
    if (task.status.state !== 'running' || isWanted(task) || task.endpoints.length === 0) continue;
    holds.push({ taskId: task.id, nodeId: task.nodeId, epoch: options.epoch, untilMs: options.nowMs + holdMs });
  }
  return holds;
}

/** The task of a change that was up before it and is to stop after it. */
export function findStopping(event: StoreEvent): Task | undefined {
  if (event.table !== 'task' || event.kind !== 'put' || event.old === undefined) return undefined;
  return isWanted(event.old) && !isWanted(event.object) ? event.object : undefined;
}

/** Holds that end now: acknowledged by all, out of time, or without a task that runs. */
export function endedHolds(
  holds: Holds,
  now: { readonly view: View; readonly nowMs: number; readonly isShown: (hold: Hold) => boolean },
): readonly Hold[] {
  return [...holds.values()].filter(hold => {
    if (hold.untilMs <= now.nowMs || now.isShown(hold)) return true;
    return now.view.find('task', hold.taskId)?.status.state !== 'running';
  });
}
