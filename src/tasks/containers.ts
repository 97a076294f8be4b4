/**
 * One container of a task as it is seen from here: which processes it has, whether they live, how it ended. Processes are
 * known by pid and start time, and by the cgroup or command line that bears the task's id, so that a pid that was given to
 * somebody else is never signalled.
 *
 * Used by controller.ts and recover.ts. Not here: making and starting (prepare.ts, runtime/).
 */
import { CoveyError } from '../errors.js';
import type { Task, TaskState } from '../gen/types.js';
import type { Engine } from './engine.js';
import { findExit, findPid, isMonitorOf, type Monitored } from './runtime/conmon.js';
import { waitsForStart } from './runtime/crun.js';
import { taskStates } from './task.js';

export interface ContainerSeen {
  readonly containerId: string;
  readonly phase: 'none' | 'created' | 'running' | 'ended';
  readonly pid: number;
  /** Of that pid, in ticks since boot. */
  readonly startTicks: number;
  readonly monitorPid: number;
  /** undefined: nobody saw its end. */
  readonly exitCode: number | undefined;
  readonly outOfMemory: boolean;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/** What recover found of an earlier daemon's work. */
export interface Found {
  readonly containers: readonly ContainerSeen[];
  readonly failure: Failure | undefined;
  /** The state that was last told, when higher than what is written down. */
  readonly told: TaskState | undefined;
}

export function noContainer(containerId: string): ContainerSeen {
  return {
    containerId,
    phase: 'none',
    pid: 0,
    startTicks: 0,
    monitorPid: 0,
    exitCode: undefined,
    outOfMemory: false,
  };
}

export function noContainers(engine: Engine, task: Task): readonly ContainerSeen[] {
  return task.spec.containers.map((_container, index) => noContainer(engine.paths.containerId(task.id, index)));
}

export function createdContainer(engine: Engine, containerId: string, monitored: Monitored): ContainerSeen {
  return {
    ...noContainer(containerId),
    phase: 'created',
    pid: monitored.pid,
    startTicks: engine.host.processes.findStart(monitored.pid)?.startTicks ?? 0,
    monitorPid: monitored.monitorPid,
  };
}

/** Whether process 1 of the container is still that process, and no zombie. */
export function isAlive(engine: Engine, container: ContainerSeen): boolean {
  const start = engine.host.processes.findStart(container.pid);
  return start !== undefined && start.startTicks === container.startTicks && start.state !== 'Z' && start.state !== 'X';
}

/** Looks at a container that was made: has it ended? */
export function refreshContainer(
  engine: Engine,
  container: ContainerSeen,
  place: { readonly task: Task; readonly index: number },
): ContainerSeen {
  if (container.phase === 'none' || container.phase === 'ended') return container;
  const { paths, host } = engine;
  const files = {
    bundle: paths.bundle(place.task.id, place.index),
    exitFile: paths.exit(container.containerId),
  };
  const exit = findExit(host, files);
  if (exit !== undefined) return { ...container, phase: 'ended', ...exit };
  if (isAlive(engine, container) || isMonitorOf(host, container.monitorPid, container.containerId)) return container;
  // Nobody is left who could still write down how it ended; it may have been written since the first look.
  return { ...container, phase: 'ended', exitCode: undefined, ...findExit(host, files) };
}

/**
 * What an earlier daemon left of a container. `stray` says that something is there which cannot be gone on with: created
 * without a monitor, half made, or running without a monitor.
 */
export type Adoption =
  | { readonly kind: 'none' }
  | { readonly kind: 'stray' }
  | { readonly kind: 'orphan'; readonly container: ContainerSeen }
  | { readonly kind: 'found'; readonly container: ContainerSeen };

export function adoptContainer(engine: Engine, place: { readonly task: Task; readonly index: number }): Adoption {
  const { host, paths } = engine;
  const bundle = paths.bundle(place.task.id, place.index);
  const containerId = paths.containerId(place.task.id, place.index);
  const pid = findPid(host, `${bundle}/pidfile`);
  const monitorPid = findPid(host, `${bundle}/conmon.pid`);
  const exit = findExit(host, { bundle, exitFile: paths.exit(containerId) });
  if (exit !== undefined) {
    const container = { ...noContainer(containerId), pid: pid ?? 0, monitorPid: monitorPid ?? 0, ...exit };
    return { kind: 'found', container: { ...container, phase: 'ended' } };
  }
  if (pid === undefined || monitorPid === undefined) {
    return host.files.listSync(bundle).length === 0 ? { kind: 'none' } : { kind: 'stray' };
  }
  const monitored = isMonitorOf(host, monitorPid, containerId);
  const lives = engine.cgroups.members(place.task.id).includes(pid);
  if (!lives) return { kind: 'stray' };
  const created = createdContainer(engine, containerId, { pid, monitorPid });
  if (waitsForStart(host, engine.placeOf(containerId), { containerId, pid })) {
    return monitored ? { kind: 'found', container: created } : { kind: 'stray' };
  }
  const container: ContainerSeen = { ...created, phase: 'running' };
  return { kind: monitored ? 'found' : 'orphan', container };
}

/**
 * Kills monitors and runtimes at work for a container, and waits until they are gone: what is left when a creation was given
 * up in the middle. A killed one may still finish the call that it is in, so nothing may be removed before.
 */
export async function killHelpers(engine: Engine, containerId: string): Promise<void> {
  const untilMs = engine.host.clock.monotonicMs() + endWaitMaxMs;
  for (;;) {
    const helpers = [...engine.cgroups.monitors()].filter(pid => {
      const args = engine.host.files.findTextSync(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
      return args.includes(containerId);
    });
    if (helpers.length === 0 || engine.host.clock.monotonicMs() >= untilMs) return;
    for (const pid of helpers) engine.host.processes.kill(pid, 9);
    await engine.host.clock.sleep(endWaitMs, AbortSignal.timeout(endWaitMaxMs));
  }
}

const endWaitMs = 5;
const endWaitMaxMs = 2_000;

/**
 * Kills all processes of a task and waits until they are gone and its groups with them; the killed need a moment to die.
 * "<task id>/<index>" is one container of several.
 */
export async function endProcesses(engine: Engine, taskId: string): Promise<void> {
  const { cgroups, host } = engine;
  const untilMs = host.clock.monotonicMs() + endWaitMaxMs;
  while (!cgroups.killAll(taskId) || !cgroups.remove(taskId)) {
    if (host.clock.monotonicMs() >= untilMs) {
      throw new CoveyError('internal', `Cannot remove the cgroup of task ${taskId}: processes are still in it`, {
        state: `processes ${cgroups.members(taskId).join(', ')} after ${endWaitMaxMs} ms`,
      });
    }
    await host.clock.sleep(endWaitMs, AbortSignal.timeout(endWaitMaxMs));
  }
}

/** Remembers in the run directory, which a reboot empties, how far a task was reported. */
export function writeTold(engine: Engine, taskId: Task['id'], state: TaskState): void {
  const folder = engine.paths.taskBundles(taskId);
  engine.host.files.makeDirectorySync(folder);
  engine.host.files.writeSync(`${folder}/told`, state);
}

/** What `writeTold` wrote, in this boot. */
export function readTold(engine: Engine, taskId: Task['id']): TaskState | undefined {
  const text = engine.host.files.findTextSync(`${engine.paths.taskBundles(taskId)}/told`)?.trim();
  return taskStates.find(state => state === text);
}
