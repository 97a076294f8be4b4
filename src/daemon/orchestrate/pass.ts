/**
 * One look at one service: all that is to be done for it now, as writes. Orchestrate, allocate, schedule and reap follow one
 * another on one draft, so that a new service runs after one write of the log, and a failed task is replaced by one.
 *
 * Pure but for the ids it draws. Level-triggered: it reads the whole service and says nothing when all is well.
 *
 * Called by manager.ts. Not here: when to look (manager.ts), the rules themselves (replicated, global, slot, reap; allocate/;
 * schedule/).
 */

import type { Node, Rollout, Service, Task, TaskStatus } from '../../gen/types.js';
import type { Random } from '../../host.js';
import { isEnded, stateRank, type View, type Write } from '../../raft/store.js';
import { findFullName } from '../../tasks/image/reference.js';
import {
  type AddressPools,
  type Freed,
  freeAddresses,
  freedBy,
  openAllocator,
  type WaitsFor,
} from '../allocate/index.js';
import { findUnmet } from '../schedule/constraints.js';
import { addTask, demandOf, type NodeUsage, surveyNodes } from '../schedule/filters.js';
import { failuresByNode, leavingByNode, type Placement, planPlacement } from '../schedule/place.js';
import { findHome, namedVolumes, noteElsewhere } from '../schedule/volumes.js';
import { clusterSpecOf } from '../tables.js';
import { type Draft, freshMeta, openDraft } from './draft.js';
import { planGlobal } from './global.js';
import { planGlobalJob, planReplicatedJob } from './job.js';
import { planLimitChanges } from './limits.js';
import { footingOf, lossTimes, planTies } from './loss.js';
import { findMoveTarget, planMoves } from './moves.js';
import { configOf, isUnderWay, paused } from './progress.js';
import { planReap } from './reap.js';
import { planReplicas } from './replicated.js';
import { findTarget, isCurrent, revisionsOf, rolledBack } from './revisions.js';
import { isOutOfPlace, roomOf } from './room.js';
import { type Circumstances, type Footing, isWanted, type Step } from './slot.js';
import { changed, newTask, statusAfter, type TaskStep } from './task-steps.js';

/** In whose name a pass writes: the owners of all edges that it may take. */
export const passPrincipal = 'system:orchestrate+allocate+schedule+reconcile+reap';

/** What a pass leaves to be done later. */
export interface PassNotes {
  /** Look again then, even if nothing happens. */
  readonly wakeAtMs: number | undefined;
  /** A task waits for something that other services or nodes may give. */
  readonly isWaiting: boolean;
  /** There was more to do than one pass does: look again at once. */
  readonly isMore: boolean;
}

/** Steps of one pass: about what fits into one transaction, and what may hold the event loop. */
const stepsMax = 64;

/** What passes over several services have in common that are stored together. */
export interface Shared {
  readonly draft: Draft;
  /** What deleted tasks and services give back. */
  readonly freed: Freed[];
  readonly pools: AddressPools;
  readonly waitsFor: WaitsFor;
}

interface Passing extends Shared {
  readonly serviceId: string;
  readonly nowMs: number;
  readonly random: Pick<Random, 'bytes'>;
  readonly wakeAtMs: number[];
  /** Something waits for what other services or nodes may give. */
  isWaiting: boolean;
  stepsLeft: number;
  isMore: boolean;
}

export interface PassContext {
  readonly nowMs: number;
  readonly random: Pick<Random, 'bytes'>;
  readonly waitsFor: WaitsFor;
}

export function openShared(base: View, waitsFor: WaitsFor): Shared {
  return { draft: openDraft(base), freed: [], pools: new Map(), waitsFor };
}

export function writesOfShared({ draft, freed }: Shared, nowMs: number): readonly Write[] {
  freeAddresses(draft, freed, nowMs);
  return draft.writes();
}

