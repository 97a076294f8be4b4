/**
 * Brings statuses from agents into the store: collected for about 10 ms, the later (attempt, state) of a task wins, written
 * in one transaction.
 *
 * Keeps true: a node speaks for its own tasks only; states only rise; the edges are those that belong to agents (asked of the
 * store's own table). What breaks these rules is dropped and counted, and never spoils the rest of the batch.
 *
 * `planReports` is the rule; `openReports` the shell. Not here: the table of all edges (raft/store).
 */
import { codeOf } from '../../errors.js';
import type { TaskReport, TaskStatus } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { NodeId, TaskId } from '../../ids.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import { actorsOf, refuseTaskWrite, type Store, stateRank, type View, type Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { sameContent } from './diff.js';

export interface Reports {
  readonly add: (nodeId: NodeId, reports: readonly TaskReport[]) => void;
  /** Resolves when what was said of these tasks is stored, or the leadership is over. */
  readonly settled: (tasks: readonly TaskId[]) => Promise<void>;
}

export interface ReportsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly count: (name: string, by?: number) => void;
}

interface Pending {
  readonly nodeId: NodeId;
  readonly status: TaskStatus;
}

interface Waiter {
  readonly tasks: readonly TaskId[];
  readonly resolve: () => void;
}

const collectMs = 10;
const writesMax = 150;
const retryMs = 500;
const pendingMax = 20_000;

/** Whether the second status of a task supersedes the first: a later attempt, or a later or equal state of the same. */
export function isLater(before: TaskStatus, after: TaskStatus): boolean {
  if (after.attempt !== before.attempt) return after.attempt > before.attempt;
  return stateRank(after.state) >= stateRank(before.state);
}

export interface PlannedReports {
  readonly writes: readonly Write[];
  readonly dropped: number;
}

export function planReports(view: View, pending: Iterable<readonly [TaskId, Pending]>): PlannedReports {
  const writes: Write[] = [];
  let dropped = 0;
  for (const [taskId, { nodeId, status }] of pending) {
    const task = view.find('task', taskId);
    if (task === undefined) continue; // deleted meanwhile: nobody asks any more
    const object = { ...task, status };
    if (refuseTaskWrite(task, object, actorsOf(`node:${nodeId}`)) !== undefined) dropped += 1;
    else if (!sameContent(task.status, status)) writes.push({ kind: 'put', table: 'task', object });
  }
  return { writes, dropped };
}

export function openReports(options: ReportsOptions): Reports {
  const { clock, lifetime, count } = options;
  const pending = new Map<TaskId, Pending>();
  let wake: (() => void) | undefined;
  const waiters = new Set<Waiter>();
  let writing = false;
  const release = (): void => {
    for (const waiter of waiters) {
      if (waiter.tasks.some(id => pending.has(id))) continue;
      waiters.delete(waiter);
      waiter.resolve();
    }
  };
  lifetime.run('reports', async signal => {
    signal.addEventListener('abort', () => wake?.(), { once: true });
    let flushedMs = Number.NEGATIVE_INFINITY;
    while (!signal.aborted) {
      if (pending.size === 0) {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
        continue;
      }
      // The first one after a pause goes at once; a flood goes in batches.
      const waitMs = flushedMs + collectMs - clock.monotonicMs();
      if (waitMs > 0) await clock.sleep(waitMs, signal);
      flushedMs = clock.monotonicMs();
      writing = true;
      await flush(options, pending, signal);
      writing = false;
      release();
    }
  });
  return {
    add: (nodeId, reports) => {
      for (const { taskId, status } of reports) {
        const before = pending.get(taskId);
        const newer = before === undefined || before.nodeId !== nodeId || isLater(before.status, status);
        if (!newer || (before === undefined && pending.size >= pendingMax)) count('status_reports_dropped_total');
        else pending.set(taskId, { nodeId, status });
      }
      wake?.();
    },
    settled: tasks =>
      new Promise(resolve => {
        if (lifetime.signal.aborted) return resolve();
        const waiter: Waiter = { tasks, resolve };
        waiters.add(waiter);
        lifetime.signal.addEventListener('abort', () => resolve(), { once: true });
        if (!writing) release();
      }),
  };
}

async function flush(options: ReportsOptions, pending: Map<TaskId, Pending>, signal: AbortSignal): Promise<void> {
  const batch = [...pending].slice(0, writesMax);
  for (const [taskId] of batch) pending.delete(taskId);
  try {
    await write(options, batch, signal);
  } catch (error) {
    if (signal.aborted && isCancellation(error)) return;
    for (const [taskId, report] of batch) if (!pending.has(taskId)) pending.set(taskId, report);
    options.log.warn('statuses of tasks not written', { error, tasks: batch.length, retryInMs: retryMs });
    await options.clock.sleep(retryMs, signal);
  }
}

async function write(
  options: ReportsOptions,
  batch: readonly (readonly [TaskId, Pending])[],
  signal: AbortSignal,
): Promise<void> {
  let dropped = 0;
  try {
    await options.store.update(
      view => {
        const plan = planReports(view, batch);
        dropped = plan.dropped;
        return plan.writes;
      },
      { principal: 'system:agent', signal },
    );
    options.count('status_reports_total', batch.length - dropped);
  } catch (error) {
    if (codeOf(error) !== 'illegal-transition') throw error;
    // The store's table of edges is the judge: find the ones that it refuses, so that the others get through.
    if (batch.length > 1) {
      for (const report of batch) await write(options, [report], signal);
      return;
    }
    dropped = 1;
  }
  if (dropped === 0) return;
  options.count('status_reports_dropped_total', dropped);
  options.log.debug('statuses of tasks dropped', { dropped });
}
