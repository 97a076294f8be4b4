/**
 * Whether a node can take a task, and if not, why: the one feasibility function, for placement and for checking a placement.
 *
 * Called by place.ts. Not here: which of the fitting nodes is best (place.ts).
 */
import type { ContainerSpec, Node, PortSpec, Resources, Task, TaskSpec } from '../../gen/types.js';
import { isEnded } from '../../raft/store.js';
import { findListener, portKey } from '../allocate/ports.js';
import { isLive } from '../orchestrate/slot.js';
import { findUnmet } from './constraints.js';

/** What is taken of a node, and by whom. */
export interface NodeUsage {
  readonly node: Node;
  cpuNanos: number;
  memoryBytes: number;
  /** Tasks that have not ended. */
  tasks: number;
  /** Live tasks by service. */
  readonly services: Map<string, number>;
  /** "8080/tcp" of tasks that have not ended. */
  readonly hostPorts: Set<string>;
}

/** What the task asks of a node. */
export interface Demand {
  readonly serviceId: string;
  readonly constraints: readonly string[];
  readonly perNodeMax: number;
  /** Keys over whose values its tasks are spread (place.ts). */
  readonly spread: readonly string[];
  readonly reservations: Resources | undefined;
  readonly hostPorts: readonly PortSpec[];
  /** Rights that a container asks for and that only some nodes give. */
  readonly rights: readonly ('privileged' | 'userns')[];
  /** It has an address on a network across nodes. */
  readonly isNetworked: boolean;
}

export type Refusal =
  | { readonly kind: 'lost' | 'unknown' | 'left' | 'paused' | 'draining' }
  | { readonly kind: 'constraint'; readonly text: string }
  | { readonly kind: 'tunnel'; readonly text: string }
  | { readonly kind: 'cpu'; readonly freeNanos: number }
  | { readonly kind: 'memory'; readonly freeBytes: number }
  | { readonly kind: 'port'; readonly port: string }
  | { readonly kind: 'listener'; readonly port: string; readonly program: string }
  | { readonly kind: 'per-node-max' | 'privileged' | 'userns' };

export function findRefusal(usage: NodeUsage, demand: Demand): Refusal | undefined {
  const { node } = usage;
  if (node.status.state !== 'ready') return { kind: node.status.state };
  if (node.status.silentSinceMs !== undefined) return { kind: 'lost' };
  if (node.spec.availability === 'pause') return { kind: 'paused' };
  if (node.spec.availability === 'drain') return { kind: 'draining' };
  const unmet = findUnmet(demand.constraints, node);
  if (unmet !== undefined) return { kind: 'constraint', text: unmet };
  const { obstacle } = node.description.tunnel ?? {};
  if (demand.isNetworked && obstacle !== undefined) return { kind: 'tunnel', text: obstacle };
  const right = demand.rights.find(name => !node.description[name]);
  if (right !== undefined) return { kind: right };
  const freeNanos = node.description.cpuNanos - usage.cpuNanos;
  if ((demand.reservations?.cpuNanos ?? 0) > Math.max(0, freeNanos)) return { kind: 'cpu', freeNanos };
  const freeBytes = node.description.memoryBytes - usage.memoryBytes;
  if ((demand.reservations?.memoryBytes ?? 0) > Math.max(0, freeBytes)) return { kind: 'memory', freeBytes };
  const taken = demand.hostPorts.find(port => usage.hostPorts.has(portKey(port)));
  if (taken !== undefined) return { kind: 'port', port: portKey(taken) };
  const heard = demand.hostPorts.find(port => findListener(node.description, port) !== undefined);
  if (heard !== undefined) {
    return { kind: 'listener', port: portKey(heard), program: findListener(node.description, heard)?.program ?? '' };
  }
  const present = usage.services.get(demand.serviceId) ?? 0;
  return demand.perNodeMax > 0 && present >= demand.perNodeMax ? { kind: 'per-node-max' } : undefined;
}

export function demandOf(task: Task): Demand {
  const hostPorts = task.ports.filter(port => port.mode === 'host');
  return { ...demandOfSpec(task.serviceId, task.spec), hostPorts, isNetworked: task.endpoints.length > 0 };
}

export function demandOfSpec(serviceId: string, spec: TaskSpec): Omit<Demand, 'hostPorts'> {
  const { placement, reservations } = spec;
  return {
    serviceId,
    constraints: placement.constraints,
    perNodeMax: placement.perNodeMax,
    spread: placement.spread,
    reservations,
    rights: rightsOf(spec.containers),
    isNetworked: spec.networks.length > 0,
  };
}

function rightsOf(containers: readonly ContainerSpec[]): Demand['rights'] {
  const bare = (one: ContainerSpec): boolean => one.securityOpt.some(text => /^systempaths[=:]unconfined$/.test(text));
  return [
    ...(containers.some(one => one.privileged || bare(one)) ? (['privileged'] as const) : []),
    ...(containers.some(one => one.userns === 'auto') ? (['userns'] as const) : []),
  ];
}

/** What all nodes hold. */
export function surveyNodes(nodes: Iterable<Node>, tasks: Iterable<Task>): ReadonlyMap<string, NodeUsage> {
  const usages = new Map<string, NodeUsage>();
  for (const node of nodes) {
    usages.set(node.id, { node, cpuNanos: 0, memoryBytes: 0, tasks: 0, services: new Map(), hostPorts: new Set() });
  }
  for (const task of tasks) {
    // A global task comes with its node; it takes nothing there before it is assigned.
    if (task.status.state === 'new' || task.status.state === 'pending') continue;
    const usage = usages.get(task.nodeId);
    if (usage !== undefined) addTask(usage, task);
  }
  return usages;
}

export function addTask(usage: NodeUsage, task: Task): void {
  if (isEnded(task.status.state)) return;
  usage.tasks += 1;
  usage.cpuNanos += task.spec.reservations?.cpuNanos ?? 0;
  usage.memoryBytes += task.spec.reservations?.memoryBytes ?? 0;
  if (isLive(task)) usage.services.set(task.serviceId, (usage.services.get(task.serviceId) ?? 0) + 1);
  for (const port of task.ports) if (port.mode === 'host') usage.hostPorts.add(portKey(port));
}

/** The node as it would be without that task. */
export function withoutTask(usage: NodeUsage, task: Task): NodeUsage {
  const services = new Map(usage.services);
  if (isLive(task)) services.set(task.serviceId, (services.get(task.serviceId) ?? 1) - 1);
  const own = task.ports.filter(port => port.mode === 'host').map(portKey);
  return {
    node: usage.node,
    tasks: usage.tasks - 1,
    cpuNanos: usage.cpuNanos - (task.spec.reservations?.cpuNanos ?? 0),
    memoryBytes: usage.memoryBytes - (task.spec.reservations?.memoryBytes ?? 0),
    services,
    hostPorts: new Set([...usage.hostPorts].filter(port => !own.includes(port))),
  };
}
