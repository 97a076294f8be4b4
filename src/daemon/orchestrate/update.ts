/**
 * Replaces tasks of an old spec as the service's update (or rollback) config says: so many at a time, each of them stopped
 * first or started first, with a wait in between; counts what fails, and pauses, goes on or rolls back.
 *
 *     stop first    prepare new -> (prepared) stop old -> (ended) start new -> (runs) next slot, prepared meanwhile
 *                   no room for both: stop old -> (ended) make new -> (runs) next slot
 *     start first   start new -> (runs) stop old, next slot
 *
 * Keeps true: an update always ends. Each new task runs, fails, or is counted as failed when nothing went on for the deadline;
 * when no slot can go on at all it pauses or rolls back. Stopped first, no more than `parallelism` tasks that ran are missing
 * at a time; started first, no more than `parallelism` are too many. A spec that fits nowhere or can't be prepared takes down
 * none. All that decides is in the rollout and the tasks, so an election neither forgets nor repeats.
 *
 * Pure. Called by replicated.ts and global.ts. Not here: what happens within a slot otherwise (slot.ts), counting
 * (progress.ts), which spec a rollback leads to (revisions.ts).
 */
import type { Task } from '../../gen/types.js';
import { isEnded } from '../../raft/store.js';
import { isDue, planRestart } from '../../restart-policy.js';
import { type Config, configOf, isUnderWay, planProgress, type Standing, standingOf } from './progress.js';
import { type Circumstances, createdAtOnce, type Slot, type SlotPlan, type Step } from './slot.js';

export interface PlannedSlot {
  readonly slot: Slot;
  readonly plan: SlotPlan;
}

export function planUpdate(slots: readonly PlannedSlot[], circumstances: Circumstances): readonly Step[] {
  const { rollout } = circumstances.update;
  const config = configOf(circumstances.update);
  const standings = slots.map(planned => standingOf(planned, circumstances));
  if (rollout === undefined || !isUnderWay(rollout)) {
    const isHeld = rollout?.state === 'paused' || rollout?.state === 'rollback-paused';
    // Tasks of an old spec that turn up after the update, on a node that was lost, say: nobody counts, all wait for a failure.
    return isHeld ? standings.flatMap(givenUp) : planReplacing(standings, { config, circumstances, tolerates: false });
  }
  const progress = planProgress(standings, { rollout, config, nowMs: circumstances.nowMs });
  const stored: readonly Step[] = progress.rollout === rollout ? [] : [{ kind: 'rollout', rollout: progress.rollout }];
  if (progress.kind === 'roll-back') return [{ kind: 'roll-back', because: progress.because }];
  if (progress.kind === 'ended') return [...stored, ...(progress.isPaused ? standings.flatMap(givenUp) : [])];
  const wakes: readonly Step[] = progress.wakeAtMs.map(atMs => ({ kind: 'wake', atMs }));
  const failed = new Set(progress.rollout.failed);
  const seen = standings.map(one => ({ ...one, hasFailed: failed.has(one.key) }));
  return [...stored, ...wakes, ...planReplacing(seen, { config, circumstances, tolerates: true })];
}

interface Replacing {
  readonly config: Config;
  readonly circumstances: Circumstances;
  /** Slots that have failed hold no others up. */
  readonly tolerates: boolean;
}

function planReplacing(standings: readonly Standing[], replacing: Replacing): readonly Step[] {
  const { config, circumstances, tolerates } = replacing;
  const { nowMs } = circumstances;
  const busy = standings.filter(one =>
    one.hasFailed ? !tolerates : one.phase === 'moving' || one.restsUntilMs > nowMs || one.isLeaving,
  );
  const idle = standings.filter(one => one.phase === 'idle');
  const old = standings.filter(one => one.phase === 'old' && !one.hasFailed);
  const staged = standings.filter(one => one.phase === 'staged');
  const rests = standings.filter(one => one.restsUntilMs > nowMs).map(one => one.restsUntilMs);
  const parallelism = openEnded(config.parallelism);
  const free = idle.length > 0 ? 0 : parallelism - busy.length;
  const going = planGoing(staged, free, replacing);
  const left = free - going.begun;
  // While one slot is between two tasks the next one is prepared; not where a delay leaves time enough for that.
  const ahead = idle.length > 0 || config.delayMs > 0 ? 0 : parallelism;
  const room = left + ahead - (staged.length - going.begun);
  return [
    // What does not run is replaced at once: nothing is lost by it.
    ...idle.flatMap(({ keep }) => (keep === undefined ? [] : [stopped(keep)])),
    ...going.steps,
    ...standings.flatMap(one => (one.phase === 'old' && one.hasFailed ? planRetry(one, replacing) : [])),
    ...planNext(old, { free: staged.length > going.begun ? 0 : left, room }, replacing),
    ...(old.length + staged.length > 0 && rests.length > 0
      ? [{ kind: 'wake', atMs: Math.min(...rests) } as const]
      : []),
  ];
}

