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
import { type Memo, openMemo } from './memo.js';
import { basicRules, mainTable } from './netlink/routes.js';
import { type RuleSets, type RulesWanted, ruleSets } from './nft/model.js';
import { fillPolicies } from './policy.js';
import { farEnd, secureObjects } from './secure-objects.js';
import { stickyPlaces } from './sticky.js';
import type { HostLink, NetworkIdentity } from './types.js';
import { findEncryption, isSecure } from './wireguard.js';

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
  /** Set `tunnels` of the host's table: UDP ports of the data path, of this node and of others. */
  readonly tunnels: ReadonlySet<string>;
  /** Addresses that any endpoint has: connections to one that goes are forgotten. */
  readonly endpoints: ReadonlySet<string>;
  /** Addresses that take new connections: UDP flows to one that stops are forgotten. */
  readonly serving: ReadonlySet<string>;
}

/** What each endpoint, service and attachment adds, kept from one plan to the next. */
export interface Parts {
  readonly endpoints: Memo<TableEndpoint, EndpointPart>;
  readonly services: Memo<TableService, ServicePart>;
  readonly attachments: Memo<Attachment, AttachmentPart>;
}

interface AttachmentPart {
  readonly addresses: readonly string[];
  readonly objects: readonly Keyed[];
  /** Keys of the set of its own addresses. */
  readonly hairpin: readonly string[];
}

interface EndpointPart {
  readonly addresses: readonly string[];
  /** By address: the way there, when it is on another node. */
  readonly routes: readonly (readonly [address: string, objects: readonly Keyed[]])[];
}

type Keyed = readonly [key: string, object: FabricObject];
type Element = readonly [set: keyof RuleSets, key: string, value: string];

interface ServicePart {
  readonly vips: readonly Element[];
  readonly ports: readonly { readonly key: string; readonly elements: readonly Element[] }[];
}

export function openParts(): Parts {
  return { endpoints: openMemo(), services: openMemo(), attachments: openMemo() };
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

export function planWanted(input: WantedInput, parts = openParts()): Wanted {
  const index = indexTables(input.tables);
  const others = [...index.nodes.values()].filter(
    node =>
      node.nodeId !== input.identity.nodeId &&
      node.tunnelIndex >= 1 &&
      node.tunnelIndex <= tunnelIndexMax &&
      farEnd(node, input) !== undefined,
  );
  const objects = new Map<string, FabricObject>();
  const add = (list: readonly FabricObject[]): void => {
    for (const object of list) objects.set(keyOf(object), object);
  };
  const sets = ruleSets();
  const endpoints = new Set<string>();
  const serving = new Set<string>();
  const fill: Fill = { input, index, parts, objects, sets, endpoints, serving };
  add(ownObjects(input));
  for (const node of others) add(nodeObjects(node, input));
  add(secureObjects(input.identity, index.nodes.values(), findEncryption(input.tables)?.epochs ?? []));
  const attached = input.attachments.map(one => parts.attachments(one, noInputs, () => attachmentPart(one)));
  fillEndpoints(fill, new Map(others.map(node => [node.nodeId, node])), attached);
  for (const part of attached) for (const [key, object] of part.objects) objects.set(key, object);
  for (const destination of subnetsV4(index.networks)) {
    add([{ kind: 'route', table: mainTable, destination, device: '' }]);
  }
  fillNodes(sets, others, input.hostAddresses);
  fillNetworks(sets, index.networks, attached);
  fillPolicies(sets, index);
  const published = fillServices(fill);
  const inTheClear = isSecure(input.tables) ? [] : [input.identity, ...others];
  const tunnels = new Set(inTheClear.map(({ dataPort }) => String(dataPort || input.identity.dataPort)));
  return { objects, fabricRules: { sets }, published, tunnels, endpoints, serving };
}

/** What the parts of a plan add to, and what they read. */
interface Fill {
  readonly input: WantedInput;
  readonly index: Index;
  readonly parts: Parts;
  readonly objects: Map<string, FabricObject>;
  readonly sets: RuleSets;
  readonly endpoints: Set<string>;
  readonly serving: Set<string>;
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
    ...basicRules.map((rule): FabricObject => ({ kind: 'rule', ...rule })),
    { kind: 'rule', priority: priorityEntered, mark: markEntered, table: tableEntered },
    { kind: 'rule', priority: priorityHost, mark: markHost, table: tableHost },
  ];
}

