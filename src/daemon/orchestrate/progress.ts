/**
 * How far an update is: where each slot stands, what counts as failed, when it is over, when it has to end.
 *
 * A slot fails an update once, when a task of the new spec ends by itself before it ran or within the monitor time after, or
 * is awaited when nothing has gone on for the deadline. More failures than the ratio of all tasks to be replaced allows for
 * set the failure action off. After the last task the monitor time has to pass.
 *
 * Pure. Called by update.ts. Not here: which tasks are replaced when (update.ts).
 */
import type { Rollout, Task, UpdateConfig } from '../../gen/types.js';
import { isEnded } from '../../raft/store.js';
import { isServing } from '../../serving.js';
import { type Circumstances, isStopping, type Slot, type SlotPlan, type Updating } from './slot.js';
import type { PlannedSlot } from './update.js';

/**
 * old, idle: filled by a task of an old spec that runs, that does not. staged: it runs, and its successor is being prepared.
 * moving: between two tasks. waiting: the new one has no place yet.
 */
type Phase = 'old' | 'idle' | 'staged' | 'moving' | 'waiting' | 'done';

export interface Standing {
  /** As in Rollout.failed. */
  readonly key: string;
  readonly slot: Slot;
  readonly phase: Phase;
  readonly keep: Task | undefined;
  readonly successor: Task | undefined;
  /** Its new task runs, and until then the next slot waits. */
  readonly restsUntilMs: number;
  /** Started first: the old task still stops, and there are two as long as it does. */
  readonly isLeaving: boolean;
  /** It is known that it failed; or, while no update counts, that its newest task did. */
  readonly hasFailed: boolean;
}

export interface Config {
  readonly parallelism: number;
  readonly delayMs: number;
  readonly monitorMs: number;
  readonly failureAction: UpdateConfig['failureAction'];
  readonly maxFailureRatio: number;
  readonly order: UpdateConfig['order'];
  readonly deadlineMs: number;
}

export function configOf({ rollout, update, rollback }: Updating): Config {
  const isBack = rollout?.state === 'rolling-back' || rollout?.state === 'rollback-paused';
  const config = isBack ? rollback : update;
  return {
    parallelism: config?.parallelism ?? 1,
    delayMs: config?.delayMs ?? 0,
    monitorMs: config?.monitorMs ?? 5_000,
    failureAction: config?.failureAction ?? 'pause',
    maxFailureRatio: config?.maxFailureRatio ?? 0,
    order: config?.order ?? 'stop-first',
    deadlineMs: config?.deadlineMs ?? 600_000,
  };
}

export function isUnderWay({ state }: Rollout): boolean {
  return state === 'updating' || state === 'rolling-back';
}

export function standingOf({ slot, plan }: PlannedSlot, circumstances: Circumstances): Standing {
  const { keep, successor } = plan;
  const { delayMs, order } = configOf(circumstances.update);
  const phase = phaseOf(slot, plan, circumstances);
  const readyAtMs = keep?.runningAtMs ?? 0;
  const isNews = keep !== undefined && keep.specVersion === circumstances.update.rollout?.specVersion;
  const isResting = phase === 'done' && isNews && isAhead(readyAtMs + delayMs, delayMs, circumstances.nowMs);
  return {
    key: slot.nodeId ?? String(slot.number),
    slot,
    phase,
    keep,
    successor,
    restsUntilMs: isResting ? readyAtMs + delayMs : 0,
    isLeaving: order === 'start-first' && isLeaving(slot, plan),
    hasFailed: phase === 'old' && slot.tasks.some(task => circumstances.isCurrent(task) && hasEndedItself(task)),
  };
}

/** A task of it stops, or is told to by the present plan. */
function isLeaving(slot: Slot, { steps }: SlotPlan): boolean {
  const retired = new Set(steps.flatMap(step => (step.kind === 'retire' ? [step.task] : [])));
  return slot.tasks.some(task => isStopping(retired.has(task.id) ? { ...task, desired: 'shutdown' } : task));
}

function phaseOf(slot: Slot, { keep, successor, steps }: PlannedSlot['plan'], { isCurrent }: Circumstances): Phase {
  if (keep !== undefined && !isCurrent(keep)) {
    if (successor !== undefined) return successor.desired === 'ready' ? 'staged' : 'moving';
    return keep.status.state === 'running' ? 'old' : 'idle';
  }
  if (keep !== undefined) {
    if (isServing(keep.status)) return 'done';
    // One that only waits for a place is not counted: it may wait for the very place that an old task holds.
    return keep.status.state === 'pending' ? 'waiting' : 'moving';
  }
  const isActive = slot.tasks.some(task => !isEnded(task.status.state)) || steps.some(step => step.kind === 'create');
  const last = slot.tasks.at(-1);
  const isOver = last !== undefined && last.status.state === 'complete' && !hasEndedItself(last);
  return !isActive && isOver ? 'done' : 'moving';
}

