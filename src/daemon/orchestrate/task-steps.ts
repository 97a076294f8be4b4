/**
 * What single steps make of a task: a new one, or one with what has changed.
 *
 * Pure but for the ids it draws. Called by pass.ts. Not here: which steps there are to take (slot.ts and its callers).
 */
import type { Service, Task, TaskStatus } from '../../gen/types.js';
import type { Random } from '../../host.js';
import { asId, type NodeId, newId, type TaskId } from '../../ids.js';
import { freshMeta } from './draft.js';
import { jobTaskSpec } from './job.js';
import { stopAfterDisconnectOf } from './loss.js';
import type { Step } from './slot.js';

export type TaskStep = Exclude<Step, { kind: 'wake' | 'create' | 'rollout' | 'roll-back' }>;

export function changed(task: Task, step: Exclude<TaskStep, { kind: 'delete' }>, nowMs: number): Task {
  switch (step.kind) {
    case 'retire':
      return { ...task, desired: step.desired, superseded: false };
    case 'start':
      return { ...task, desired: 'running' };
    case 'tie':
      return { ...task, stopAfterDisconnectMs: step.stopAfterDisconnectMs };
    case 'limit':
      return { ...task, spec: { ...task.spec, limits: step.limits } };
    case 'supersede':
      return { ...task, superseded: step.superseded };
    case 'stay':
      return { ...task, move: undefined, status: statusAfter(task.status, { message: step.because }, nowMs) };
    case 'say':
      return { ...task, status: statusAfter(task.status, { message: step.message }, nowMs) };
    case 'orphan':
      return { ...task, status: statusAfter(task.status, { state: 'orphaned', error: step.because }, nowMs) };
  }
}

/** One that waits for its time is held until then. */
export function newTask(
  service: Service,
  step: Extract<Step, { kind: 'create' }>,
  { nowMs, random }: { readonly nowMs: number; readonly random: Pick<Random, 'bytes'> },
): Task {
  const mustWait = step.startAfterMs > nowMs;
  return {
    id: newId<TaskId>(random.bytes),
    meta: freshMeta(nowMs),
    serviceId: service.id,
    serviceName: service.spec.name,
    stack: service.spec.stack,
    slot: step.slot,
    nodeId: step.nodeId ?? asId<NodeId>(''),
    spec: jobTaskSpec(service.spec),
    specVersion: service.specVersion,
    desired: mustWait || step.isHeld === true ? 'ready' : 'running',
    status: {
      state: 'new',
      sinceMs: nowMs,
      message: '',
      error: '',
      errorCode: '',
      outOfMemory: false,
      attempt: 0,
      health: '',
      ready: '',
      containers: [],
    },
    endpoints: [],
    ports: [],
    startAfterMs: step.startAfterMs,
    failures: step.failures,
    superseded: false,
    restarts: step.restarts,
    stopAfterDisconnectMs: stopAfterDisconnectOf(service),
  };
}

/** The status with what has changed; the same object when nothing has. */
export function statusAfter(status: TaskStatus, change: Partial<TaskStatus>, nowMs: number): TaskStatus {
  const next = { ...status, ...change };
  if (next.state !== status.state) return { ...next, sinceMs: nowMs };
  return next.message === status.message && next.errorCode === status.errorCode ? status : next;
}
