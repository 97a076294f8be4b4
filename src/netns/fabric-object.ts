/**
 * The addresses, routes, rules, neighbours and forwarding entries of the fabric as values with a name each, so that what is
 * wanted and what is seen compare as maps. Devices go by name: indices are the kernel's.
 *
 * Not here: which there should be (wanted.ts), how they differ (plan.ts).
 */
import type { NetlinkSocket } from '../host.js';
import { type LinkSeen, listLinks } from './netlink/links.js';
import type { NetlinkMessage, NetlinkRequest } from './netlink/message.js';
import * as neighbours from './netlink/neighbours.js';
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
    neighbour: neighbours.setNeighbour,
    forwarding: neighbours.setForwarding,
  });
}

export function removeRequest(object: FabricObject, devices: DeviceIndices): NetlinkRequest | undefined {
  return request(object, devices, {
    address: routes.removeAddress,
    route: routes.removeRoute,
    rule: routes.removeRule,
    neighbour: neighbours.removeNeighbour,
    forwarding: neighbours.removeForwarding,
  });
}

interface Encoders {
  readonly address: (value: routes.Address) => NetlinkRequest;
  readonly route: (value: routes.Route) => NetlinkRequest;
  readonly rule: (value: routes.Rule) => NetlinkRequest;
  readonly neighbour: (value: neighbours.Neighbour) => NetlinkRequest;
  readonly forwarding: (value: neighbours.ForwardingEntry) => NetlinkRequest;
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
  const nameOf = (index: number): string => names.get(index) ?? '';
  const objects = new Map<string, FabricObject>();
  for (const dump of [
    routes.dumpAddresses,
    routes.dumpRoutes,
    routes.dumpRules,
    neighbours.dumpNeighbours,
    neighbours.dumpForwarding,
  ]) {
    for (const message of dump(socket)) {
      const found = objectOf(message, nameOf);
      if (found?.isOurs === true) objects.set(keyOf(found.object), found.object);
    }
  }
  return { links, objects };
}

export interface ObjectFound {
  readonly object: FabricObject;
  /** False: of that name, but the kernel made or learned it itself, or somebody else's. */
  readonly isOurs: boolean;
}

/** The object that an entry of the kernel is, or was when the message says that it is gone. */
export function objectOf(message: NetlinkMessage, nameOf: (index: number) => string): ObjectFound | undefined {
  const { payload } = message;
  switch (message.type & ~3) {
    case messageFamilies.address: {
      const found = routes.parseAddressEntry(payload);
      if (found === undefined) return undefined;
      const { index, prefix } = found;
      return { object: { kind: 'address', device: nameOf(index), prefix }, isOurs: prefix !== '127.0.0.1/8' };
    }
    case messageFamilies.route:
      return routeOf(payload, nameOf);
    case messageFamilies.rule: {
      const found = routes.parseRule(payload);
      return found === undefined ? undefined : { object: { kind: 'rule', ...found }, isOurs: true };
    }
    case messageFamilies.neighbour:
      return neighbourOf(payload, nameOf);
    default:
      return undefined;
  }
}

/** RTM_NEW…, RTM_DEL… and RTM_GET… of a kind follow each other. */
const messageFamilies = { address: 20, route: 24, neighbour: 28, rule: 32 };

function routeOf(payload: Buffer, nameOf: (index: number) => string): ObjectFound | undefined {
  const found = routes.parseRoute(payload);
  if (found === undefined) return undefined;
  const { destination, table, via } = found;
  const device = found.kind === 'unreachable' ? '' : nameOf(found.index);
  return {
    object: { kind: 'route', table, destination, device, ...(via === undefined ? {} : { via }) },
    isOurs: found.protocol === routes.routeProtocol,
  };
}

function neighbourOf(payload: Buffer, nameOf: (index: number) => string): ObjectFound | undefined {
  const entry = neighbours.parseForwarding(payload);
  if (entry !== undefined) {
    const { index, mac, destination, port } = entry;
    const device = nameOf(index);
    const object = { kind: 'forwarding', device, mac, destination, ...(port === undefined ? {} : { port }) } as const;
    return { object, isOurs: true };
  }
  const found = neighbours.parseNeighbour(payload);
  if (found === undefined) return undefined;
  const { index, address, mac, permanent } = found;
  return { object: { kind: 'neighbour', device: nameOf(index), address, mac }, isOurs: permanent };
}
