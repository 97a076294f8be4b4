/**
 * Addresses, routes, rules, neighbours and forwarding entries of tunnels in rtnetlink's form: one value for each, that can be
 * added, removed and read back, so that wanted and seen compare as text (`…Key`).
 *
 * Devices go by index here; plans go by name.
 *
 * Not here: which of them there should be (../wanted.ts).
 */
import type { NetlinkSocket } from '../../host.js';
import { parseAddress, parsePrefix, renderAddress } from '../ip.js';
import { attribute, dump, errnos, type NetlinkRequest, netlinkFlags, readAttributes, u16be, u32 } from './message.js';

export interface Address {
  readonly index: number;
  /** "10.0.0.5/32". */
  readonly prefix: string;
}

export interface Route {
  /** "10.0.0.5/32", "0.0.0.0/0". */
  readonly destination: string;
  readonly table: number;
  readonly kind: 'unicast' | 'unreachable';
  /** 0: none (unreachable). */
  readonly index: number;
  readonly via?: string | undefined;
  /** The gateway is on the link though no address says so. */
  readonly onlink?: boolean | undefined;
  /** Source address of what this machine sends there. */
  readonly source?: string | undefined;
}

export interface Rule {
  readonly priority: number;
  readonly mark: number;
  readonly table: number;
}

export interface Neighbour {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
}

/** Where a VXLAN device sends frames for a MAC. */
export interface ForwardingEntry {
  readonly index: number;
  readonly mac: string;
  readonly destination: string;
  /** Of the other side, when it is not the device's own. */
  readonly port?: number | undefined;
}

/** Marks routes as ours, so that those of others in the same namespace are left alone. */
export const routeProtocol = 201;
export const mainTable = 254;
export const localTable = 255;

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
const RTN_UNICAST = 1;
const RTN_UNREACHABLE = 7;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTNH_F_ONLINK = 4;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 2;
const FR_ACT_TO_TBL = 1;
const attributes = {
  address: { address: 1, local: 2 },
  route: { destination: 1, index: 4, gateway: 5, source: 7, metrics: 8, table: 15 },
  rule: { priority: 6, mark: 10, table: 15 },
  neighbour: { destination: 1, mac: 2, port: 6 },
};
const metricMtu = 2;

const createOnly = netlinkFlags.create | netlinkFlags.exclusive;
const createOrReplace = netlinkFlags.create | netlinkFlags.replace;

function familyOf(address: string): number {
  return address.includes(':') ? AF_INET6 : AF_INET;
}

// ---- addresses

function addressPayload(address: Address): Buffer {
  const { address: own, bits } = parsePrefix(address.prefix);
  const header = Buffer.alloc(8);
  header[0] = familyOf(own);
  header[1] = bits;
  header.writeUInt32LE(address.index, 4);
  const bytes = parseAddress(own);
  return Buffer.concat([
    header,
    attribute(attributes.address.local, bytes),
    attribute(attributes.address.address, bytes),
  ]);
}

export function addAddress(address: Address): NetlinkRequest {
  return {
    type: RTM_NEWADDR,
    flags: createOrReplace,
    payload: addressPayload(address),
    about: `add address ${address.prefix}`,
  };
}

export function removeAddress(address: Address): NetlinkRequest {
  return {
    type: RTM_DELADDR,
    flags: 0,
    payload: addressPayload(address),
    about: `remove address ${address.prefix}`,
    harmless: [errnos.noAddress, errnos.noDevice],
  };
}

/** IPv4 only; those of IPv6 are the kernel's own business so far. */
export function listAddresses(socket: NetlinkSocket): Address[] {
  const payload = Buffer.alloc(8);
  payload[0] = AF_INET;
  return dump(socket, { type: RTM_GETADDR, payload, about: 'list addresses' }).map(message => {
    const found = readAttributes(message.payload, 8);
    const own = found.get(attributes.address.local) ?? found.get(attributes.address.address) ?? Buffer.alloc(4);
    return { index: message.payload.readUInt32LE(4), prefix: `${renderAddress(own)}/${message.payload[1]}` };
  });
}

// ---- routes

function routePayload(route: Route): Buffer {
  const { address, bits } = parsePrefix(route.destination);
  const header = Buffer.alloc(12);
  header[0] = familyOf(address);
  header[1] = bits;
  header[4] = route.table < 256 ? route.table : 0;
  header[5] = routeProtocol;
  header[6] = route.kind === 'unreachable' || route.via !== undefined ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  header[7] = route.kind === 'unicast' ? RTN_UNICAST : RTN_UNREACHABLE;
  header.writeUInt32LE(route.onlink === true ? RTNH_F_ONLINK : 0, 8);
  return Buffer.concat([
    header,
    ...(bits === 0 ? [] : [attribute(attributes.route.destination, parseAddress(address))]),
    attribute(attributes.route.table, u32(route.table)),
    ...(route.index === 0 ? [] : [attribute(attributes.route.index, u32(route.index))]),
    ...(route.via === undefined ? [] : [attribute(attributes.route.gateway, parseAddress(route.via))]),
    ...(route.source === undefined ? [] : [attribute(attributes.route.source, parseAddress(route.source))]),
  ]);
}

