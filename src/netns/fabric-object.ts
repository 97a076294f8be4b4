/**
 * The addresses, routes, rules, neighbours and forwarding entries of the fabric as values with a name each, so that what is
 * wanted and what is seen compare as maps. Devices go by name: indices are the kernel's.
 *
 * Not here: which there should be (wanted.ts), how they differ (plan.ts).
 */
import type { NetlinkSocket } from '../host.js';
import { type LinkSeen, listLinks } from './netlink/links.js';
import type { NetlinkRequest } from './netlink/message.js';
import * as routes from './netlink/routes.js';

export type FabricObject =
  | { readonly kind: 'address'; readonly device: string; readonly prefix: string }
  | {
      readonly kind: 'route';
      readonly table: number;
      readonly destination: string;
      /** Empty: unreachable. */
      readonly device: string;
      readonly via?: string;
    }
  | { readonly kind: 'rule'; readonly priority: number; readonly mark: number; readonly table: number }
  | { readonly kind: 'neighbour'; readonly device: string; readonly address: string; readonly mac: string }
  | {
      readonly kind: 'forwarding';
      readonly device: string;
      readonly mac: string;
      readonly destination: string;
      readonly port?: number;
    };

export type FabricObjects = ReadonlyMap<string, FabricObject>;

/** What makes an object the same one with another value. */
export function keyOf(object: FabricObject): string {
  switch (object.kind) {
    case 'address':
      return `address ${object.device} ${object.prefix}`;
    case 'route':
      return `route ${object.table} ${object.destination}`;
    case 'rule':
      return `rule ${object.priority} ${object.mark}`;
    case 'neighbour':
      return `neighbour ${object.device} ${object.address}`;
    case 'forwarding':
      return `forwarding ${object.device} ${object.mac}`;
  }
}

export function isSame(a: FabricObject, b: FabricObject): boolean {
  return partsOf(a) === partsOf(b);
}

function partsOf(object: FabricObject): string {
  switch (object.kind) {
    case 'address':
      return '';
    case 'route':
      return `${object.device} ${object.via ?? ''}`;
    case 'rule':
      return String(object.table);
    case 'neighbour':
      return object.mac;
    case 'forwarding':
      return `${object.destination} ${object.port ?? ''}`;
  }
}

/** In words, for logs and the outcome of a check. */
export function describe(object: FabricObject): string {
  return `${keyOf(object)} ${partsOf(object)}`.trim();
}

export type DeviceIndices = ReadonlyMap<string, number>;

/** undefined when its device is not there (its objects went with it). */
export function setRequest(object: FabricObject, devices: DeviceIndices): NetlinkRequest | undefined {
  return request(object, devices, {
    address: routes.addAddress,
    route: routes.setRoute,
    rule: routes.addRule,
    neighbour: routes.setNeighbour,
    forwarding: routes.setForwarding,
  });
}

export function removeRequest(object: FabricObject, devices: DeviceIndices): NetlinkRequest | undefined {
  return request(object, devices, {
    address: routes.removeAddress,
    route: routes.removeRoute,
    rule: routes.removeRule,
    neighbour: routes.removeNeighbour,
    forwarding: routes.removeForwarding,
  });
}

interface Encoders {
  readonly address: (value: routes.Address) => NetlinkRequest;
  readonly route: (value: routes.Route) => NetlinkRequest;
  readonly rule: (value: routes.Rule) => NetlinkRequest;
  readonly neighbour: (value: routes.Neighbour) => NetlinkRequest;
  readonly forwarding: (value: routes.ForwardingEntry) => NetlinkRequest;
}

function request(object: FabricObject, devices: DeviceIndices, encode: Encoders): NetlinkRequest | undefined {
  if (object.kind === 'rule') return encode.rule(object);
  const index = object.device === '' ? 0 : devices.get(object.device);
  if (index === undefined) return undefined;
  switch (object.kind) {
    case 'address':
      return encode.address({ ...object, index });
    case 'route':
      return encode.route({
        destination: object.destination,
        table: object.table,
        kind: object.device === '' ? 'unreachable' : 'unicast',
        index,
        via: object.via,
        onlink: object.via !== undefined,
      });
    case 'neighbour':
      return encode.neighbour({ ...object, index });
    case 'forwarding':
      return encode.forwarding({ ...object, index });
  }
}

export interface FabricSeen {
  readonly links: readonly LinkSeen[];
  readonly objects: FabricObjects;
}

/** What the kernel has of all this in the socket's namespace, without what it made itself or others did. */
export function readFabric(socket: NetlinkSocket): FabricSeen {
  const links = listLinks(socket);
  const names = new Map(links.map(link => [link.index, link.name]));
  const named = (index: number): string => names.get(index) ?? '';
  const list: FabricObject[] = [];
  for (const { index, prefix } of routes.listAddresses(socket)) {
    if (prefix !== '127.0.0.1/8') list.push({ kind: 'address', device: named(index), prefix });
  }
  for (const one of routes.listRoutes(socket)) {
    if (one.protocol !== routes.routeProtocol) continue;
    const { destination, table, via } = one;
    const device = one.kind === 'unreachable' ? '' : named(one.index);
    list.push({ kind: 'route', table, destination, device, ...(via === undefined ? {} : { via }) });
  }
  for (const one of routes.listRules(socket)) list.push({ kind: 'rule', ...one });
  for (const { index, ...one } of routes.listNeighbours(socket)) {
    list.push({ kind: 'neighbour', device: named(index), ...one });
  }
  for (const { index, mac, destination, port } of routes.listForwarding(socket)) {
    const device = named(index);
    list.push({ kind: 'forwarding', device, mac, destination, ...(port === undefined ? {} : { port }) });
  }
  return { links, objects: new Map(list.map(object => [keyOf(object), object])) };
}
