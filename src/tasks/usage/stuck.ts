/**
 * Words for a task whose processes were killed and do not end, so that people see what holds them.
 *
 * Called by controller.ts. Not here: killing (cgroup/).
 */
import type { TaskStatus } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import type { Engine } from '../engine.js';

/** Long enough for the kernel to take a large address space apart. */
const stuckAfterMs = 5_000;

/** The status that says so, once; undefined: it is early, or it says so already. */
export function findStuck(
  engine: Engine,
  killed: { readonly taskId: TaskId; readonly status: TaskStatus; readonly killedAtMs: number },
): TaskStatus | undefined {
  const { taskId, status, killedAtMs } = killed;
  const forMs = engine.host.clock.monotonicMs() - killedAtMs;
  if (forMs < stuckAfterMs || status.limits?.warnings[0]?.code === 'does-not-end') return undefined;
  const message = describeStuck(engine, taskId, forMs);
  engine.log.warn('a killed task does not end', { task: taskId, why: message });
  const warnings = [{ code: 'does-not-end', message, sinceMs: engine.host.clock.wallMs() }];
  return { ...status, limits: { inEffect: status.limits?.inEffect, warnings } };
}

function describeStuck(engine: Engine, taskId: string, killedMs: number): string {
  const { host, cgroups } = engine;
  const processes = cgroups.members(taskId).map(pid => {
    const name = host.files.findTextSync(`/proc/${pid}/comm`)?.trim() ?? '?';
    const state = host.processes.findStart(pid)?.state ?? '?';
    return `process ${pid} (${name}) is in state ${state}${state === 'D' ? ', which no signal ends' : ''}`;
  });
  const seconds = Math.round(killedMs / 1_000);
  return `killed ${seconds} s ago and still there: ${processes.slice(0, 3).join('; ') || 'its monitor has not told its end'}`;
}