/** In the place of any other route of that destination and table. */
export function setRoute(route: Route): NetlinkRequest {
  return {
    type: RTM_NEWROUTE,
    flags: createOrReplace,
    payload: routePayload(route),
    about: `set route ${route.destination} of table ${route.table}`,
  };
}

export function removeRoute(route: Route): NetlinkRequest {
  return {
    type: RTM_DELROUTE,
    flags: 0,
    payload: routePayload(route),
    about: `remove route ${route.destination} of table ${route.table}`,
    harmless: [errnos.noProcess, errnos.noDevice, errnos.noEntry],
  };
}

/** A route with what only the kernel's own ones have; `protocol` tells whose it is. */
export interface RouteSeen extends Route {
  readonly protocol: number;
}

export function listRoutes(socket: NetlinkSocket): RouteSeen[] {
  const payload = Buffer.alloc(12);
  payload[0] = AF_INET;
  const messages = dump(socket, { type: RTM_GETROUTE, payload, about: 'list routes' });
  return messages.flatMap(message => parseRoute(message.payload) ?? []);
}

function parseRoute(payload: Buffer): RouteSeen | undefined {
  const found = readAttributes(payload, 12);
  const kind = payload[7] === RTN_UNICAST ? 'unicast' : payload[7] === RTN_UNREACHABLE ? 'unreachable' : undefined;
  if (kind === undefined) return undefined;
  const address = (key: keyof typeof attributes.route): string | undefined => {
    const bytes = found.get(attributes.route[key]);
    return bytes === undefined ? undefined : renderAddress(bytes);
  };
  return {
    destination: `${address('destination') ?? '0.0.0.0'}/${payload[1]}`,
    table: found.get(attributes.route.table)?.readUInt32LE(0) ?? payload[4] ?? 0,
    kind,
    index: found.get(attributes.route.index)?.readUInt32LE(0) ?? 0,
    via: address('gateway'),
    onlink: (payload.readUInt32LE(8) & RTNH_F_ONLINK) !== 0,
    source: address('source'),
    protocol: payload[5] ?? 0,
  };
}

/** The link that packets to the address leave by, and the MTU that the route itself names (0: none). */
export function findRouteTo(socket: NetlinkSocket, address: string): { index: number; mtu: number } | undefined {
  const bytes = parseAddress(address);
  const header = Buffer.alloc(12);
  header[0] = familyOf(address);
  header[1] = bytes.length * 8;
  const payload = Buffer.concat([header, attribute(attributes.route.destination, bytes)]);
  const request = Buffer.alloc(16);
  request.writeUInt32LE(16 + payload.length, 0);
  request.writeUInt16LE(RTM_GETROUTE, 4);
  request.writeUInt16LE(netlinkFlags.request | netlinkFlags.acknowledge, 6);
  for (const answer of socket.talk(Buffer.concat([request, payload]), 1)) {
    const message = Buffer.from(answer.buffer, answer.byteOffset, answer.length);
    if (message.readUInt16LE(4) !== RTM_NEWROUTE) continue;
    const found = readAttributes(message, 28);
    const metrics = readAttributes(found.get(attributes.route.metrics) ?? Buffer.alloc(0));
    return {
      index: found.get(attributes.route.index)?.readUInt32LE(0) ?? 0,
      mtu: metrics.get(metricMtu)?.readUInt32LE(0) ?? 0,
    };
  }
  return undefined;
}

// ---- rules

function rulePayload(rule: Rule): Buffer {
  const header = Buffer.alloc(12);
  header[0] = AF_INET;
  header[7] = FR_ACT_TO_TBL;
  return Buffer.concat([
    header,
    attribute(attributes.rule.priority, u32(rule.priority)),
    attribute(attributes.rule.mark, u32(rule.mark)),
    attribute(attributes.rule.table, u32(rule.table)),
  ]);
}

export function addRule(rule: Rule): NetlinkRequest {
  return {
    type: RTM_NEWRULE,
    flags: createOnly,
    payload: rulePayload(rule),
    about: `add rule for mark ${rule.mark}`,
    harmless: [errnos.exists],
  };
}

export function removeRule(rule: Rule): NetlinkRequest {
  return {
    type: RTM_DELRULE,
    flags: 0,
    payload: rulePayload(rule),
    about: `remove rule for mark ${rule.mark}`,
    harmless: [errnos.noEntry],
  };
}