/** Failed, or ended though it was to run on. */
function hasEndedItself({ status, spec }: Task): boolean {
  if (status.state === 'complete') return spec.restart.condition === 'any';
  return status.state === 'failed' || status.state === 'rejected';
}

export type Progress =
  | { readonly kind: 'goes-on'; readonly rollout: Rollout; readonly wakeAtMs: readonly number[] }
  | { readonly kind: 'ended'; readonly rollout: Rollout; readonly isPaused: boolean }
  | { readonly kind: 'roll-back'; readonly rollout: Rollout; readonly because: string };

interface Counting {
  readonly rollout: Rollout;
  readonly config: Config;
  readonly nowMs: number;
}

export function planProgress(standings: readonly Standing[], { rollout: stored, config, nowMs }: Counting): Progress {
  const rollout = stored.startedAtMs === 0 ? begun(stored, standings, nowMs) : stored;
  const counted = counting(rollout, standings, { config, nowMs });
  if (counted.failed.length > 0 && isTooMany(counted, config)) {
    return afterFailure(counted, { because: failureText(counted, standings), config, nowMs });
  }
  const open = openSlots(counted, standings);
  if (open.length > 0) {
    const deadlineAtMs = counted.progressedAtMs + config.delayMs + graceMs(open) + config.deadlineMs;
    if (nowMs < deadlineAtMs) {
      const next = { ...counted, deadlineAtMs, message: obstacleText(open) };
      return { kind: 'goes-on', rollout: unlessSame(stored, next), wakeAtMs: [deadlineAtMs] };
    }
    return afterDeadline(counted, standings, { config, nowMs });
  }
  const watchedUntilMs = Math.max(
    0,
    ...watched(counted, standings).map(task => (task.runningAtMs ?? 0) + config.monitorMs),
  );
  if (isAhead(watchedUntilMs, config.monitorMs, nowMs)) {
    const next = { ...counted, deadlineAtMs: 0, message: '' };
    return { kind: 'goes-on', rollout: unlessSame(stored, next), wakeAtMs: [watchedUntilMs] };
  }
  const state = rollout.state === 'updating' ? 'completed' : 'rolled-back';
  return { kind: 'ended', rollout: over(counted, { state, message: countText(counted), nowMs }), isPaused: false };
}

/** Leaders' clocks may differ by this. */
const skewMs = 60_000;

/** Whether it is still to be waited for; a time further away than the wait is long shows that the clock was set back. */
function isAhead(untilMs: number, waitMs: number, nowMs: number): boolean {
  return waitMs > 0 && nowMs < untilMs && untilMs - nowMs <= waitMs + skewMs;
}

/** The first look. Ends that were there before it are not its failures. */
function begun(rollout: Rollout, standings: readonly Standing[], nowMs: number): Rollout {
  const ends = standings.flatMap(one => one.slot.tasks).filter(task => task.specVersion === rollout.specVersion);
  const startedAtMs = Math.max(nowMs, ...ends.map(task => (task.endedAtMs ?? 0) + 1));
  const total = standings.filter(one => one.phase !== 'done').length;
  return { ...rollout, startedAtMs, progressedAtMs: nowMs, total };
}

function counting(
  rollout: Rollout,
  standings: readonly Standing[],
  { config, nowMs }: Omit<Counting, 'rollout'>,
): Rollout {
  const known = new Set(rollout.failed);
  const fresh = standings
    .filter(one => !known.has(one.key) && one.slot.tasks.some(task => fails(task, rollout, config)))
    .map(one => one.key);
  const failed = fresh.length === 0 ? rollout.failed : [...rollout.failed, ...fresh];
  const open = openSlots({ ...rollout, failed }, standings);
  const done = Math.max(0, rollout.total - open.length - failed.length);
  // Progress of the future: the clock was set back, and the deadline counts anew.
  const isOn = fresh.length > 0 || done > rollout.done || rollout.progressedAtMs > nowMs + skewMs;
  return { ...rollout, failed, done, progressedAtMs: isOn ? nowMs : rollout.progressedAtMs };
}

/** A task of the update that ended before it ran, or too soon after. */
function fails(task: Task, { specVersion, startedAtMs }: Rollout, { monitorMs }: Config): boolean {
  const { runningAtMs, endedAtMs = 0 } = task;
  if (task.specVersion !== specVersion || endedAtMs < startedAtMs || !hasEndedItself(task)) return false;
  return runningAtMs === undefined || endedAtMs - runningAtMs <= monitorMs;
}

function openSlots({ failed }: Rollout, standings: readonly Standing[]): readonly Standing[] {
  return standings.filter(one => one.phase !== 'done' && !failed.includes(one.key));
}

