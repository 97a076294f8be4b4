/**
 * Watches the limits of running tasks: puts changed ones into effect without a restart, and tells when one is hit.
 *
 * Keeps true: what a task's status shows as in effect is what its cgroup was last given; what could not be given is tried
 * again at every look and told until then. The looks of one round are spread, so that nothing else waits for them.
 *
 * Run by worker.ts. Not here: reading (look.ts), judging (warnings.ts), writing limits (cgroup/).
 */
import { CoveyError, messageOf } from '../../errors.js';
import type { LimitsSeen, Resources, Task, TaskWarning } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { ContainerSeen } from '../containers.js';
import type { Engine } from '../engine.js';
import { pidsDefaultMax, planLimits } from '../runtime/resources.js';
import { isDying } from './kills.js';
import { type DiskLook, lookAtLogDisk, lookAtMounts, lookAtTask, noDisks } from './look.js';
import { sameResources } from './same-resources.js';
import { startWarnings, stepWarnings, type WarningState } from './warnings.js';

/** The part of a task's controller that is watched. */
export interface WatchedTask {
  readonly task: Task;
  readonly containers: readonly ContainerSeen[];
  /** Its processes run and are not being stopped. */
  readonly isWatched: boolean;
  readonly limits: LimitsSeen | undefined;
  /** Processes of it that were killed for memory, as was told last. */
  readonly oomKills: number;
  /** `oomKills`: processes killed for memory up to now. */
  readonly tellLimits: (limits: LimitsSeen, oomKills: number) => void;
}

export interface LimitsWatch {
  /** Its limits may have changed. */
  readonly look: (id: TaskId) => void;
}

export interface LimitsWatchOptions {
  readonly lifetime: Lifetime;
  readonly tasks: () => ReadonlyMap<TaskId, WatchedTask>;
  /** Between two looks at a task; 0: never. */
  readonly everyMs: number;
}

/** Tasks of one slice; between two slices others have their turn. */
const sliceTasks = 8;
const sliceGapMs = 15;

interface Entry {
  state: WarningState;
  pending: TaskWarning | undefined;
}

interface Watch {
  readonly engine: Engine;
  readonly options: LimitsWatchOptions;
  readonly entries: Map<TaskId, Entry>;
  /** Of the last round that is over. */
  disks: { readonly logDisk: string | undefined; readonly mounts: ReadonlyMap<TaskId, readonly string[]> };
  lookingAtDisks: boolean;
}

export function openLimitsWatch(engine: Engine, options: LimitsWatchOptions): LimitsWatch {
  const entries = new Map<TaskId, Entry>();
  const watch: Watch = {
    engine,
    options,
    entries,
    disks: { logDisk: undefined, mounts: new Map() },
    lookingAtDisks: false,
  };
  if (options.everyMs > 0) options.lifetime.run('limits', signal => goRound(watch, signal));
  return {
    look: id => {
      const task = options.tasks().get(id);
      if (task?.isWatched === true) lookAt(watch, id, task);
    },
  };
}

async function goRound(watch: Watch, signal: AbortSignal): Promise<void> {
  const { clock } = watch.engine.host;
  while (!signal.aborted) {
    await clock.sleep(watch.options.everyMs, signal);
    const tasks = watch.options.tasks();
    for (const id of watch.entries.keys()) if (!tasks.has(id)) watch.entries.delete(id);
    lookAtDisks(watch);
    let inSlice = 0;
    for (const [id, task] of [...tasks]) {
      if (!task.isWatched) continue;
      lookAt(watch, id, task);
      inSlice += 1;
      if (inSlice % sliceTasks === 0) await clock.sleep(sliceGapMs, signal);
    }
  }
}

/** A disk that does not answer holds up this look alone. */
function lookAtDisks(watch: Watch): void {
  const { engine, options } = watch;
  if (watch.lookingAtDisks) return;
  watch.lookingAtDisks = true;
  const look = async (): Promise<void> => {
    const mounts = new Map<TaskId, readonly string[]>();
    for (const [id, task] of [...options.tasks()]) {
      if (!task.isWatched || !task.task.spec.containers.some(container => container.mounts.length > 0)) continue;
      const full = await lookAtMounts(engine, task);
      if (full.length > 0) mounts.set(id, full);
    }
    watch.disks = { logDisk: await lookAtLogDisk(engine), mounts };
    watch.lookingAtDisks = false;
  };
  // Not of the lifetime: a hung disk must not keep the daemon from ending.
  void look();
}

function lookAt(watch: Watch, id: TaskId, watched: WatchedTask): void {
  const { engine } = watch;
  const entry = watch.entries.get(id) ?? { state: startWarnings(watched.oomKills), pending: undefined };
  watch.entries.set(id, entry);
  const inEffect = putIntoEffect(engine, watched, entry);
  const disks: DiskLook = watched.containers.some(({ phase }) => phase === 'running')
    ? { fullMounts: watch.disks.mounts.get(id) ?? [], logDisk: watch.disks.logDisk }
    : noDisks;
  const before = entry.state.warnings;
  const look = lookAtTask(engine, watched, disks);
  const { limits } = watched.task.spec;
  entry.state = stepWarnings(entry.state, look, {
    memoryBytes: limits?.memoryBytes ?? 0,
    cpuNanos: limits?.cpuNanos ?? 0,
    pids: limits?.pids || pidsDefaultMax,
  });
  for (const warning of entry.state.warnings) {
    if (before.some(old => old.code === warning.code)) continue;
    engine.log.warn('a task is at its limits', { task: id, code: warning.code, warning: warning.message });
  }
  const warnings = entry.pending === undefined ? entry.state.warnings : [entry.pending, ...entry.state.warnings];
  // When it is the main process that was killed, that kill is left for its end to be told by.
  const [main] = watched.containers;
  const isKnown = look.oomKills === watched.oomKills || main === undefined || isDying(engine.host, main.pid);
  watched.tellLimits({ inEffect, warnings }, isKnown ? watched.oomKills : look.oomKills);
}

/** The wish that is in effect afterwards: the task's own, or still the one of before. */
function putIntoEffect(engine: Engine, { task, limits }: WatchedTask, entry: Entry): Resources | undefined {
  const wanted = task.spec.limits;
  if (limits !== undefined && sameResources(limits.inEffect, wanted)) {
    entry.pending = undefined;
    return wanted;
  }
  try {
    engine.cgroups.changeLimits(task.id, planLimits(task.spec, engine.limitsHost));
    engine.log.info('limits of a task changed in place', { task: task.id });
    entry.pending = undefined;
    return wanted;
  } catch (error) {
    const reason =
      error instanceof CoveyError ? [error.message, error.state].filter(Boolean).join(': ') : messageOf(error);
    const message = `limits not changed yet: ${reason}`;
    if (entry.pending?.message !== message) {
      engine.log.warn('cannot change the limits of a task', { task: task.id, error });
      const sinceMs = entry.pending?.sinceMs ?? engine.host.clock.wallMs();
      entry.pending = { code: 'limits-pending', message, sinceMs };
    }
    return limits?.inEffect;
  }
}
