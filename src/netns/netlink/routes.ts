/**
 * Addresses, routes and rules in rtnetlink's form: one value for each, that can be added, removed and read back.
 *
 * Devices go by index here; plans go by name.
 *
 * Not here: neighbours and forwarding entries (neighbours.ts), which of them there should be (../wanted.ts).
 */
import type { NetlinkSocket } from '../../host.js';
import { tableSecure } from '../constants.js';
import { parseAddress, parsePrefix, renderAddress } from '../ip.js';
import {
  attribute,
  dump,
  errnos,
  type NetlinkMessage,
  type NetlinkRequest,
  netlinkFlags,
  readAttributes,
  u32,
} from './message.js';

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
  /** 0: whatever the mark. */
  readonly mark: number;
  readonly table: number;
}

/** Marks routes as ours, so that those of others in the same namespace are left alone. */
export const routeProtocol = 201;
export const mainTable = 254;
export const localTable = 255;
/** Every namespace begins with these; a flush of its rules takes them as well. */
export const basicRules: readonly Rule[] = [
  { priority: 0, mark: 0, table: localTable },
  { priority: 32_766, mark: 0, table: mainTable },
];

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const AF_INET = 2;
const AF_INET6 = 10;
const RTN_UNICAST = 1;
const RTN_UNREACHABLE = 7;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTNH_F_ONLINK = 4;
const FR_ACT_TO_TBL = 1;
const attributes = {
  address: { address: 1, local: 2 },
  route: { destination: 1, index: 4, gateway: 5, source: 7, metrics: 8, table: 15 },
  rule: { priority: 6, mark: 10, table: 15 },
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

/** The same for so many seconds: what is not said again by then goes, whether or not this process is still there. */
export function leaseAddress(address: Address, seconds: number): NetlinkRequest {
  const lifetimes = Buffer.concat([u32(seconds), u32(seconds), u32(0), u32(0)]);
  const payload = Buffer.concat([addressPayload(address), attribute(ifaCacheInfo, lifetimes)]);
  return {
    type: RTM_NEWADDR,
    flags: createOrReplace,
    payload,
    about: `add address ${address.prefix} for ${seconds} s`,
  };
}

/** struct ifa_cacheinfo: preferred and valid for so long, in seconds. */
const ifaCacheInfo = 6;

export function removeAddress(address: Address): NetlinkRequest {
  return {
    type: RTM_DELADDR,
    flags: 0,
    payload: addressPayload(address),
    about: `remove address ${address.prefix}`,
    harmless: [errnos.noAddress, errnos.noDevice],
  };
}

export function parseAddressEntry(payload: Buffer): Address | undefined {
  if (payload[0] !== AF_INET) return undefined;
  const found = readAttributes(payload, 8);
  const own = found.get(attributes.address.local) ?? found.get(attributes.address.address) ?? Buffer.alloc(4);
  return { index: payload.readUInt32LE(4), prefix: `${renderAddress(own)}/${payload[1]}` };
}

/** IPv4 only; those of IPv6 are the kernel's own business so far. */
export function dumpAddresses(socket: NetlinkSocket): NetlinkMessage[] {
  const payload = Buffer.alloc(8);
  payload[0] = AF_INET;
  return dump(socket, { type: RTM_GETADDR, payload, about: 'list addresses' });
}

export function listAddresses(socket: NetlinkSocket): Address[] {
  return dumpAddresses(socket).flatMap(message => parseAddressEntry(message.payload) ?? []);
}

/** Of both families, without loopback. */
export function listOwnAddresses(socket: NetlinkSocket): string[] {
  return [AF_INET, AF_INET6].flatMap(family => {
    const payload = Buffer.alloc(8);
    payload[0] = family;
    return dump(socket, { type: RTM_GETADDR, payload, about: 'list addresses' }).flatMap(message => {
      const found = readAttributes(message.payload, 8);
      const own = found.get(attributes.address.local) ?? found.get(attributes.address.address);
      return own === undefined || message.payload.readUInt32LE(4) === 1 ? [] : [renderAddress(own)];
    });
  });
}

/** Index of the link that has the address, of either family. */
export function findLinkOf(socket: NetlinkSocket, address: string): number | undefined {
  const bytes = parseAddress(address);
  const payload = Buffer.alloc(8);
  payload[0] = familyOf(address);
  for (const message of dump(socket, { type: RTM_GETADDR, payload, about: 'list addresses' })) {
    const found = readAttributes(message.payload, 8);
    const own = found.get(attributes.address.local) ?? found.get(attributes.address.address);
    if (own?.equals(bytes) === true) return message.payload.readUInt32LE(4);
  }
  return undefined;
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

export function dumpRoutes(socket: NetlinkSocket): NetlinkMessage[] {
  const payload = Buffer.alloc(12);
  payload[0] = AF_INET;
  return dump(socket, { type: RTM_GETROUTE, payload, about: 'list routes' });
}

export function listRoutes(socket: NetlinkSocket): RouteSeen[] {
  return dumpRoutes(socket).flatMap(message => parseRoute(message.payload) ?? []);
}

export function parseRoute(payload: Buffer): RouteSeen | undefined {
  if (payload[0] !== AF_INET) return undefined;
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
    ...(rule.mark === 0 ? [] : [attribute(attributes.rule.mark, u32(rule.mark))]),
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

/** Rules that look at a mark, that of encrypted tunnels, and the two of the kernel's own without which nothing finds its way. */
export function parseRule(payload: Buffer): Rule | undefined {
  if (payload[0] !== AF_INET) return undefined;
  const found = readAttributes(payload, 12);
  const number = (key: keyof typeof attributes.rule): number => found.get(attributes.rule[key])?.readUInt32LE(0) ?? 0;
  const rule = { priority: number('priority'), mark: number('mark'), table: number('table') };
  const isOwn = basicRules.some(({ priority, table }) => priority === rule.priority && table === rule.table);
  return rule.mark !== 0 || isOwn || rule.table === tableSecure ? rule : undefined;
}

export function dumpRules(socket: NetlinkSocket): NetlinkMessage[] {
  const payload = Buffer.alloc(12);
  payload[0] = AF_INET;
  return dump(socket, { type: RTM_GETRULE, payload, about: 'list rules' });
}
