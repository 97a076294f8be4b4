/**
 * The last status of a task: how it ended, from what is known of it at its end.
 *
 * Called by controller.ts before anything is given back: the kernel's counters go with the cgroup. Not here: the verdict
 * (task.ts).
 */
import type { Task, TaskStatus } from '../gen/types.js';
import type { ContainerSeen, Failure } from './containers.js';
import type { Engine } from './engine.js';
import { judge } from './task.js';

export interface KnownAtEnd {
  readonly task: Task;
  readonly status: TaskStatus;
  readonly main: ContainerSeen | undefined;
  readonly failure: Failure | undefined;
  /** The last words of the failing health check. */
  readonly unhealthy: string | undefined;
  /** It was told to stop before it ended. */
  readonly stopped: boolean;
  /** People told it to. */
  readonly asked: boolean;
  /** Processes of it that were killed for memory while it ran on. */
  readonly oomKills: number;
}

export function describeEnd(engine: Engine, known: KnownAtEnd): TaskStatus {
  const { task, main } = known;
  const oomKills = engine.cgroups.countOomKills(task.id);
  const verdict = judge({
    state: known.status.state,
    failure: known.failure,
    exitCode: main?.exitCode,
    stopped: known.stopped,
    asked: known.asked,
    // The monitor's word counts where the kernel has no counter: it is the same for every process of the task.
    outOfMemory: oomKills > known.oomKills || (oomKills === 0 && main?.outOfMemory === true),
    killedBefore: known.oomKills > 0,
    memoryLimitBytes: task.spec.limits?.memoryBytes ?? 0,
    unhealthy: known.unhealthy,
  });
  return {
    ...known.status,
    ...verdict,
    sinceMs: engine.host.clock.wallMs(),
    exitCode: main?.exitCode,
    pid: undefined,
    paused: false,
    limits: undefined,
  };
}
