/**
 * One place of a service (a number, or a node for global services): which of its tasks counts, and what has to happen so that
 * one good task fills it. Pure; called again after every change, it says nothing when all is well.
 *
 * Rules: a task on a lost node is kept but filled a second time (superseded); one on a draining node goes when its replacement
 * runs; what we stopped is replaced when it has ended; what ended by itself is restarted by its policy (restart.ts).
 *
 * Called by replicated.ts and global.ts. Not here: how many places there are, old specs (update.ts), deletion (reap.ts).
 */
import type {
  DesiredState,
  Reconcile,
  Resources,
  RestartHistory,
  Rollout,
  Task,
  UpdateConfig,
} from '../../gen/types.js';
import type { NodeId, TaskId } from '../../ids.js';
import { isEnded, stateRank } from '../../raft/store.js';
import { isDue, planRestart } from '../../restart-policy.js';
import { isServing } from '../../serving.js';

/**
 * What the node of a task means for it. Draining: it should go elsewhere, by order or because its constraints say so. Expelled:
 * it has to go now, whether or not another one runs.
 */
export type Footing = 'unplaced' | 'fine' | 'draining' | 'expelled' | 'lost' | 'gone';

export type Step =
  | {
      readonly kind: 'create';
      readonly slot: number;
      readonly nodeId: NodeId | undefined;
      readonly startAfterMs: number;
      readonly failures: number;
      readonly restarts: RestartHistory | undefined;
      /** Prepared only, until it is told to start. */
      readonly isHeld?: boolean;
    }
  /** Desired rises to that. */
  | { readonly kind: 'retire'; readonly task: TaskId; readonly desired: 'shutdown' | 'remove' }
  /** Its time to start has come. */
  | { readonly kind: 'start'; readonly task: TaskId }
  | { readonly kind: 'orphan'; readonly task: TaskId; readonly because: string }
  | { readonly kind: 'supersede'; readonly task: TaskId; readonly superseded: boolean }
  | { readonly kind: 'delete'; readonly task: TaskId }
  /** Its node stops it after so long without managers, from now on. */
  | { readonly kind: 'tie'; readonly task: TaskId; readonly stopAfterDisconnectMs: number | undefined }
  /** Its limits are those from now on; it runs on. */
  | { readonly kind: 'limit'; readonly task: TaskId; readonly limits: Resources | undefined }
  /** It moves to no other node any more. */
  | { readonly kind: 'stay'; readonly task: TaskId; readonly because: string }
  /** Why nothing happens to it. */
  | { readonly kind: 'say'; readonly task: TaskId; readonly message: string }
  /** Look at the service again at that time. */
  | { readonly kind: 'wake'; readonly atMs: number }
  /** How far the update is. */
  | { readonly kind: 'rollout'; readonly rollout: Rollout }
  /** The update failed: an earlier spec again, and nothing else in this pass. */
  | { readonly kind: 'roll-back'; readonly because: string };

export interface Slot {
  readonly number: number;
  /** Of global services. */
  readonly nodeId: NodeId | undefined;
  /** Oldest first. */
  readonly tasks: readonly Task[];
  /** Whether a new task may be made in it. */
  readonly mayCreate: boolean;
}

export interface Circumstances {
  /** Made from what the service asks for now. */
  readonly isCurrent: (task: Task) => boolean;
  readonly nowMs: number;
  readonly footing: (task: Task) => Footing;
  readonly room: (task: Task) => Room;
  readonly update: Updating;
  /** Which of two tasks that both serve stays when a lost node came back. */
  readonly reconcile: Reconcile;
}

/** Where the successor of a running task would find a place: while that still runs, only when it has gone, or nowhere. */
export type Room =
  | { readonly kind: 'beside' }
  | { readonly kind: 'instead'; readonly message: string }
  | { readonly kind: 'nowhere'; readonly message: string };

/** What the service says about replacing its tasks. */
export interface Updating {
  readonly rollout: Rollout | undefined;
  readonly update: UpdateConfig | undefined;
  readonly rollback: UpdateConfig | undefined;
}

export interface SlotPlan {
  readonly steps: readonly Step[];
  /** The task that fills the slot. */
  readonly keep: Task | undefined;
  /** The task that is to take the place of the kept one when that is of another spec. */
  readonly successor: Task | undefined;
}

/** Wanted to live and not ended. */
export function isLive(task: Task): boolean {
  return !isEnded(task.status.state) && isWanted(task.desired);
}

export function isWanted(desired: DesiredState): boolean {
  return desired === 'ready' || desired === 'running';
}

export function planSlot(slot: Slot, circumstances: Circumstances): SlotPlan {
  const { footing } = circumstances;
  const [only] = slot.tasks;
  // Nearly all slots, nearly always.
  if (only !== undefined && slot.tasks.length === 1 && isSettled(only, circumstances)) {
    return { keep: only, successor: undefined, steps: [] };
  }
  const live = slot.tasks.filter(isLive);
  const good = live.filter(task => ['unplaced', 'fine'].includes(footing(task)));
  const displaced = live.filter(task => !good.includes(task));
  const keep = [...good].sort(byMerit(circumstances))[0];
  if (keep === undefined) return { keep, successor: undefined, steps: planEmpty(slot, displaced, circumstances) };
  const rivals = circumstances.isCurrent(keep) ? [] : good.filter(circumstances.isCurrent);
  const successor = rivals.sort(byAge).at(-1);
  return { keep, successor, steps: planKept(keep, { slot, good, successor, displaced, circumstances }) };
}