/** 0 stands for all at once. */
function openEnded(parallelism: number): number {
  return parallelism === 0 ? Number.MAX_SAFE_INTEGER : parallelism;
}

interface Going {
  readonly steps: readonly Step[];
  readonly begun: number;
}

/** Slots whose successors are prepared, as far as more may be between two tasks. */
function planGoing(staged: readonly Standing[], free: number, replacing: Replacing): Going {
  const steps: Step[] = [];
  let begun = 0;
  for (const one of staged) {
    const step = planStaged(one, replacing);
    if (step?.kind === 'wake') steps.push(step);
    else if (step !== undefined && begun < free) {
      steps.push(step);
      begun += 1;
    }
  }
  return { steps, begun };
}

/** What begins the change of a slot in which the old task runs and its successor is being prepared, when its time has come. */
function planStaged({ keep, successor }: Standing, { config, circumstances }: Replacing): Step | undefined {
  if (keep === undefined || successor === undefined) return undefined;
  if (!isDue(successor.spec.restart, successor.startAfterMs, circumstances.nowMs)) {
    return { kind: 'wake', atMs: successor.startAfterMs };
  }
  if (config.order === 'start-first') return { kind: 'start', task: successor.id };
  const { state, errorCode } = successor.status;
  if (state === 'ready') return stopped(keep);
  // The room that was there is taken: the old task makes some.
  const isStuck = (state === 'new' || state === 'pending') && errorCode !== '';
  return isStuck && circumstances.room(keep).kind !== 'nowhere' ? stopped(keep) : undefined;
}

/** Begins with some of the old ones, as far as their successors would find a place: `free` at once, `room` to be prepared. */
function planNext(
  old: readonly Standing[],
  limits: { readonly free: number; readonly room: number },
  replacing: Replacing,
): readonly Step[] {
  const steps: Step[] = [];
  let obstacle: Step | undefined;
  for (const one of old) {
    if (steps.length >= limits.room || one.keep === undefined) break;
    const begun = planBegin(one, one.keep, { ...replacing, isNow: steps.length < limits.free });
    if (begun?.kind === 'say') obstacle ??= begun;
    else if (begun !== undefined) steps.push(begun);
  }
  return steps.length === 0 && obstacle !== undefined ? [obstacle] : steps;
}

function planBegin(
  { slot }: Standing,
  keep: Task,
  { config, circumstances, isNow }: Replacing & { readonly isNow: boolean },
): Step | undefined {
  const room = circumstances.room(keep);
  const isStartFirst = config.order === 'start-first';
  if (room.kind === 'beside') return { ...createdAtOnce(slot), isHeld: !isStartFirst || !isNow };
  if (room.kind === 'instead' && !isStartFirst) return isNow ? stopped(keep) : undefined;
  return { kind: 'say', task: keep.id, message: `waits to be replaced: ${room.message}` };
}

/** The successor has failed and that was put up with; the old task runs on, and another successor is tried in its time. */
function planRetry({ slot, keep }: Standing, { config, circumstances }: Replacing): readonly Step[] {
  const failed = slot.tasks.filter(task => circumstances.isCurrent(task) && isEnded(task.status.state)).at(-1);
  if (keep === undefined || failed === undefined) return [];
  const restart = planRestart(failed);
  if (restart.kind === 'stay') return [];
  if (!isDue(failed.spec.restart, restart.startAfterMs, circumstances.nowMs)) {
    return [{ kind: 'wake', atMs: restart.startAfterMs }];
  }
  if (circumstances.room(keep).kind !== 'beside') return [];
  const { failures, restarts } = restart;
  return [{ ...createdAtOnce(slot), failures, restarts, isHeld: config.order === 'stop-first' }];
}

/** Paused: a successor that does not run yet is given up, the old task stays. */
function givenUp({ keep, successor }: Standing): readonly Step[] {
  return keep === undefined || successor === undefined ? [] : [stopped(successor)];
}

function stopped(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'shutdown' };
}
