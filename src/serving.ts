/**
 * Whether a task takes work, from its status alone: it runs, is not paused, and its ready checks, if any, say so. Asked by the tables of the
 * nodes, by updates that wait for it, and by the command line.
 *
 * Not here: the checks (tasks/readiness.ts), whether the task is still wanted (daemon/dispatcher/tables.ts).
 */
import type { TaskStatus } from './gen/types.js';

export function isServing(status: Pick<TaskStatus, 'state' | 'ready' | 'paused'>): boolean {
  if (status.paused === true) return false;
  return status.state === 'running' && (status.ready === '' || status.ready === 'ready');
}
