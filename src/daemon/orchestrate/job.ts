/**
 * Jobs: services whose tasks run to their end. A replicated job has so many slots, of which no more than a given number are
 * worked on at a time; a global job has one on each node that its constraints admit. A slot whose task has completed is done;
 * one that fails is tried again as the restart policy says, and given up when that says no more.
 *
 * Keeps true: what has completed is never run again, by whichever node it is reported; a change of the spec begins the whole
 * work anew, in each slot after the task of the earlier spec has ended. Work on a draining node goes on until the deadline of
 * the drain. All that decides is in the tasks, so an election neither forgets nor repeats.
 *
 * Pure. Called by pass.ts. Not here: what happens within a slot that is not done (slot.ts), choosing nodes (schedule/).
 */
import type { Node, Service, ServiceSpec, Task, TaskSpec } from '../../gen/types.js';
import type { NodeId } from '../../ids.js';
import { isEnded, stateRank } from '../../raft/store.js';
import type { Step } from './slot.js';
import {
  byAge,
  type Circumstances,
  createdAtOnce,
  type Footing,
  isLive,
  isWanted,
  planSlot,
  type Slot,
} from './slot.js';

type Mode = ServiceSpec['mode'];
export type ReplicatedJob = Extract<Mode, { readonly kind: 'replicatedJob' }>;

export interface JobCircumstances extends Circumstances {
  /** The version of the spec whose tasks are the present run. */
  readonly runVersion: number;
}

export function isJob(mode: Mode): boolean {
  return mode.kind === 'replicatedJob' || mode.kind === 'globalJob';
}

/** What its tasks are made from: one that has completed is not restarted, whatever the policy says. */
export function jobTaskSpec({ mode, task }: ServiceSpec): TaskSpec {
  if (!isJob(mode) || task.restart.condition !== 'any') return task;
  return { ...task, restart: { ...task.restart, condition: 'on-failure' } };
}

/** Slots of the present run that are done. */
export function completedSlots(tasks: readonly Task[], { specVersion }: Pick<Service, 'specVersion'>): number {
  const done = tasks.filter(task => task.specVersion === specVersion && isDone(task));
  return new Set(done.map(slotKey)).size;
}

export function planReplicatedJob(
  { completions, concurrentMax }: ReplicatedJob,
  tasks: readonly Task[],
  circumstances: JobCircumstances,
): readonly Step[] {
  const run = readRun(tasks, circumstances);
  const steps: Step[] = [...run.leaving];
  let busy = 0;
  for (const group of [...run.slots.values()].sort(bySlot)) {
    const number = group[0]?.slot ?? 0;
    if (number > completions) {
      steps.push(...group.map(removed));
      continue;
    }
    const slot = { number, nodeId: undefined, tasks: group, mayCreate: !run.occupied.has(String(number)) };
    const plan = planWork(slot, circumstances);
    steps.push(...plan.steps);
    if (plan.isBusy) busy += 1;
  }
  const limit = concurrentMax === 0 ? completions : concurrentMax;
  for (let number = 1; number <= completions && busy < limit; number += 1) {
    if (run.slots.has(String(number)) || run.occupied.has(String(number))) continue;
    steps.push(createdAtOnce({ number, nodeId: undefined, tasks: [], mayCreate: true }));
    busy += 1;
  }
  return steps;
}

export interface JobNodes {
  readonly nodes: readonly Node[];
  readonly admits: (node: Node) => boolean;
}

export function planGlobalJob(
  { nodes, admits }: JobNodes,
  tasks: readonly Task[],
  circumstances: JobCircumstances,
): readonly Step[] {
  const run = readRun(tasks, circumstances);
  const steps: Step[] = [...run.leaving];
  const present = new Set<NodeId>(nodes.map(({ id }) => id));
  // There is no other place for the work of a node: it waits until the node is back.
  const footing = (task: Task): Footing => {
    const where = circumstances.footing(task);
    return where === 'lost' ? 'fine' : where;
  };
  for (const node of nodes) {
    const group = run.slots.get(node.id) ?? [];
    if (!admits(node)) {
      steps.push(...group.filter(isLive).map(stopped));
      continue;
    }
    const mayCreate =
      node.status.state === 'ready' && node.spec.availability === 'active' && !run.occupied.has(node.id);
    steps.push(
      ...planWork({ number: 0, nodeId: node.id, tasks: group, mayCreate }, { ...circumstances, footing }).steps,
    );
  }
  const gone = [...run.slots.values()].flat().filter(task => !present.has(task.nodeId));
  return [...steps, ...gone.map(removed)];
}

interface Run {
  /** Tasks of the present run by slot (a number, or a node), oldest first. */
  readonly slots: ReadonlyMap<string, readonly Task[]>;
  /** Slots in which a task of an earlier run has not ended yet. */
  readonly occupied: ReadonlySet<string>;
  readonly leaving: readonly Step[];
}

/** A run is of one version of the spec: what an earlier one completed does not count, even if it was the same. */
function readRun(tasks: readonly Task[], { runVersion }: JobCircumstances): Run {
  const wanted = tasks.filter(task => task.desired !== 'remove');
  const earlier = wanted.filter(task => task.specVersion !== runVersion);
  const slots = Map.groupBy(
    wanted.filter(task => task.specVersion === runVersion),
    slotKey,
  );
  for (const group of slots.values()) group.sort(byAge);
  const isThere = ({ status }: Task): boolean =>
    !isEnded(status.state) && stateRank(status.state) > stateRank('pending');
  return {
    slots,
    occupied: new Set(earlier.filter(isThere).map(slotKey)),
    leaving: earlier.filter(task => isWanted(task.desired)).map(stopped),
  };
}

function slotKey({ slot, nodeId }: Task): string {
  return slot === 0 ? nodeId : String(slot);
}

function bySlot(a: readonly Task[], b: readonly Task[]): number {
  return (a[0]?.slot ?? 0) - (b[0]?.slot ?? 0);
}

function isDone({ status, desired }: Task): boolean {
  return status.state === 'complete' && desired !== 'remove';
}

/** Whether something is going on in the slot, or will be. */
function planWork(
  slot: Slot,
  circumstances: Circumstances,
): { readonly steps: readonly Step[]; readonly isBusy: boolean } {
  const done = slot.tasks.find(isDone);
  if (done !== undefined) {
    const others = slot.tasks.filter(task => task !== done && isWanted(task.desired));
    return { steps: others.map(stopped), isBusy: false };
  }
  // Work is not moved: it is let be until the drain ends it.
  const footing = (task: Task): Footing => {
    const where = circumstances.footing(task);
    return where === 'draining' ? 'fine' : where;
  };
  const { keep, steps: planned } = planSlot(slot, { ...circumstances, footing });
  const steps = [...planned, ...planWord(keep, circumstances)];
  const isAwaited =
    slot.tasks.some(task => !isEnded(task.status.state)) ||
    steps.some(step => step.kind === 'create' || step.kind === 'wake');
  return { steps, isBusy: keep !== undefined || isAwaited };
}

const goesOn = 'goes on until it has completed, or the drain is over';

/** What keeps a drain waiting, and no word of it when the drain was called off. */
function planWord(keep: Task | undefined, circumstances: Circumstances): readonly Step[] {
  if (keep === undefined) return [];
  const isLeft = circumstances.footing(keep) === 'draining';
  if (isLeft === (keep.status.message === goesOn)) return [];
  return [{ kind: 'say', task: keep.id, message: isLeft ? goesOn : '' }];
}

function stopped(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'shutdown' };
}

function removed(task: Task): Step {
  return { kind: 'retire', task: task.id, desired: 'remove' };
}
