/**
 * What a node's resolver and data plane have to show, from the store: all nodes (for the tunnels), the networks with a task
 * here, the services on those networks or with a published port, and the endpoints of those services.
 *
 * `planTables` is a function of the state and the node alone: what was sent before plays no part (diff.ts compares). Items
 * are kept per object of the store, so that an unchanged object gives the same item and comparing is cheap.
 *
 * Called by table-plans.ts after changes that concern tables. Not here: what the node makes of it (netns/).
 */
import type {
  Cluster,
  EndpointAddress,
  Network,
  NetworkAttachment,
  Node,
  NodeTunnel,
  Service,
  TableItem,
  TableTunnel,
  Task,
  TaskState,
} from '../../gen/types.js';
import type { StoreEvent, View } from '../../raft/store.js';
import { isServing } from '../../serving.js';
import { findRelay } from '../encryption/judge.js';
import { floatingOf, leaseOf } from '../orchestrate/floating.js';
import { planWays } from './policy.js';

/** Items of objects that did not change since they were last looked at. */
export interface TableItemCache {
  readonly nodes: WeakMap<Node, TableItem>;
  readonly networks: WeakMap<Network, TableItem>;
  readonly services: WeakMap<Service, TableItem>;
  readonly serving: WeakMap<Task, TableItem>;
  readonly resting: WeakMap<Task, TableItem>;
}

export function makeTableItemCache(): TableItemCache {
  return {
    nodes: new WeakMap(),
    networks: new WeakMap(),
    services: new WeakMap(),
    serving: new WeakMap(),
    resting: new WeakMap(),
  };
}

/** What a node's tasks are attached to: nodes of which that is the same have to show the same. */
export interface TableScope {
  readonly key: string;
  /** That its tasks have addresses on. */
  readonly networks: ReadonlySet<string>;
  /** Those of drivers without addresses too: the node has to know the driver. */
  readonly named: ReadonlySet<string>;
}

export function planTables(view: View, nodeId: string, cache = makeTableItemCache()): Map<string, TableItem> {
  const items = planScope(view, scopeOf(view, nodeId), cache);
  for (const item of planOwn(view, { nodeId, cache, base: items })) items.set(item.key, item);
  return items;
}

export function scopeOf(view: View, nodeId: string): TableScope {
  const networks = new Set<string>();
  const named = new Set<string>();
  for (const task of view.tasksOfNode(nodeId)) {
    if (!isPlaced(task)) continue;
    for (const attachment of task.spec.networks) named.add(attachment.network);
    for (const endpoint of task.endpoints) networks.add(endpoint.networkId);
  }
  return { key: `${[...networks].sort().join(' ')} / ${[...named].sort().join(' ')}`, networks, named };
}

/** What all nodes of the scope have to show. */
export function planScope(view: View, { networks, named }: TableScope, cache: TableItemCache): Map<string, TableItem> {
  const items = new Map<string, TableItem>();
  const add = (item: TableItem): void => void items.set(item.key, item);
  for (const node of view.list('node')) {
    if (node.status.state !== 'left' && node.tunnelIndex > 0) add(kept(cache.nodes, node, nodeItem));
  }
  for (const cluster of view.list('cluster')) {
    const item = encryptionItem(cluster, view);
    if (item !== undefined) add(item);
  }
  const reachable = new Set([...networks, ...named]);
  for (const service of view.list('service')) {
    if (!isPublished(service) && !networksOf(service).some(id => networks.has(id))) continue;
    add(kept(cache.services, service, serviceItem));
    for (const task of view.tasksOfService(service.id)) {
      if (!isPlaced(task) || task.endpoints.length === 0) continue;
      for (const endpoint of task.endpoints) reachable.add(endpoint.networkId);
      add(endpointItem(task, view, cache));
    }
  }
  for (const id of reachable) {
    const network = view.find('network', id);
    if (network === undefined) continue;
    const item = kept(cache.networks, network, networkItem);
    add(network.spec.policy?.closed === true ? withWays(item, network, view) : item);
  }
  for (const item of addressItems(view)) add(item);
  return items;
}