/** Rules that look at a mark; the kernel's own three do not. */
export function listRules(socket: NetlinkSocket): Rule[] {
  const payload = Buffer.alloc(12);
  payload[0] = AF_INET;
  return dump(socket, { type: RTM_GETRULE, payload, about: 'list rules' }).flatMap(message => {
    const found = readAttributes(message.payload, 12);
    const number = (key: keyof typeof attributes.rule): number => found.get(attributes.rule[key])?.readUInt32LE(0) ?? 0;
    return found.has(attributes.rule.mark)
      ? [{ priority: number('priority'), mark: number('mark'), table: number('table') }]
      : [];
  });
}

// ---- neighbours and forwarding entries

function neighbourHeader(family: number, index: number, flags: number): Buffer {
  const header = Buffer.alloc(12);
  header[0] = family;
  header.writeInt32LE(index, 4);
  header.writeUInt16LE(NUD_PERMANENT, 8);
  header[10] = flags;
  return header;
}

function neighbourPayload(entry: Neighbour): Buffer {
  return Buffer.concat([
    neighbourHeader(familyOf(entry.address), entry.index, 0),
    attribute(attributes.neighbour.destination, parseAddress(entry.address)),
    attribute(attributes.neighbour.mac, Buffer.from(entry.mac.replaceAll(':', ''), 'hex')),
  ]);
}

export function setNeighbour(entry: Neighbour): NetlinkRequest {
  return {
    type: RTM_NEWNEIGH,
    flags: createOrReplace,
    payload: neighbourPayload(entry),
    about: `set neighbour ${entry.address}`,
  };
}

export function removeNeighbour(entry: Neighbour): NetlinkRequest {
  return {
    type: RTM_DELNEIGH,
    flags: 0,
    payload: neighbourPayload(entry),
    about: `remove neighbour ${entry.address}`,
    harmless: [errnos.noEntry, errnos.noDevice],
  };
}

/** Permanent ones only: what the kernel learned by itself is its own. */
export function listNeighbours(socket: NetlinkSocket): Neighbour[] {
  return dump(socket, {
    type: RTM_GETNEIGH,
    payload: neighbourHeader(AF_INET, 0, 0),
    about: 'list neighbours',
  }).flatMap(message => {
    const found = readAttributes(message.payload, 12);
    const address = found.get(attributes.neighbour.destination);
    const mac = found.get(attributes.neighbour.mac);
    if (address === undefined || mac === undefined) return [];
    if ((message.payload.readUInt16LE(8) & NUD_PERMANENT) === 0) return [];
    return [{ index: message.payload.readInt32LE(4), address: renderAddress(address), mac: macText(mac) }];
  });
}

function forwardingPayload(entry: ForwardingEntry): Buffer {
  return Buffer.concat([
    neighbourHeader(AF_BRIDGE, entry.index, NTF_SELF),
    attribute(attributes.neighbour.mac, Buffer.from(entry.mac.replaceAll(':', ''), 'hex')),
    attribute(attributes.neighbour.destination, parseAddress(entry.destination)),
    ...(entry.port === undefined ? [] : [attribute(attributes.neighbour.port, u16be(entry.port))]),
  ]);
}

export function setForwarding(entry: ForwardingEntry): NetlinkRequest {
  return {
    type: RTM_NEWNEIGH,
    flags: createOrReplace,
    payload: forwardingPayload(entry),
    about: `send frames for ${entry.mac} to ${entry.destination}`,
  };
}

export function removeForwarding(entry: ForwardingEntry): NetlinkRequest {
  return {
    type: RTM_DELNEIGH,
    flags: 0,
    payload: forwardingPayload(entry),
    about: `no longer send frames for ${entry.mac} to ${entry.destination}`,
    harmless: [errnos.noEntry, errnos.noDevice],
  };
}

export function listForwarding(socket: NetlinkSocket): ForwardingEntry[] {
  return dump(socket, {
    type: RTM_GETNEIGH,
    payload: neighbourHeader(AF_BRIDGE, 0, 0),
    about: 'list forwarding entries',
  }).flatMap(message => {
    const found = readAttributes(message.payload, 12);
    const destination = found.get(attributes.neighbour.destination);
    const mac = found.get(attributes.neighbour.mac);
    if (destination === undefined || mac === undefined) return [];
    const port = found.get(attributes.neighbour.port)?.readUInt16BE(0);
    return [
      {
        index: message.payload.readInt32LE(4),
        mac: macText(mac),
        destination: renderAddress(destination),
        ...(port === undefined ? {} : { port }),
      },
    ];
  });
}

function macText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/(..)(?=.)/g, '$1:');
}
