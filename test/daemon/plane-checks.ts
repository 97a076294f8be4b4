/**
 * What tests of the whole control plane ask it again and again.
 *
 * Not here: tests.
 */
import type { Test } from 'tap';
import { hasPath, isEnded, refuseTaskDeletion, refuseTaskWrite, type View } from '../../src/raft/store.js';
import { serviceSpec } from './object-fixtures.js';
import { callerOf, type Plane } from './plane-fixtures.js';

const everyRole = {
  roles: new Set(['orchestrate', 'allocate', 'schedule', 'agent', 'reconcile', 'reap']),
  nodeId: undefined,
};

/** Every change of a task that was ever stored stands in the table of edges. */
export function checkHistory(t: Test, plane: Plane): void {
  for (const event of plane.history) {
    if (event.table !== 'task') continue;
    const refusal =
      event.kind === 'put'
        ? refuseTaskWrite(event.old, event.object, everyRole)
        : refuseTaskDeletion(event.old, everyRole);
    t.equal(refusal, undefined, 'a legal edge');
    if (event.kind !== 'put' || event.old === undefined) continue;
    const [from, to] = [event.old.status.state, event.object.status.state];
    const isAnother = event.old.status.attempt < event.object.status.attempt;
    t.ok(isAnother || from === to || hasPath(from, to, everyRole.roles), `${from} to ${to}`);
  }
  t.same(plane.failures, [], 'no loop failed');
}

export const create = async (plane: Plane, over: Parameters<typeof serviceSpec>[0] = {}) => {
  const created = await plane.control.createService({ spec: serviceSpec(over) }, callerOf());
  await plane.settle();
  return created;
};

export const slots = (plane: Plane, name?: string): readonly number[] =>
  plane
    .running(name)
    .map(task => task.slot)
    .sort((a, b) => a - b);
export const nodes = (plane: Plane, name?: string): readonly string[] =>
  plane
    .running(name)
    .map(task => task.nodeId)
    .sort();

/** Addresses, ports and slots with more than one holder among what may be alive. */
export function findShared(view: View): readonly string[] {
  const holders = new Map<string, Set<string>>();
  const hold = (what: string, who: string): void => void holders.set(what, (holders.get(what) ?? new Set()).add(who));
  for (const task of view.list('task')) {
    if (isEnded(task.status.state)) continue;
    for (const { addresses } of task.endpoints) for (const address of addresses) hold(address, task.id);
    if (task.desired === 'running' && !task.superseded) hold(`${task.serviceName}.${task.slot}`, task.id);
  }
  for (const { id, vips, ports } of view.list('service')) {
    for (const { addresses } of vips) for (const address of addresses) hold(address, id);
    for (const { published, protocol } of ports) hold(`${published}/${protocol}`, id);
  }
  return [...holders].filter(([, who]) => who.size > 1).map(([what, who]) => `${what}: ${[...who].join(' ')}`);
}
