/**
 * Replaces tasks of an old spec as the service's update (or rollback) config says: so many at a time, each of them stopped
 * first or started first, with a wait in between; counts what fails, and pauses, goes on or rolls back.
 *
 *     stop first    prepare new -> (prepared) stop old -> (ended) start new -> (runs) next slot
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
import { type Config, configOf, isUnderWay, planProgress, type Standing, standingOf } from './progress.js';
import { isDue, planRestart } from './restart.js';
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
  const free = config.parallelism === 0 ? Number.POSITIVE_INFINITY : config.parallelism - busy.length;
  const rests = standings.filter(one => one.restsUntilMs > nowMs).map(one => one.restsUntilMs);
  return [
    // What does not run is replaced at once: nothing is lost by it.
    ...idle.flatMap(({ keep }) => (keep === undefined ? [] : [stopped(keep)])),
    ...standings.flatMap(one => (one.phase === 'moving' ? planMoving(one, replacing) : [])),
    ...standings.flatMap(one => (one.phase === 'old' && one.hasFailed ? planRetry(one, replacing) : [])),
    ...planNext(old, idle.length > 0 ? 0 : free, replacing),
    ...(old.length > 0 && rests.length > 0 ? [{ kind: 'wake', atMs: Math.min(...rests) } as const] : []),
  ];
}

/** Begins with so many of the old ones, as far as their successors would find a place. */
function planNext(old: readonly Standing[], free: number, replacing: Replacing): readonly Step[] {
  const steps: Step[] = [];
  let obstacle: Step | undefined;
  for (const one of old) {
    if (steps.length >= free || one.keep === undefined) break;
    const begun = planBegin(one, one.keep, replacing);
    if (begun.kind === 'say') obstacle ??= begun;
    else steps.push(begun);
  }
  return steps.length === 0 && obstacle !== undefined ? [obstacle] : steps;
}

function planBegin({ slot }: Standing, keep: Task, { config, circumstances }: Replacing): Step {
  const room = circumstances.room(keep);
  const isStartFirst = config.order === 'start-first';
  if (room.kind === 'beside') return { ...createdAtOnce(slot), isHeld: !isStartFirst };
  if (room.kind === 'instead' && !isStartFirst) return stopped(keep);
  return { kind: 'say', task: keep.id, message: `waits to be replaced: ${room.message}` };
}

/** The next step of a slot in which the old task runs and its successor is on its way. */
function planMoving({ keep, successor }: Standing, { config, circumstances }: Replacing): readonly Step[] {
  if (keep === undefined || successor === undefined) return [];
  const { nowMs } = circumstances;
  if (successor.desired === 'ready' && !isDue(successor.spec.restart, successor.startAfterMs, nowMs)) {
    return [{ kind: 'wake', atMs: successor.startAfterMs }];
  }
  if (config.order === 'start-first') {
    return successor.desired === 'ready' ? [{ kind: 'start', task: successor.id }] : [];
  }
  const { state, errorCode } = successor.status;
  if (state === 'ready') return [stopped(keep)];
  // The room that was there is taken: the old task makes some.
  const isStuck = (state === 'new' || state === 'pending') && errorCode !== '';
  return isStuck && circumstances.room(keep).kind !== 'nowhere' ? [stopped(keep)] : [];
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