/** One pass on a draft that may hold others already. */
export function takePass(
  base: View,
  serviceId: string,
  { nowMs, random, shared }: Omit<PassContext, 'waitsFor'> & { readonly shared: Shared },
): PassNotes {
  const passing: Passing = {
    ...shared,
    serviceId,
    nowMs,
    random,
    wakeAtMs: [],
    isWaiting: false,
    stepsLeft: stepsMax,
    isMore: false,
  };
  const { draft } = passing;
  const service = draft.view.find('service', serviceId);
  takeSteps(
    passing,
    planOrphans(tasksOf(passing), task => footingOf(draft.view, task)),
  );
  if (service === undefined || service.removing) takeSteps(passing, planRemoval(tasksOf(passing)));
  else takeWanted(passing, service);
  if (service !== undefined && !service.removing) {
    takeSteps(passing, planLimitChanges(service, tasksOf(passing)));
    takeSteps(passing, planTies(service, tasksOf(passing)));
    passing.wakeAtMs.push(...lossTimes(draft.view, service, tasksOf(passing)).filter(atMs => atMs > nowMs));
    allocate(passing);
    schedule(passing);
  }
  // What this very pass orphans is told first and forgotten by the next one.
  const reapable = tasksOf(passing).filter(task => isReapable(base, task));
  takeSteps(passing, planReap(reapable, clusterSpecOf(draft.view).taskHistoryMax));
  if (service?.removing === true && tasksOf(passing).length === 0) removeService(passing, service);
  passing.isWaiting ||= tasksOf(passing).some(
    task => isWanted(task.desired) && stateRank(task.status.state) < stateRank('assigned'),
  );
  const wakeAtMs = passing.wakeAtMs.length === 0 ? undefined : Math.min(...passing.wakeAtMs);
  return { wakeAtMs, isWaiting: passing.isWaiting, isMore: passing.isMore };
}

function tasksOf({ draft, serviceId }: Passing): readonly Task[] {
  return [...draft.view.tasksOfService(serviceId)];
}

function isReapable(base: View, task: Task): boolean {
  const state = base.find('task', task.id)?.status.state ?? task.status.state;
  return isEnded(state) || stateRank(state) < stateRank('assigned');
}

/** Tasks whose agent will not report any more, or not soon enough for what is to follow. */
function planOrphans(tasks: readonly Task[], footing: (task: Task) => Footing): readonly Step[] {
  return tasks.flatMap((task): readonly Step[] => {
    if (isEnded(task.status.state) || stateRank(task.status.state) < stateRank('assigned')) return [];
    const where = footing(task);
    if (where === 'gone') return [{ kind: 'orphan', task: task.id, because: 'its node was removed from the cluster' }];
    if (where !== 'lost' || isWanted(task.desired)) return [];
    return [{ kind: 'orphan', task: task.id, because: 'it was to be stopped, and its node is lost' }];
  });
}

function planRemoval(tasks: readonly Task[]): readonly Step[] {
  return tasks
    .filter(task => task.desired !== 'remove')
    .map(task => ({ kind: 'retire', task: task.id, desired: 'remove' }));
}

