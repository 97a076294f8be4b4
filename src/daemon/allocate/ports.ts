/**
 * Published ports: as asked, or a free one from 30000 to 32767. A port has one owner in the cluster.
 *
 * Called by allocate/index.ts and control/. Not here: host ports in use on a node (schedule/filters.ts).
 */
import type { ListeningPort, Node, NodeDescription, PortSpec, Service } from '../../gen/types.js';

const dynamicPortFirst = 30_000;
const dynamicPortLast = 32_767;

export type Ports =
  | { readonly kind: 'ports'; readonly ports: readonly PortSpec[] }
  | { readonly kind: 'exhausted'; readonly message: string };

/** Ports of a service as they will be: numbers given earlier are kept. */
export function planPorts(
  wanted: readonly PortSpec[],
  given: readonly PortSpec[],
  present: { readonly others: () => Iterable<Service>; readonly nodes: () => Iterable<Node> },
): Ports {
  if (isSettled(wanted, given)) return { kind: 'ports', ports: given };
  const used = portsInUse(present.others());
  for (const key of wanted.some(port => port.published === 0) ? portsHeard(present.nodes()) : []) used.add(key);
  for (const port of wanted) if (port.published !== 0) used.add(portKey(port));
  const kept = [...given];
  const ports: PortSpec[] = [];
  for (const port of wanted) {
    if (port.published !== 0) {
      ports.push(port);
      continue;
    }
    const at = kept.findIndex(old => isSamePlace(old, port) && !used.has(portKey(old)));
    const published = at >= 0 ? (kept.splice(at, 1)[0]?.published ?? 0) : firstFree(port, used);
    if (published === 0) {
      return {
        kind: 'exhausted',
        message: `no free port from ${dynamicPortFirst} to ${dynamicPortLast}/${port.protocol}`,
      };
    }
    const chosen = { ...port, published };
    used.add(portKey(chosen));
    ports.push(chosen);
  }
  return { kind: 'ports', ports };
}

function isSettled(wanted: readonly PortSpec[], given: readonly PortSpec[]): boolean {
  return (
    wanted.length === given.length &&
    wanted.every((port, at) => {
      const old = given[at];
      return old !== undefined && isSamePlace(old, port) && (port.published === 0 || port.published === old.published);
    })
  );
}

/** The program of the machine that listens there. */
export function findListener(
  { network }: Pick<NodeDescription, 'network'>,
  { published, protocol }: PortSpec,
): ListeningPort | undefined {
  return network?.listening.find(one => one.port === published && one.protocol === protocol);
}

/** Ports on which programs of any machine listen: none of them is chosen. */
function portsHeard(nodes: Iterable<Node>): Set<string> {
  const heard = [...nodes].flatMap(({ description }) => description.network?.listening ?? []);
  return new Set(heard.map(({ port, protocol }) => portKey({ published: port, protocol })));
}

/** "8080/tcp". */
export function portKey({ published, protocol }: Pick<PortSpec, 'published' | 'protocol'>): string {
  return `${published}/${protocol}`;
}

/** Ports published by these services, given or asked for. */
export function portsInUse(services: Iterable<Pick<Service, 'ports' | 'spec'>>): Set<string> {
  return new Set([...services].flatMap(service => [...service.ports, ...service.spec.ports]).map(portKey));
}

function isSamePlace(a: PortSpec, b: PortSpec): boolean {
  return a.target === b.target && a.protocol === b.protocol && a.mode === b.mode;
}

function firstFree(port: PortSpec, used: ReadonlySet<string>): number {
  for (let published = dynamicPortFirst; published <= dynamicPortLast; published++) {
    if (!used.has(portKey({ ...port, published }))) return published;
  }
  return 0;
}
