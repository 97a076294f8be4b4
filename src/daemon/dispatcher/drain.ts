/**
 * Holds the stop of a task until the nodes that send traffic to it have acknowledged that its endpoint is gone, for at most
 * two seconds. So a client's connection is never answered by a container that was told to stop a moment ago.
 *
 *     store: desired = shutdown  ->  tables without the endpoint to every node that has it
 *     all acknowledged, or 2 s   ->  assignment with desired = shutdown to the task's agent
 *
 * A node that is ready and has no session just now still routes by what it was told before: it is waited for too. A stop that
 * did not wait to the end says so in the log, with the nodes that were late.
 *
 * `holdsFor`, `findSending` and `endedHolds` are the rules, `openHolding` the shell with the timer. Not here: who has
 * acknowledged (node-session.ts).
 */
import type { Task } from '../../gen/types.js';
import type { Clock, Timer } from '../../host.js';
import type { NodeId, TaskId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { StoreEvent, View } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { type Sessions, shows } from './node-session.js';
import { isWanted } from './tables.js';

export interface Hold {
  readonly taskId: TaskId;
  readonly nodeId: NodeId;
  /** The change of tables that takes the endpoint away. */
  readonly epoch: number;
  readonly untilMs: number;
}

type Holds = Map<TaskId, Hold>;

const holdMs = 2_000;

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
  readonly log: Logger;
  readonly count: (name: string, by?: number) => void;
  readonly view: () => View;
  readonly sessions: Sessions;
  readonly released: (hold: Hold) => void;
}): Holding {
  const { clock, sessions } = options;
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
    const view = options.view();
    const late = new Set<string>();
    let lateStops = 0;
    for (const { hold, sending } of endedHolds(holds, { view, nowMs: clock.monotonicMs(), sessions })) {
      holds.delete(hold.taskId);
      options.released(hold);
      if (sending.length > 0) lateStops += 1;
      for (const nodeId of sending) late.add(view.find('node', nodeId)?.spec.name ?? nodeId);
    }
    if (lateStops > 0) {
      options.count('stops_with_late_nodes_total', lateStops);
      options.log.warn('tasks stop although nodes may still send to them', {
        tasks: lateStops,
        lateNodes: [...late].sort(),
        waitedMs: holdMs,
      });
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

/** Nodes that may still send to the task: their tables have it, or had it when they were last heard of. */
function* findSending(
  hold: Hold,
  { view, sessions }: { readonly view: View; readonly sessions: Sessions },
): Generator<NodeId> {
  const key = `endpoint/${hold.taskId}`;
  for (const [nodeId, session] of sessions) {
    if (session.ended === undefined && !shows(session, hold.epoch, key)) yield nodeId;
  }
  for (const { id, status } of view.list('node')) {
    const session = status.state === 'ready' ? sessions.get(id) : undefined;
    if (status.state === 'ready' && (session === undefined || session.ended !== undefined)) yield id;
  }
}

export interface EndedHold {
  readonly hold: Hold;
  /** Nodes that were waited for in vain. */
  readonly sending: readonly NodeId[];
}

/** Holds that end now: acknowledged by all, out of time, or without a task that runs. */
export function endedHolds(
  holds: Holds,
  now: { readonly view: View; readonly nowMs: number; readonly sessions: Sessions },
): readonly EndedHold[] {
  return [...holds.values()].flatMap((hold): readonly EndedHold[] => {
    if (now.view.find('task', hold.taskId)?.status.state !== 'running') return [{ hold, sending: [] }];
    // Asked after each acknowledgement of each node: who the others are matters only in the end.
    if (hold.untilMs <= now.nowMs) return [{ hold, sending: [...findSending(hold, now)] }];
    return findSending(hold, now).next().done === true ? [{ hold, sending: [] }] : [];
  });
}