function planWanted(passing: Passing, service: Service): readonly Step[] {
  const { view } = passing.draft;
  const { spec, rollout } = service;
  const circumstances: Circumstances = {
    isCurrent: task => isCurrent(task, service),
    nowMs: passing.nowMs,
    footing: task => footingOf(view, task, spec.loss, passing.nowMs),
    room: roomOf(view, service),
    update: { rollout, update: spec.update, rollback: spec.rollback },
    reconcile: spec.loss?.reconcile ?? 'keep-original',
  };
  const { mode } = spec;
  if (mode.kind === 'replicated') {
    const moves = planMoves(tasksOf(passing), {
      ...circumstances,
      findNode: id => view.find('node', id),
      isUpdating: rollout !== undefined && isUnderWay(rollout),
      parallelism: configOf(circumstances.update).parallelism,
    });
    const footing = (task: Task): Footing => {
      const where = circumstances.footing(task);
      return where === 'fine' && (isOutOfPlace(view, task) || moves.moving.has(task.id)) ? 'draining' : where;
    };
    return [...moves.steps, ...planReplicas(mode.replicas, tasksOf(passing), { ...circumstances, footing })];
  }
  const inRun = { ...circumstances, runVersion: service.specVersion };
  if (mode.kind === 'replicatedJob') return planReplicatedJob(mode, tasksOf(passing), inRun);
  const { constraints } = service.spec.task.placement;
  const nodes = [...view.list('node')].filter(node => node.status.state !== 'left');
  const admits = (node: Node): boolean => findUnmet(constraints, node) === undefined;
  if (mode.kind === 'globalJob') return planGlobalJob({ nodes, admits }, tasksOf(passing), inRun);
  const countOthers = (node: Node): number => countReplicated(view, node);
  return planGlobal({ nodes, admits, countOthers }, tasksOf(passing), circumstances);
}

function countReplicated(view: View, node: Node): number {
  const isGlobal = (id: string): boolean => view.find('service', id)?.spec.mode.kind === 'global';
  return [...view.tasksOfNode(node.id)].filter(task => !isEnded(task.status.state) && !isGlobal(task.serviceId)).length;
}

/** All steps, or, when the update has failed and that is to be undone, only that: the next pass begins with the earlier spec. */
function takeWanted(passing: Passing, service: Service): void {
  const steps = planWanted(passing, service);
  const failed = steps.find(step => step.kind === 'roll-back');
  if (failed === undefined) {
    takeSteps(passing, steps);
    return;
  }
  const { draft } = passing;
  const target = findTarget(draft.view, service);
  const { rollout } = service;
  if (target === undefined) {
    const message = `${failed.because}; there is no earlier revision to go back to`;
    if (rollout !== undefined) draft.put('service', { ...service, rollout: paused(rollout, message, passing.nowMs) });
  } else {
    const { service: next, revisions, forgotten } = rolledBack(draft.view, service, target);
    const because = `back to revision ${target.number}: ${failed.because}`;
    const { meta } = service;
    draft.put('service', { ...next, meta, rollout: next.rollout && { ...next.rollout, because } });
    for (const revision of revisions) draft.put('revision', { ...revision, meta: freshMeta(passing.nowMs) });
    for (const id of forgotten) draft.remove('revision', id);
  }
  passing.isMore = true;
}

function takeSteps(passing: Passing, steps: readonly Step[]): void {
  for (const step of steps) takeStep(passing, step);
}

function takeStep(passing: Passing, step: Step): void {
  const { wakeAtMs } = passing;
  if (step.kind === 'rollout') storeRollout(passing, step.rollout);
  if (step.kind === 'roll-back' || step.kind === 'rollout') return;
  if (step.kind === 'say') passing.isWaiting = true;
  if (step.kind !== 'wake' && passing.stepsLeft === 0) {
    passing.isMore = true;
    return;
  }
  passing.stepsLeft -= step.kind === 'wake' ? 0 : 1;
  if (step.kind === 'wake') wakeAtMs.push(step.atMs);
  else if (step.kind === 'create') createTask(passing, step);
  else changeTask(passing, step);
}

function createTask(passing: Passing, step: Extract<Step, { kind: 'create' }>): void {
  const { draft, serviceId, nowMs, wakeAtMs } = passing;
  const service = draft.view.find('service', serviceId);
  if (service === undefined) return;
  if (step.startAfterMs > nowMs) wakeAtMs.push(step.startAfterMs);
  draft.put('task', newTask(service, step, passing));
}

function storeRollout({ draft, serviceId }: Passing, rollout: Rollout): void {
  const service = draft.view.find('service', serviceId);
  if (service !== undefined) draft.put('service', { ...service, rollout });
}