function watched({ failed, specVersion }: Rollout, standings: readonly Standing[]): readonly Task[] {
  return standings.flatMap(({ key, phase, keep }) => {
    const isWatched = phase === 'done' && keep?.specVersion === specVersion && !failed.includes(key);
    return isWatched && keep !== undefined ? [keep] : [];
  });
}

function isTooMany({ failed, total }: Rollout, { failureAction, maxFailureRatio }: Config): boolean {
  return failureAction !== 'continue' && failed.length / Math.max(1, total) > maxFailureRatio;
}

interface Ending {
  readonly because: string;
  readonly config: Config;
  readonly nowMs: number;
}

function afterFailure(rollout: Rollout, { because, config, nowMs }: Ending): Progress {
  if (rollout.state === 'updating' && config.failureAction === 'rollback') {
    return { kind: 'roll-back', rollout, because };
  }
  return { kind: 'ended', rollout: paused(rollout, because, nowMs), isPaused: true };
}

/** Whoever is awaited has failed; if nobody is, no slot can go on, and the update ends. */
function afterDeadline(
  rollout: Rollout,
  standings: readonly Standing[],
  { config, nowMs }: Omit<Counting, 'rollout'>,
): Progress {
  const open = openSlots(rollout, standings);
  const begun = open.filter(one => one.phase === 'moving' || one.phase === 'waiting');
  const staged = open.filter(one => one.phase === 'staged' && one.successor?.status.state !== 'ready');
  // Those that are only prepared ahead are not counted.
  const limit = config.parallelism === 0 ? staged.length : Math.max(0, config.parallelism - begun.length);
  const awaited = [...begun, ...staged.slice(0, limit)];
  const failed = [...rollout.failed, ...awaited.map(one => one.key)];
  const late = { ...rollout, failed, progressedAtMs: nowMs, deadlineAtMs: 0 };
  const within = `within ${seconds(config.deadlineMs)}`;
  if (awaited.length === 0) {
    const because = `nothing went on ${within}: ${open.length} still to be replaced`;
    return afterFailure(late, { because, config, nowMs });
  }
  const names = awaited.map(one => one.key).join(', ');
  const because = `${awaited.length} did not run ${within}: ${awaited[0]?.slot.nodeId === undefined ? 'slot' : 'node'} ${names}`;
  if (isTooMany(late, config)) return afterFailure(late, { because, config, nowMs });
  return { kind: 'goes-on', rollout: { ...late, message: because }, wakeAtMs: [nowMs + 1] };
}

export function paused(rollout: Rollout, message: string, nowMs: number): Rollout {
  const state = rollout.state === 'updating' ? 'paused' : 'rollback-paused';
  return over(rollout, { state, message: `${message}; ${countText(rollout)}`, nowMs });
}

function over(
  rollout: Rollout,
  end: { readonly state: Rollout['state']; readonly message: string; readonly nowMs: number },
): Rollout {
  return { ...rollout, state: end.state, message: end.message, endedAtMs: end.nowMs, deadlineAtMs: 0 };
}

/** What a person asked to stop takes no grace period away from the deadline. */
function graceMs(open: readonly Standing[]): number {
  const grace = open.flatMap(one => one.slot.tasks).flatMap(task => task.spec.containers.map(each => each.stopGraceMs));
  return Math.max(0, ...grace.map(each => each ?? 10_000));
}

function failureText({ failed }: Rollout, standings: readonly Standing[]): string {
  const key = failed.at(-1);
  const slot = standings.find(one => one.key === key)?.slot;
  const task = slot?.tasks.findLast(hasEndedItself);
  const why = task === undefined ? '' : `: ${task.status.error || task.status.message || task.status.state}`;
  return `${failed.length} failed, the last in ${slot?.nodeId === undefined ? 'slot' : 'node'} ${key}${why}`;
}

function obstacleText(open: readonly Standing[]): string {
  const successor = open.find(one => one.successor?.status.errorCode)?.successor;
  const waiting = open.find(one => one.phase === 'waiting')?.keep;
  return successor?.status.message ?? waiting?.status.message ?? '';
}

function countText({ done, total, failed }: Rollout): string {
  const words = `${done} of ${total} replaced`;
  return failed.length === 0 ? words : `${words}, ${failed.length} failed`;
}

function seconds(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1_000} s`;
}

/** The stored object when nothing differs, so that nothing is written. */
function unlessSame(stored: Rollout, next: Rollout): Rollout {
  const isSame =
    stored.startedAtMs === next.startedAtMs &&
    stored.total === next.total &&
    stored.done === next.done &&
    stored.failed.length === next.failed.length &&
    stored.message === next.message &&
    stored.deadlineAtMs === next.deadlineAtMs;
  return isSame ? stored : next;
}
