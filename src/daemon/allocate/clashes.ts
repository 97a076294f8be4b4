/**
 * Where networks would be laid over addresses and routes that hosts have of their own: containers of such a node could not reach
 * what is there. Nodes tell their routes as facts.
 *
 * A route of /8 or shorter, like the default route, says that there is a way to somewhere and not who lives there: on a campus
 * with 10.0.0.0/8 networks get addresses of it all the same.
 *
 * Pure. Called by subnets.ts and control/. Not here: networks that overlap with one another (subnets.ts).
 */
import type { Node, NodeRoute } from '../../gen/types.js';
import { overlap, type Prefix, parsePrefix } from './prefix.js';

export interface Clash {
  readonly node: Node;
  readonly route: NodeRoute;
}

const summaryBitsMax = 8;

/** The first route of a node that one of the prefixes would lie over. */
export function findClash(subnets: readonly string[], nodes: Iterable<Node>): Clash | undefined {
  const wanted = subnets.flatMap(text => parsePrefix(text) ?? []);
  for (const node of nodes) {
    for (const route of node.status.state === 'left' ? [] : node.description.routes) {
      const taken = prefixOf(route);
      if (taken !== undefined && wanted.some(prefix => overlap(prefix, taken))) return { node, route };
    }
  }
  return undefined;
}

/** All prefixes that no network may have. */
export function takenByNodes(nodes: Iterable<Node>): readonly Prefix[] {
  return [...nodes].flatMap(({ status, description }) =>
    status.state === 'left' ? [] : description.routes.flatMap(route => prefixOf(route) ?? []),
  );
}

/** "10.20.0.0/16 on node "rack7" (eth1)". */
export function renderClash({ node, route }: Clash): string {
  return `${route.prefix} on node "${node.spec.name}" (${route.device})`;
}

function prefixOf({ prefix }: NodeRoute): Prefix | undefined {
  const parsed = parsePrefix(prefix);
  return parsed === undefined || parsed.bits <= summaryBitsMax ? undefined : parsed;
}
