/**
 * Spreading the tasks of a service over the parts of a cluster: zones, then racks in each zone. A part is all nodes that have
 * the same value under a key, also those that can take nothing more. Pure.
 *
 * Called by place.ts. Not here: which keys there are (constraints.ts).
 */
import type { Node } from '../../gen/types.js';
import { findValue } from './constraints.js';
import type { Demand, NodeUsage } from './filters.js';

/** For a node, level by level, how many tasks of the service its part holds; tasks that are about to go do not count. */
export function spreadOf(
  usages: readonly NodeUsage[],
  { spread, serviceId }: Pick<Demand, 'spread' | 'serviceId'>,
  { leaving }: { readonly leaving?: ReadonlyMap<string, number> | undefined },
): (node: Node) => readonly number[] {
  if (spread.length === 0) return () => [];
  const tasks = new Map<string, number>();
  for (const { node, services } of usages) {
    const count = (services.get(serviceId) ?? 0) - (leaving?.get(node.id) ?? 0);
    for (const part of partsOf(spread, node)) tasks.set(part, (tasks.get(part) ?? 0) + count);
  }
  return node => partsOf(spread, node).map(part => tasks.get(part) ?? 0);
}

/** The names of the parts that the node lies in, from the largest to the smallest. */
function partsOf(spread: readonly string[], node: Node): readonly string[] {
  const values = spread.map(key => findValue(key, node) ?? '');
  return values.map((_value, at) => JSON.stringify(values.slice(0, at + 1)));
}
