/**
 * From two looks at a task to what is wrong with it now: the limits that it hits, disks that are full. Pure.
 *
 * Keeps true: a warning keeps its words and its time while it lasts, so that a status is not written again and again; it goes
 * when its cause is over, later than it came (two thresholds), so that it does not flicker.
 *
 * Called by limits-watch.ts. Not here: looking (look.ts), how a task ends (task.ts).
 */
import type { TaskWarning } from '../../gen/types.js';
import { sizeText } from '../task.js';

/** One look at a task that runs. */
export interface TaskLook {
  readonly atMs: number;
  readonly memoryBytes: number;
  /** Pages of files in memoryBytes; only looked up when memoryBytes is near the limit. */
  readonly fileBytes: number;
  /** Undefined: without a limit of CPU. */
  readonly periods: number | undefined;
  readonly throttledPeriods: number;
  readonly pidsRefused: number;
  readonly oomKills: number;
  /** Names of the volumes and mounts that are full, with the reason. */
  readonly fullMounts: readonly string[];
  /** Why its log cannot be written; undefined: it can. */
  readonly logDisk: string | undefined;
}

export interface LookLimits {
  /** 0: none. */
  readonly memoryBytes: number;
  readonly cpuNanos: number;
  readonly pids: number;
}

/** Share of periods in which it was stopped at its limit of CPU. */
const throttledFrom = 0.25;
const throttledUntil = 0.1;
/** Fewer say nothing: each is 100 ms in which it ran. */
const periodsMin = 5;
export const memoryFrom = 0.9;
const memoryUntil = 0.8;
/** What happened at one moment is told for so long. */
const momentMs = 300_000;
/** A refused process is told for so long. */
const pidsMs = 15_000;

export interface WarningState {
  readonly warnings: readonly TaskWarning[];
  readonly last: TaskLook | undefined;
  /** When a process was last killed for memory, and last refused. */
  readonly killedAtMs: number | undefined;
  readonly refusedAtMs: number | undefined;
  readonly killed: number;
  /** Processes killed before the first look that are known already. */
  readonly killedBefore: number;
}

/** Of a task that was just started, or taken over with so many processes killed. */
export function startWarnings(killedBefore: number): WarningState {
  return { warnings: [], last: undefined, killedAtMs: undefined, refusedAtMs: undefined, killed: 0, killedBefore };
}

export function stepWarnings(state: WarningState, look: TaskLook, limits: LookLimits): WarningState {
  const { last } = state;
  const had = (code: string): boolean => state.warnings.some(warning => warning.code === code);
  const newlyKilled = Math.max(0, look.oomKills - (last?.oomKills ?? state.killedBefore));
  const killed = state.killed + newlyKilled;
  const killedAtMs = newlyKilled > 0 ? look.atMs : state.killedAtMs;
  const refusedAtMs = look.pidsRefused > (last?.pidsRefused ?? 0) ? look.atMs : state.refusedAtMs;
  const isRecent = (atMs: number | undefined, ms: number): boolean => atMs !== undefined && look.atMs - atMs < ms;
  const found: [string, string][] = [];
  if (isThrottled(look, last, had('cpu-throttled'))) {
    found.push(['cpu-throttled', `slowed down: it would use more than its limit of ${limits.cpuNanos / 1e9} CPU`]);
  }
  const share = limits.memoryBytes === 0 ? 0 : (look.memoryBytes - look.fileBytes) / limits.memoryBytes;
  if (share >= (had('memory-near-limit') ? memoryUntil : memoryFrom)) {
    found.push(['memory-near-limit', `nearly all of its memory limit of ${sizeText(limits.memoryBytes)} is in use`]);
  }
  if (isRecent(killedAtMs, momentMs)) found.push(['killed-for-memory', killedText(killed, limits)]);
  if (isRecent(refusedAtMs, pidsMs)) {
    found.push(['pids-limit', `cannot start more processes: it is at its limit of ${limits.pids}`]);
  }
  for (const text of look.fullMounts) found.push(['volume-full', text]);
  if (look.logDisk !== undefined) found.push(['log-disk-full', look.logDisk]);
  const warnings = keepTimes(state.warnings, found, look.atMs);
  return { ...state, warnings, last: look, killedAtMs, refusedAtMs, killed };
}

function killedText(count: number, limits: LookLimits): string {
  const who = count === 1 ? 'one of its processes was' : `${count} of its processes were`;
  const where =
    limits.memoryBytes === 0 ? ', which the node ran out of' : ` at its limit of ${sizeText(limits.memoryBytes)}`;
  return `${who} killed for memory${where}`;
}

function isThrottled(look: TaskLook, last: TaskLook | undefined, before: boolean): boolean {
  if (look.periods === undefined || last?.periods === undefined) return false;
  const periods = look.periods - last.periods;
  const throttled = look.throttledPeriods - last.throttledPeriods;
  if (periods < periodsMin) return false;
  return throttled / periods >= (before ? throttledUntil : throttledFrom);
}

/** A warning that is still true keeps its time. */
function keepTimes(
  before: readonly TaskWarning[],
  found: readonly (readonly [string, string])[],
  atMs: number,
): readonly TaskWarning[] {
  return found.map(
    ([code, message]) =>
      before.find(warning => warning.code === code && warning.message === message) ?? {
        code,
        message,
        sinceMs: before.find(warning => warning.code === code)?.sinceMs ?? atMs,
      },
  );
}

interface Space {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** Less than a hundredth is left, or 64 MiB of a large one, or no inode; undefined: there is room. */
export function fullnessOf(space: Space): string | undefined {
  if (space.totalInodes > 0 && space.freeInodes === 0) return `all of its ${space.totalInodes} inodes are in use`;
  if (space.totalBytes === 0 || space.freeBytes >= Math.min(space.totalBytes / 100, 64 * 2 ** 20)) return undefined;
  return `${sizeText(space.freeBytes)} of ${sizeText(space.totalBytes)} are free`;
}
