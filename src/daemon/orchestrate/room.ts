/**
 * Where a running task stands with regard to places: whether its own suits it still, and whether its successor would find one.
 *
 * Called by pass.ts. Not here: choosing a node (schedule/place.ts).
 */
import type { Service, Task } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { findUnmet } from '../schedule/constraints.js';
import { type Demand, demandOfSpec, type NodeUsage, surveyNodes, withoutTask } from '../schedule/filters.js';
import { type Placement, planPlacement } from '../schedule/place.js';
import type { Room } from './slot.js';

/** Its node has changed and does not meet the constraints any more that the task was placed by. */
export function isOutOfPlace(view: View, task: Task): boolean {
  const { constraints } = task.spec.placement;
  const node = constraints.length === 0 ? undefined : view.find('node', task.nodeId);
  return node !== undefined && node.status.state === 'ready' && findUnmet(constraints, node) !== undefined;
}

/** Where a task of the present spec would find a place, beside a given old one or once that is gone; looked up when asked. */
export function roomOf(view: View, service: Service): (task: Task) => Room {
  let look: { readonly usages: ReadonlyMap<string, NodeUsage>; readonly anywhere: Placement } | undefined;
  const { task: spec, mode } = service.spec;
  const demand: Demand = {
    ...demandOfSpec(service.id, spec),
    hostPorts: service.ports.filter(port => port.mode === 'host'),
  };
  const preferences = { failures: new Map(), images: [] };
  return task => {
    if (look === undefined) {
      const usages = surveyNodes(view.list('node'), view.list('task'));
      look = { usages, anywhere: planPlacement(mode.kind === 'global' ? [] : usages.values(), demand, preferences) };
    }
    const usage = look.usages.get(task.nodeId);
    const beside =
      mode.kind === 'global' ? planPlacement(usage === undefined ? [] : [usage], demand, preferences) : look.anywhere;
    if (beside.kind === 'node') return { kind: 'beside' };
    const instead = planPlacement(usage === undefined ? [] : [withoutTask(usage, task)], demand, preferences);
    return { kind: instead.kind === 'node' ? 'instead' : 'nowhere', message: beside.message };
  };
}
