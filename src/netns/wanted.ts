/**
 * What fabric, packet rules and host have to be, from the tables of the managers, the tasks that are attached here and the
 * identity of this node. Pure: called with the same input it gives the same answer, and nothing but this decides.
 *
 * Not here: names (records.ts), links of containers (link.ts), how to get there (plan.ts, nft/model.ts).
 */
import type { PortSpec, TableEndpoint, TableItem, TableNetwork, TableNode, TableService } from '../gen/types.js';
import { type Attachment, addressesOf } from './attachment.js';
import {
  deviceHost,
  deviceIngress,
  deviceOverlay,
  gatewayAddress,
  markEntered,
  markHost,
  markNode,
  priorityEntered,
  priorityHost,
  priorityNode,
  tableEntered,
  tableHost,
  tunnelAddress,
  tunnelIndexMax,
  tunnelMac,
} from './constants.js';
import { type FabricObject, type FabricObjects, keyOf } from './fabric-object.js';
import { isAddressV4 } from './ip.js';
import { mainTable } from './netlink/routes.js';
import { type RuleSets, type RulesWanted, ruleSets } from './nft/model.js';
import type { HostLink, NetworkIdentity } from './types.js';

export type Tables = ReadonlyMap<string, TableItem>;

export interface WantedInput {
  readonly identity: NetworkIdentity;
  readonly hostLink: HostLink;
  readonly tables: Tables;
  readonly attachments: readonly Attachment[];
  /** IPv4 addresses of the host, without loopback and link-local ones. */
  readonly hostAddresses: readonly string[];
}

export interface Wanted {
  readonly objects: FabricObjects;
  readonly fabricRules: RulesWanted;
  /** Set `published` of the host's table. */
  readonly published: ReadonlySet<string>;
  /** Addresses that any endpoint has: connections to one that goes are forgotten. */
  readonly endpoints: ReadonlySet<string>;
  /** Addresses that take new connections: UDP flows to one that stops are forgotten. */
  readonly serving: ReadonlySet<string>;
}

/** The tables by kind, with what each service has. */
export interface Index {
  readonly nodes: ReadonlyMap<string, TableNode>;
  readonly networks: readonly TableNetwork[];
  readonly services: readonly TableService[];
  readonly endpoints: readonly TableEndpoint[];
  readonly endpointsOf: ReadonlyMap<string, readonly TableEndpoint[]>;
}

export function indexTables(tables: Tables): Index {
  const nodes = new Map<string, TableNode>();
  const networks: TableNetwork[] = [];
  const services: TableService[] = [];
  const endpoints: TableEndpoint[] = [];
  const endpointsOf = new Map<string, TableEndpoint[]>();
  for (const { value } of tables.values()) {
    if (value?.kind === 'node') nodes.set(value.nodeId, value);
    else if (value?.kind === 'network') networks.push(value);
    else if (value?.kind === 'service') services.push(value);
    else if (value?.kind === 'endpoint') {
      endpoints.push(value);
      const siblings = endpointsOf.get(value.serviceId);
      if (siblings === undefined) endpointsOf.set(value.serviceId, [value]);
      else siblings.push(value);
    }
  }
  return { nodes, networks, services, endpoints, endpointsOf };
}

export function planWanted(input: WantedInput): Wanted {
  const index = indexTables(input.tables);
  const others = [...index.nodes.values()].filter(
    node =>
      node.nodeId !== input.identity.nodeId &&
      node.tunnelIndex >= 1 &&
      node.tunnelIndex <= tunnelIndexMax &&
      node.dataAddresses.some(isAddressV4),
  );
  const objects = [
    ...ownObjects(input),
    ...others.flatMap(node => nodeObjects(node, input.identity)),
    ...endpointObjects(input, index, new Map(others.map(node => [node.nodeId, node]))),
    ...input.attachments.flatMap(attachmentObjects),
    ...subnetsV4(index.networks).map(
      (subnet): FabricObject => ({ kind: 'route', table: mainTable, destination: subnet, device: '' }),
    ),
  ];
  const sets = ruleSets();
  fillNodes(sets, others, input.hostAddresses);
  fillNetworks(sets, index.networks, input.attachments);
  fillVips(sets, index);
  const published = fillPorts(sets, index, input.identity.nodeId);
  return {
    objects: new Map(objects.map(object => [keyOf(object), object])),
    fabricRules: { sets },
    published,
    endpoints: new Set(index.endpoints.flatMap(endpointAddresses)),
    serving: new Set(index.endpoints.filter(endpoint => endpoint.serving).flatMap(endpointAddresses)),
  };
}

function endpointAddresses(endpoint: TableEndpoint): string[] {
  return endpoint.addresses.flatMap(one => one.addresses.filter(isAddressV4));
}

function subnetsV4(networks: readonly TableNetwork[]): string[] {
  return networks.flatMap(network => network.subnets.filter(isSubnetV4));
}

function isSubnetV4(subnet: string): boolean {
  return isAddressV4(subnet.split('/')[0] ?? '');
}

// ---- addresses, routes, rules, neighbours, forwarding entries

function ownObjects({ identity, hostLink }: WantedInput): FabricObject[] {
  return [
    { kind: 'address', device: 'lo', prefix: `${gatewayAddress}/32` },
    { kind: 'address', device: deviceHost, prefix: `${hostLink.fabricAddress}/30` },
    { kind: 'address', device: deviceOverlay, prefix: `${tunnelAddress(identity.tunnelIndex)}/32` },
    { kind: 'route', table: mainTable, destination: '0.0.0.0/0', device: deviceHost, via: hostLink.hostAddress },
    { kind: 'route', table: tableHost, destination: '0.0.0.0/0', device: deviceHost, via: hostLink.hostAddress },
    { kind: 'rule', priority: priorityEntered, mark: markEntered, table: tableEntered },
    { kind: 'rule', priority: priorityHost, mark: markHost, table: tableHost },
  ];
}