/** The way to another node by both tunnels, and the way back for connections that came in there. */
function nodeObjects(node: TableNode, input: WantedInput): FabricObject[] {
  const { identity, tables } = input;
  const via = tunnelAddress(node.tunnelIndex);
  const mac = tunnelMac(node.tunnelIndex);
  const destination = farEnd(node, input) ?? '';
  const isOwnPort = isSecure(tables) || node.dataPort === identity.dataPort || node.dataPort === 0;
  const port = isOwnPort ? {} : { port: node.dataPort };
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

/** Routes to addresses of other nodes; what is attached here has its own. */
function fillEndpoints(
  { index, parts, objects, endpoints, serving }: Fill,
  nodes: ReadonlyMap<string, TableNode>,
  attached: readonly AttachmentPart[],
): void {
  const local = new Set(attached.flatMap(part => part.addresses));
  const published = new Set(
    index.services.filter(service => service.ports.some(port => port.mode === 'ingress')).map(one => one.serviceId),
  );
  for (const endpoint of index.endpoints) {
    const node = nodes.get(endpoint.nodeId);
    const isPublished = published.has(endpoint.serviceId);
    const part = parts.endpoints(endpoint, [node, isPublished], () => endpointPart(endpoint, node, isPublished));
    for (const address of part.addresses) {
      endpoints.add(address);
      if (endpoint.serving) serving.add(address);
    }
    for (const [address, routes] of part.routes) {
      if (!local.has(address)) for (const [key, route] of routes) objects.set(key, route);
    }
  }
}

/** One route for each address on another node; a second one, by the ingress tunnel, when a published port leads there. */
function endpointPart(endpoint: TableEndpoint, node: TableNode | undefined, isPublished: boolean): EndpointPart {
  const addresses = endpointAddresses(endpoint);
  if (node === undefined) return { addresses, routes: [] };
  const via = tunnelAddress(node.tunnelIndex);
  return {
    addresses,
    routes: addresses.map(address => {
      const destination = `${address}/32`;
      const routes: FabricObject[] = [{ kind: 'route', table: mainTable, destination, device: deviceOverlay, via }];
      if (isPublished) routes.push({ kind: 'route', table: tableEntered, destination, device: deviceIngress, via });
      return [address, routes.map((route): Keyed => [keyOf(route), route])];
    }),
  };
}

const noInputs: readonly unknown[] = [];

/** It never changes. */
function attachmentPart(attachment: Attachment): AttachmentPart {
  const addresses = addressesOf(attachment);
  return {
    addresses,
    objects: attachmentObjects(attachment).map((object): Keyed => [keyOf(object), object]),
    hairpin: addresses.flatMap(from => addresses.map(to => `${from} . ${to}`)),
  };
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

function fillNetworks(sets: RuleSets, networks: readonly TableNetwork[], attached: readonly AttachmentPart[]): void {
  for (const network of networks) {
    const subnets = network.subnets.filter(isSubnetV4);
    for (const from of subnets) {
      if (!network.closed) for (const to of subnets) sets.pairs.set(`${from} . ${to}`, '');
      if (network.metadata) sets.metadata.set(from, '');
      if (network.internal) sets.internal.set(from, '');
    }
  }
  for (const { hairpin } of attached) for (const key of hairpin) sets.hairpin.set(key, '');
}

/** VIPs and published ports of all services; returns the ports that the host hands over to the fabric. */
function fillServices({ input, index, parts, sets }: Fill): Set<string> {
  const { nodeId } = input.identity;
  const published = new Set<string>();
  const none: readonly TableEndpoint[] = [];
  for (const service of index.services) {
    const endpoints = index.endpointsOf.get(service.serviceId) ?? none;
    const part = parts.services(service, [nodeId, ...endpoints], () => servicePart(service, endpoints, nodeId));
    for (const [set, key, value] of part.vips) sets[set].set(key, value);
    for (const { key, elements } of part.ports) {
      // A port has one owner; the managers see to it.
      if (published.has(key)) continue;
      published.add(key);
      for (const [set, element, value] of elements) sets[set].set(element, value);
    }
  }
  return published;
}

function servicePart(service: TableService, endpoints: readonly TableEndpoint[], nodeId: string): ServicePart {
  return {
    vips: service.endpointMode === 'dnsrr' ? [] : vipElements(service, endpoints),
    // Ports of mode host do not exist where no task of the service runs.
    ports: service.ports.flatMap(port => {
      const backends = backendsOf(port, endpoints, nodeId);
      if (port.published === 0 || (port.mode === 'host' && backends.length === 0)) return [];
      return [portElements(port, placesOf(service, backends))];
    }),
  };
}

function vipElements(service: TableService, endpoints: readonly TableEndpoint[]): Element[] {
  const serving = endpoints.filter(endpoint => endpoint.serving);
  return service.vips.flatMap(({ networkId, addresses }) => {
    const backends = serving
      .flatMap(endpoint => endpoint.addresses.filter(one => one.networkId === networkId))
      .flatMap(one => one.addresses.filter(isAddressV4))
      .sort();
    return addresses.filter(isAddressV4).flatMap((vip): Element[] => {
      if (backends.length === 0) return [['refused-vips', vip, '']];
      const places = placesOf(service, backends);
      const elements = places.list.map((backend, place): Element => ['backends', `${vip} . ${place}`, backend]);
      return [['vips', vip, `goto ${places.sticky ? 'stick' : 'pick'}${places.list.length}`], ...elements];
    });
  });
}

/** What the choice of a number leads to: one place for each backend, or those that hold clients to their backends. */
interface Places {
  readonly sticky: boolean;
  readonly list: readonly string[];
}

function placesOf({ endpointMode }: TableService, backends: readonly string[]): Places {
  const sticky = endpointMode === 'vip-sticky';
  return { sticky, list: sticky ? stickyPlaces(backends) : backends };
}

function portElements(port: PortSpec, { sticky, list }: Places): ServicePart['ports'][number] {
  const key = `${port.protocol} . ${port.published}`;
  if (list.length === 0) return { key, elements: [['refused-ports', key, '']] };
  const places = list.map(
    (backend, place): Element => ['port-backends', `${key} . ${place}`, `${backend} . ${port.target}`],
  );
  return { key, elements: [['ports', key, `goto ${sticky ? 'hold' : 'port'}${list.length}`], ...places] };
}

function backendsOf(port: PortSpec, endpoints: readonly TableEndpoint[], nodeId: string): string[] {
  return endpoints
    .filter(endpoint => endpoint.serving && (port.mode === 'ingress' || endpoint.nodeId === nodeId))
    .flatMap(endpoint => endpointAddresses(endpoint).slice(0, 1))
    .sort();
}