/** What only this node has to show beyond its scope: its tasks without addresses. */
export function planOwn(
  view: View,
  {
    nodeId,
    cache,
    base,
  }: { readonly nodeId: string; readonly cache: TableItemCache; readonly base: ReadonlyMap<string, TableItem> },
): TableItem[] {
  const items: TableItem[] = [];
  for (const task of view.tasksOfNode(nodeId)) {
    if (isPlaced(task) && !base.has(`endpoint/${task.id}`)) items.push(endpointItem(task, view, cache));
  }
  return items;
}

/** All nodes are told who has a floating address: one that is heard of again has to give it back. */
function addressItems(view: View): TableItem[] {
  return [...view.list('cluster')].flatMap(cluster =>
    floatingOf(cluster).flatMap(({ address, nodeId }) => {
      const node = view.find('node', nodeId);
      if (node === undefined) return [];
      const leaseMs = leaseOf(view, cluster, node);
      return [{ key: `address/${address}`, value: { kind: 'address' as const, address, nodeId, leaseMs } }];
    }),
  );
}

/** Whether the change may change anybody's tables. Most changes of tasks are progress, which concerns nobody else. */
export function concernsTables(event: StoreEvent): boolean {
  switch (event.table) {
    case 'task': {
      const after = event.kind === 'put' ? endpointMark(event.object) : '';
      return after !== (event.old === undefined ? '' : endpointMark(event.old));
    }
    case 'node': {
      const after = event.kind === 'put' ? nodeMark(event.object) : '';
      return after !== (event.old === undefined ? '' : nodeMark(event.old));
    }
    case 'service':
      // How far an update is concerns nobody's tables.
      return event.kind === 'delete' || event.old === undefined || serviceMark(event.object) !== serviceMark(event.old);
    case 'network':
      return true;
    case 'cluster':
      return (
        event.kind === 'put' &&
        (event.object.floating !== event.old?.floating || event.object.encryption?.step !== event.old?.encryption?.step)
      );
    case 'joinToken':
    case 'secret':
    case 'config':
    case 'revision':
    case 'removedNode':
      return false;
  }
}

/** Whether somebody may miss it soon. Of a node on which nothing runs yet, nobody asks anything. */
export function isUrgentForTables(event: StoreEvent, view: View): boolean {
  if (event.table !== 'node') return true;
  return (
    view
      .tasksOfNode((event.kind === 'put' ? event.object : event.old).id)
      [Symbol.iterator]()
      .next().done !== true
  );
}

const placedStates: readonly TaskState[] = ['assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'];

/** On a node, and not ended. */
export function isPlaced(task: Task): boolean {
  return placedStates.includes(task.status.state);
}

/** Started (healthy and ready, when it has such checks), and not told to stop. Its node's state comes on top. */
function isUp(task: Task): boolean {
  return isServing(task.status) && isWanted(task) && !task.superseded;
}

export function isWanted(task: Task): boolean {
  return task.desired === 'running' || task.desired === 'ready';
}

function endpointMark(task: Task): string {
  if (!isPlaced(task)) return '';
  return `${task.nodeId} ${isUp(task)} ${task.endpoints.map(renderAddress).join(' ')}`;
}

function nodeMark(node: Node): string {
  const { description, status } = node;
  const tunnel = JSON.stringify(tunnelItem(description.tunnel));
  return `${node.spec.name} ${node.role} ${node.tunnelIndex} ${status.state} ${description.dataPort} ${description.dataAddresses.join(' ')} ${tunnel}`;
}

function renderAddress(endpoint: EndpointAddress): string {
  return `${endpoint.networkId}=${endpoint.addresses.join(',')}`;
}

function isPublished(service: Service): boolean {
  return service.ports.some(port => port.mode !== 'host' && port.published > 0);
}