/** The way to another node by both tunnels, and the way back for connections that came in there. */
function nodeObjects(node: TableNode, identity: NetworkIdentity): FabricObject[] {
  const via = tunnelAddress(node.tunnelIndex);
  const mac = tunnelMac(node.tunnelIndex);
  const destination = node.dataAddresses.find(isAddressV4) ?? '';
  const port = node.dataPort === identity.dataPort || node.dataPort === 0 ? {} : { port: node.dataPort };
  const mark = markNode + node.tunnelIndex;
  return [
    ...[deviceOverlay, deviceIngress].flatMap((device): FabricObject[] => [
      { kind: 'forwarding', device, mac, destination, ...port },
      { kind: 'neighbour', device, address: via, mac },
    ]),
    { kind: 'route', table: mainTable, destination: `${via}/32`, device: deviceOverlay },
    { kind: 'route', table: mark, destination: '0.0.0.0/0', device: deviceIngress, via },
    { kind: 'rule', priority: priorityNode, mark, table: mark },
  ];
}

/** One route for each address on another node; a second one, by the ingress tunnel, when a published port leads there. */
function endpointObjects(input: WantedInput, index: Index, nodes: ReadonlyMap<string, TableNode>): FabricObject[] {
  const local = new Set(input.attachments.flatMap(addressesOf));
  const published = new Set(
    index.services.filter(service => service.ports.some(port => port.mode === 'ingress')).map(one => one.serviceId),
  );
  return index.endpoints.flatMap(endpoint => {
    const node = nodes.get(endpoint.nodeId);
    if (node === undefined) return [];
    const via = tunnelAddress(node.tunnelIndex);
    return endpointAddresses(endpoint)
      .filter(address => !local.has(address))
      .flatMap((address): FabricObject[] => {
        const destination = `${address}/32`;
        const between: FabricObject = { kind: 'route', table: mainTable, destination, device: deviceOverlay, via };
        if (!published.has(endpoint.serviceId)) return [between];
        return [between, { kind: 'route', table: tableEntered, destination, device: deviceIngress, via }];
      });
  });
}

/** The way to a task that is attached here. */
export function attachmentObjects(attachment: Attachment): FabricObject[] {
  return addressesOf(attachment).flatMap((address): FabricObject[] => [
    { kind: 'route', table: mainTable, destination: `${address}/32`, device: attachment.device },
    { kind: 'neighbour', device: attachment.device, address, mac: attachment.mac },
  ]);
}

// ---- packet rules

function fillNodes(sets: RuleSets, others: readonly TableNode[], hostAddresses: readonly string[]): void {
  for (const node of others) {
    const mac = tunnelMac(node.tunnelIndex);
    sets.entries.set(mac, String(markNode + node.tunnelIndex));
    sets.zones.set(mac, String(node.tunnelIndex));
  }
  for (const address of hostAddresses) sets['node-addresses'].set(address, '');
}

function fillNetworks(sets: RuleSets, networks: readonly TableNetwork[], attachments: readonly Attachment[]): void {
  for (const network of networks) {
    const subnets = network.subnets.filter(isSubnetV4);
    for (const from of subnets) {
      for (const to of subnets) sets.pairs.set(`${from} . ${to}`, '');
      if (network.internal) sets.internal.set(from, '');
    }
  }
  for (const attachment of attachments) {
    const own = addressesOf(attachment);
    for (const from of own) for (const to of own) sets.hairpin.set(`${from} . ${to}`, '');
  }
}

function fillVips(sets: RuleSets, { services, endpointsOf }: Index): void {
  for (const service of services) {
    if (service.endpointMode !== 'vip') continue;
    const serving = (endpointsOf.get(service.serviceId) ?? []).filter(endpoint => endpoint.serving);
    for (const { networkId, addresses } of service.vips) {
      const backends = serving
        .flatMap(endpoint => endpoint.addresses.filter(one => one.networkId === networkId))
        .flatMap(one => one.addresses.filter(isAddressV4))
        .sort();
      for (const vip of addresses.filter(isAddressV4)) {
        if (backends.length === 0) sets['refused-vips'].set(vip, '');
        else sets.vips.set(vip, `goto pick${backends.length}`);
        backends.forEach((backend, place) => {
          sets.backends.set(`${vip} . ${place}`, backend);
        });
      }
    }
  }
}

/** Published ports of all services; returns those that the host hands over to the fabric. */
function fillPorts(sets: RuleSets, { services, endpointsOf }: Index, nodeId: string): Set<string> {
  const published = new Set<string>();
  for (const service of services) {
    const endpoints = endpointsOf.get(service.serviceId) ?? [];
    for (const port of service.ports) {
      const backends = backendsOf(port, endpoints, nodeId);
      const key = `${port.protocol} . ${port.published}`;
      // Ports of mode host do not exist where no task of the service runs.
      if (port.published === 0 || published.has(key) || (port.mode === 'host' && backends.length === 0)) continue;
      published.add(key);
      if (backends.length === 0) sets['refused-ports'].set(key, '');
      else sets.ports.set(key, `goto port${backends.length}`);
      backends.forEach((backend, place) => {
        sets['port-backends'].set(`${key} . ${place}`, `${backend} . ${port.target}`);
      });
    }
  }
  return published;
}

function backendsOf(port: PortSpec, endpoints: readonly TableEndpoint[], nodeId: string): string[] {
  return endpoints
    .filter(endpoint => endpoint.serving && (port.mode === 'ingress' || endpoint.nodeId === nodeId))
    .flatMap(endpoint => endpointAddresses(endpoint).slice(0, 1))
    .sort();
}