function isSettled(task: Task, { footing }: Circumstances): boolean {
  if (task.desired !== 'running' || task.superseded || isEnded(task.status.state)) return false;
  return ['unplaced', 'fine'].includes(footing(task));
}

/**
 * Ready before running before neither, the present spec, the newer one, then what `reconcile` says of a task that came back
 * and its replacement, the newer task. So neither of them ever goes before the other one serves.
 */
function byMerit({ isCurrent, reconcile }: Circumstances): (a: Task, b: Task) => number {
  return (a, b) =>
    Number(isServing(b.status)) - Number(isServing(a.status)) ||
    Number(b.status.state === 'running') - Number(a.status.state === 'running') ||
    Number(isCurrent(b)) - Number(isCurrent(a)) ||
    b.specVersion - a.specVersion ||
    (Number(a.superseded) - Number(b.superseded)) * (reconcile === 'keep-original' ? -1 : 1) ||
    byAge(b, a);
}

/** Oldest first. */
export function byAge(a: Task, b: Task): number {
  return a.meta.createdAtMs - b.meta.createdAtMs || a.meta.version - b.meta.version || (a.id < b.id ? -1 : 1);
}

interface Kept {
  readonly slot: Slot;
  readonly good: readonly Task[];
  readonly successor: Task | undefined;
  readonly displaced: readonly Task[];
  readonly circumstances: Circumstances;
}

function planKept(keep: Task, { slot, good, successor, displaced, circumstances }: Kept): readonly Step[] {
  const { nowMs, footing } = circumstances;
  const steps: Step[] = good
    .filter(task => task !== keep && task !== successor)
    .map(task => ({ kind: 'retire', task: task.id, desired: 'shutdown' }));
  if (keep.superseded) steps.push({ kind: 'supersede', task: keep.id, superseded: false });
  // One that was prepared beside an old one starts when that has ended, which is then the next thing to happen here.
  if (keep.desired === 'ready' && !slot.tasks.some(isStopping)) {
    if (isDue(keep.spec.restart, keep.startAfterMs, nowMs)) steps.push({ kind: 'start', task: keep.id });
    else steps.push({ kind: 'wake', atMs: keep.startAfterMs });
  }
  for (const task of displaced) {
    if (footing(task) === 'lost') steps.push(...supersede(task));
    else if (isServing(keep.status) || footing(task) === 'expelled')
      steps.push({ kind: 'retire', task: task.id, desired: 'shutdown' });
  }
  steps.push(...settle(slot, undefined));
  return steps;
}

function planEmpty(slot: Slot, displaced: readonly Task[], circumstances: Circumstances): readonly Step[] {
  const { footing, isCurrent } = circumstances;
  const steps: Step[] = displaced.flatMap(task => (footing(task) === 'lost' ? supersede(task) : []));
  steps.push(...displaced.filter(task => footing(task) === 'expelled').map(expelled));
  const newest = slot.tasks.filter(task => task.desired !== 'remove' && isEnded(task.status.state)).at(-1);
  if (slot.tasks.some(isStopping) || !slot.mayCreate) return [...steps, ...settle(slot, newest)];
  // One that failed after those that are to go was their successor, and is followed as its restart policy says.
  const isFirst = newest === undefined || displaced.some(task => byAge(newest, task) < 0);
  if (isFirst || !isWanted(newest.desired) || !isCurrent(newest)) {
    return [createdAtOnce(slot), ...steps, ...settle(slot, undefined)];
  }
  const next = planAgain(slot, newest, circumstances.nowMs);
  return [...next, ...steps, ...settle(slot, next[0]?.kind === 'create' ? undefined : newest)];
}

export function isStopping(task: Task): boolean {
  if (task.desired !== 'shutdown' || isEnded(task.status.state)) return false;
  return stateRank(task.status.state) > stateRank('pending');
}

export function createdAtOnce({ number, nodeId }: Slot): Extract<Step, { kind: 'create' }> {
  return { kind: 'create', slot: number, nodeId, startAfterMs: 0, failures: 0, restarts: undefined };
}

/** What follows in the slot on a task of the present spec that ended by itself: another one, one later, or none. */
function planAgain(slot: Slot, newest: Task, nowMs: number): readonly Step[] {
  const restart = planRestart(newest);
  if (restart.kind === 'stay') return [];
  const isEarly = !isDue(newest.spec.restart, restart.startAfterMs, nowMs);
  // What failed in its preparation is not prepared again before its time: nothing would slow the next failure down.
  if (isEarly && (newest.status.state === 'rejected' || newest.desired === 'ready')) {
    return [{ kind: 'wake', atMs: restart.startAfterMs }];
  }
  return [{ ...createdAtOnce(slot), ...restart, kind: 'create', startAfterMs: isEarly ? restart.startAfterMs : 0 }];
}

function expelled(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'shutdown' };
}

function supersede(task: Task): readonly Step[] {
  return task.superseded ? [] : [{ kind: 'supersede', task: task.id, superseded: true }];
}

/** Ended tasks are history, apart from one whose end stands for its slot because it is not restarted. */
function settle(slot: Slot, standing: Task | undefined): readonly Step[] {
  return slot.tasks
    .filter(task => isEnded(task.status.state) && isWanted(task.desired) && task !== standing)
    .map(task => ({ kind: 'retire', task: task.id, desired: 'shutdown' }));
}