function networksOf(service: Service): readonly string[] {
  return [
    ...service.spec.task.networks.map(attachment => attachment.network),
    ...service.vips.map(vip => vip.networkId),
  ];
}

function kept<Key extends object>(cache: WeakMap<Key, TableItem>, key: Key, make: (key: Key) => TableItem): TableItem {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const made = make(key);
  cache.set(key, made);
  return made;
}

function nodeItem(node: Node): TableItem {
  return {
    key: `node/${node.id}`,
    value: {
      kind: 'node',
      nodeId: node.id,
      name: node.spec.name,
      tunnelIndex: node.tunnelIndex,
      dataAddresses: node.description.dataAddresses,
      dataPort: node.description.dataPort,
      tunnel: tunnelItem(node.description.tunnel),
    },
  };
}

function tunnelItem(tunnel: NodeTunnel | undefined): TableTunnel | undefined {
  if (tunnel === undefined || tunnel.keys.length === 0) return undefined;
  return { keys: tunnel.keys, behindNat: tunnel.natAddress !== undefined };
}

function encryptionItem({ encryption }: Cluster, view: View): TableItem | undefined {
  if (encryption === undefined) return undefined;
  const { step, active, epochs } = encryption;
  return {
    key: 'encryption',
    value: { kind: 'encryption', step, active, epochs, relay: findRelay(view.list('node'))?.id ?? '' },
  };
}

function networkItem(network: Network): TableItem {
  return {
    key: `network/${network.id}`,
    value: {
      kind: 'network',
      networkId: network.id,
      name: network.spec.name,
      subnets: network.subnets,
      internal: network.spec.internal,
      driver: network.spec.driver,
      closed: network.spec.policy?.closed ?? false,
      allowed: [],
      metadata: network.spec.policy?.metadata ?? false,
    },
  };
}

/** What its policy allows depends on labels of services, so it is worked out each time. */
function withWays(item: TableItem, { id, spec }: Network, view: View): TableItem {
  if (item.value?.kind !== 'network') return item;
  const services = [...view.list('service')].filter(service => networksOf(service).includes(id));
  return { ...item, value: { ...item.value, allowed: planWays(spec.policy?.allow ?? [], services) } };
}

function serviceItem(service: Service): TableItem {
  const { spec } = service;
  return {
    key: `service/${service.id}`,
    value: {
      kind: 'service',
      serviceId: service.id,
      name: spec.name,
      stack: spec.stack,
      endpointMode: spec.endpointMode,
      vips: service.vips,
      ports: service.ports,
      networks: namesByNetwork(service),
    },
  };
}

function serviceMark(service: Service): string {
  return JSON.stringify([serviceItem(service), service.spec.labels]);
}

/** Each network of the service with all names it is known by there: its own, the one without the stack, its aliases. */
function namesByNetwork(service: Service): readonly NetworkAttachment[] {
  const { name, stack, task } = service.spec;
  const short = stack !== '' && name.startsWith(`${stack}_`) ? [name.slice(stack.length + 1)] : [];
  return [...new Set(networksOf(service))].map(network => {
    const aliases = task.networks
      .filter(attachment => attachment.network === network)
      .flatMap(attachment => attachment.aliases);
    return { network, aliases: [...new Set([name, ...short, ...aliases])] };
  });
}

function endpointItem(task: Task, view: View, cache: TableItemCache): TableItem {
  const node = view.find('node', task.nodeId);
  const serving = isUp(task) && node !== undefined && node.status.state !== 'lost' && node.status.state !== 'left';
  return kept(serving ? cache.serving : cache.resting, task, () => ({
    key: `endpoint/${task.id}`,
    value: {
      kind: 'endpoint',
      taskId: task.id,
      serviceId: task.serviceId,
      nodeId: task.nodeId,
      slot: task.slot,
      addresses: task.endpoints,
      serving,
    },
  }));
}
