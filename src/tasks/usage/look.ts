/**
 * Looks at what a running task uses: its cgroup, the disks of its volumes and of its log. Files are read directly, one small
 * read each, so that hundreds of tasks cost next to nothing.
 *
 * Called by limits-watch.ts. Not here: what it means (warnings.ts), figures for people (stats.ts).
 */
import type { Task } from '../../gen/types.js';
import type { ContainerSeen } from '../containers.js';
import type { Engine } from '../engine.js';
import { fullnessOf, memoryFrom, type TaskLook } from './warnings.js';

export type LookedAt = { readonly task: Task; readonly containers: readonly ContainerSeen[] };

/** What changes slowly, or may wait for a disk: looked at beside the rest. */
export interface DiskLook {
  readonly fullMounts: readonly string[];
  readonly logDisk: string | undefined;
}

export const noDisks: DiskLook = { fullMounts: [], logDisk: undefined };

export function lookAtTask(engine: Engine, { task }: LookedAt, disks: DiskLook): TaskLook {
  const { cgroups, host } = engine;
  const containers = task.spec.containers.length;
  const limit = task.spec.limits?.memoryBytes ?? 0;
  const cpuNanos = task.spec.limits?.cpuNanos ?? 0;
  // Of what has no limit nothing can be told.
  const parts = [...(limit > 0 ? (['memory'] as const) : []), ...(cpuNanos > 0 ? (['cpu'] as const) : [])];
  const usage = cgroups.readUsage(task.id, { parts, containers });
  const isNear = limit > 0 && usage.memoryBytes >= limit * (memoryFrom - 0.1);
  return {
    ...disks,
    atMs: host.clock.wallMs(),
    memoryBytes: usage.memoryBytes,
    fileBytes: isNear ? cgroups.readUsage(task.id, { parts: 'all', containers }).fileBytes : 0,
    periods: cpuNanos > 0 ? usage.periods : undefined,
    throttledPeriods: usage.throttledPeriods,
    pidsRefused: usage.pidsRefused,
    oomKills: cgroups.countOomKills(task.id, containers),
  };
}

/** The disks under its mounts, as the container sees them. */
export async function lookAtMounts(engine: Engine, looked: LookedAt): Promise<readonly string[]> {
  const full: string[] = [];
  for (const [index, container] of looked.containers.entries()) {
    if (container.phase !== 'running') continue;
    for (const mount of looked.task.spec.containers[index]?.mounts ?? []) {
      if (mount.readOnly) continue;
      const space = await engine.host.files.space(`/proc/${container.pid}/root${mount.target}`).catch(() => undefined);
      const reason = space === undefined ? undefined : fullnessOf(space);
      if (reason === undefined) continue;
      const name = mount.kind === 'volume' && mount.source !== '' ? `volume ${mount.source}` : mount.kind;
      full.push(`${name} at ${mount.target} is full: ${reason}`);
    }
  }
  return full;
}

/** Of all tasks of the node: their logs lie on one disk. */
export async function lookAtLogDisk(engine: Engine): Promise<string | undefined> {
  const space = await engine.host.files.space(engine.paths.tasks).catch(() => undefined);
  const reason = space === undefined ? undefined : fullnessOf(space);
  return reason === undefined
    ? undefined
    : `lines of its log are lost: the disk of ${engine.paths.tasks} is full, ${reason}`;
}