function changeTask({ draft, nowMs, freed }: Passing, step: TaskStep): void {
  const task = draft.view.find('task', step.task);
  if (task === undefined) return;
  if (step.kind === 'delete') {
    freed.push(...freedBy(task, nowMs));
    draft.remove('task', step.task);
    return;
  }
  const next = changed(task, step, nowMs);
  if (step.kind !== 'say' || next.status !== task.status) draft.put('task', next);
}

function say(draft: Draft, task: Task, change: Partial<Task> & { readonly status: TaskStatus }): void {
  if (change.status !== task.status) draft.put('task', { ...task, ...change });
}

function allocate(passing: Passing): void {
  const { draft, serviceId, nowMs, wakeAtMs } = passing;
  const allocator = openAllocator(passing, serviceId, nowMs);
  const problem = allocator.allocateService();
  for (const task of tasksOf(passing)) {
    if (task.status.state !== 'new' || !isWanted(task.desired)) continue;
    const result = problem === undefined ? allocator.takeEndpoints() : ({ kind: 'problem', ...problem } as const);
    if (result.kind === 'problem') {
      if (result.retryAtMs !== undefined) wakeAtMs.push(result.retryAtMs);
      say(draft, task, {
        status: statusAfter(task.status, { message: result.message, errorCode: result.code }, nowMs),
      });
      continue;
    }
    const { endpoints, ports } = result;
    const status = statusAfter(task.status, { state: 'pending', message: '', errorCode: '' }, nowMs);
    say(draft, task, { status, endpoints, ports });
  }
}

function schedule(passing: Passing): void {
  const { draft, nowMs } = passing;
  const pending = tasksOf(passing).filter(task => task.status.state === 'pending' && isWanted(task.desired));
  if (pending.length === 0) return;
  const usages = surveyNodes(draft.view.list('node'), draft.view.list('task'));
  const { specVersion } = pending[0] as Task;
  const failures = failuresByNode(tasksOf(passing), specVersion, nowMs);
  const leaving = leavingByNode(tasksOf(passing));
  // Nodes only fill up within a pass: where one task found no place, the next of its kind finds none either.
  const refused = new Map<number, Placement>();
  const present = tasksOf(passing);
  for (const task of pending) {
    const given = task.nodeId || findMoveTarget(task, present);
    const candidates = given === undefined ? usages.values() : candidateOf(usages, given);
    const images = imageNames(task);
    const known = given === undefined ? refused.get(task.specVersion) : undefined;
    const wishes = { home: findHome(task, present), volumes: namedVolumes(task.spec), leaving };
    const placement = known ?? planPlacement(candidates, demandOf(task), { failures, images, ...wishes });
    if (placement.kind === 'none') {
      if (given === undefined) refused.set(task.specVersion, placement);
      const change = { message: placement.message, errorCode: 'no-node-fits' };
      say(draft, task, { status: statusAfter(task.status, change, nowMs) });
      continue;
    }
    const status = statusAfter(task.status, { state: 'assigned', message: '', errorCode: '' }, nowMs);
    const placeNote = noteElsewhere(task.spec, placement.node, draft.view.list('node'));
    const assigned = { ...task, nodeId: placement.node.id, status, placeNote };
    draft.put('task', assigned);
    const usage = usages.get(placement.node.id);
    if (usage !== undefined) addTask(usage, assigned);
  }
}

function imageNames(task: Task): readonly string[] {
  const name = task.spec.containers[0]?.image ?? '';
  return [name, findFullName(name) ?? name];
}

function candidateOf(usages: ReadonlyMap<string, NodeUsage>, nodeId: string): readonly NodeUsage[] {
  const usage = usages.get(nodeId);
  return usage === undefined ? [] : [usage];
}

function removeService({ draft, nowMs, freed }: Passing, service: Service): void {
  freed.push(...service.vips.map(vip => ({ ...vip, atMs: nowMs })));
  draft.remove('service', service.id);
  for (const { id } of revisionsOf(draft.view, service)) draft.remove('revision', id);
}
