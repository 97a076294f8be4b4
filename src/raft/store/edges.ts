/**
 * The life of a task as a table: which state may follow which, and who alone may say so. The store refuses every other
 * edge, on every manager alike.
 *
 * One transaction may lead a task over several edges at once (created and assigned in one write, or running although
 * "preparing" was never reported); it is legal when a path of edges exists and its principal owns each of them.
 *
 * Principals: "uid:<n>" a person (who may remove a node), "node:<id>" the agent of that node, "system" a daemon,
 * "system:<actor>+<actor>" a loop that acts in those roles. Called by transaction.ts and by tests that check recorded histories. Not here: why (daemon/orchestrate).
 */
import type { DesiredState, Task, TaskState } from '../../gen/types.js';

export type Actor = 'orchestrate' | 'allocate' | 'schedule' | 'agent' | 'reconcile' | 'reap';

export interface Edge {
  readonly from: readonly (TaskState | 'none')[];
  readonly to: readonly TaskState[];
  readonly by: Actor;
}

/** From assigned to running: a container may exist on the node. */
const onNode = ['assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'] as const;

export const taskEdges: readonly Edge[] = [
  { from: ['none'], to: ['new'], by: 'orchestrate' },
  { from: ['new'], to: ['pending'], by: 'allocate' },
  { from: ['pending'], to: ['assigned'], by: 'schedule' },
  { from: ['assigned'], to: ['accepted'], by: 'agent' },
  { from: ['accepted'], to: ['preparing'], by: 'agent' },
  { from: ['preparing'], to: ['ready'], by: 'agent' },
  { from: ['ready'], to: ['starting'], by: 'agent' },
  { from: ['starting'], to: ['running'], by: 'agent' },
  { from: onNode, to: ['complete', 'shutdown', 'failed', 'rejected'], by: 'agent' },
  { from: onNode, to: ['orphaned'], by: 'reconcile' },
];

/** States from which a task may be deleted, by reap: it has ended, or no node was ever told of it. */
const deletable: readonly TaskState[] = ['new', 'pending', 'complete', 'shutdown', 'failed', 'rejected', 'orphaned'];

const states: readonly TaskState[] = [
  'new',
  'pending',
  ...onNode,
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'orphaned',
];
const desiredStates: readonly DesiredState[] = ['ready', 'running', 'shutdown', 'remove'];

/** Place of a state in the order in which states rise. */
export function stateRank(state: TaskState): number {
  return states.indexOf(state);
}

function desiredRank(desired: DesiredState): number {
  return desiredStates.indexOf(desired);
}

/** The task will never run again (in this attempt). */
export function isEnded(state: TaskState): boolean {
  return stateRank(state) >= stateRank('complete');
}

export interface Actors {
  readonly roles: ReadonlySet<string>;
  /** The only node whose tasks an agent may report on; undefined: no such limit. */
  readonly nodeId: string | undefined;
}

/** Whom a principal stands for where tasks are concerned. */
export function actorsOf(principal: string): Actors {
  if (principal.startsWith('node:')) return { roles: new Set(['agent']), nodeId: principal.slice('node:'.length) };
  if (principal.startsWith('uid:')) return { roles: new Set(['reconcile', 'restart']), nodeId: undefined };
  const roles = principal.startsWith('system:') ? principal.slice('system:'.length).split('+') : [];
  return { roles: new Set(roles), nodeId: undefined };
}

/** Whether edges owned by these actors lead from one state to another. */
export function hasPath(from: TaskState | 'none', to: TaskState, roles: ReadonlySet<string>): boolean {
  const seen = new Set<string>([from]);
  for (const state of seen) {
    for (const edge of taskEdges) {
      if (!roles.has(edge.by) || !edge.from.some(origin => origin === state)) continue;
      if (edge.to.includes(to)) return true;
      for (const next of edge.to) seen.add(next);
    }
  }
  return false;
}

/** What is wrong with a write of a task, in words; undefined when it is legal. */
export function refuseTaskWrite(old: Task | undefined, task: Task, actors: Actors): string | undefined {
  const { roles } = actors;
  const state = task.status.state;
  if (old === undefined) {
    if (!hasPath('none', state, roles)) return `it may not be made as ${state}`;
    return state === 'assigned' && task.nodeId === '' ? 'it is assigned to no node' : undefined;
  }
  if (task.serviceId !== old.serviceId || task.slot !== old.slot || task.specVersion !== old.specVersion) {
    return 'service, slot and spec version of a task never change';
  }
  if (task.nodeId !== old.nodeId && old.nodeId !== '') return 'a task never moves to another node';
  if (task.nodeId !== old.nodeId && !roles.has('schedule')) return 'only schedule gives a task its node';
  return refuseDesired(old, task, roles) ?? refuseStatus(old, task, actors);
}

function refuseDesired(old: Task, task: Task, roles: ReadonlySet<string>): string | undefined {
  if (task.desired === old.desired) return undefined;
  if (desiredRank(task.desired) < desiredRank(old.desired)) return `desired ${task.desired} after ${old.desired}`;
  if (roles.has('orchestrate')) return undefined;
  // Whoever restarts a task ends it; what takes its place is orchestrate's.
  return roles.has('restart') && task.desired === 'shutdown' ? undefined : 'only orchestrate changes what is desired';
}

function refuseStatus(old: Task, task: Task, { roles, nodeId }: Actors): string | undefined {
  const from = old.status.state;
  const to = task.status.state;
  if (nodeId !== undefined && task.nodeId !== nodeId) return 'an agent reports on tasks of its own node only';
  if (task.status.attempt !== old.status.attempt) {
    if (task.status.attempt < old.status.attempt) return `attempt ${task.status.attempt} after ${old.status.attempt}`;
    if (!roles.has('agent')) return 'only its agent opens another attempt of a task';
    if (from === 'orphaned' || stateRank(from) < stateRank('assigned')) return `no attempt follows on ${from}`;
    return hasPath('assigned', to, roles) || to === 'assigned' ? undefined : `an attempt may not begin as ${to}`;
  }
  if (to === 'assigned' && task.nodeId === '') return 'it is assigned to no node';
  return from === to || hasPath(from, to, roles) ? undefined : `${to} after ${from}`;
}

export function refuseTaskDeletion(old: Task, { roles }: Actors): string | undefined {
  if (!roles.has('reap')) return 'only reap deletes tasks';
  return deletable.includes(old.status.state) ? undefined : `it is ${old.status.state}`;
}
