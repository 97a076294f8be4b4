/**
 * Links in rtnetlink's form: veth pairs born with one end in another namespace, VXLAN devices, changes, removal, dumps.
 *
 * Not here: which links there should be (../link.ts, ../overlay.ts).
 */
import type { NetlinkSocket } from '../../host.js';
import { parseAddress, renderAddress } from '../ip.js';
import {
  attribute,
  dump,
  errnos,
  type NetlinkMessage,
  type NetlinkRequest,
  nested,
  netlinkFlags,
  readAttributes,
  text,
  textOf,
  u8,
  u16be,
  u32,
} from './message.js';

export interface LinkSeen {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly group: number;
  /** "veth", "vxlan", …; empty for hardware. */
  readonly kind: string;
  /** VXLAN devices only. */
  readonly vxlan?: { readonly vni: number; readonly local: string | undefined; readonly port: number };
}

export interface VethEnd {
  readonly name: string;
  readonly index?: number;
  readonly mac?: string;
  readonly group?: number;
}

export interface LinkChange {
  readonly index: number;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly group?: number;
  /** Numbers of enum IPV4_DEVCONF in linux/ip.h. */
  readonly inet?: ReadonlyMap<number, number>;
  /** No link-local IPv6 address, hence no duplicate address detection and router solicitation. */
  readonly quietV6?: boolean;
}

/** Of enum IPV4_DEVCONF: the same switches as under /proc/sys/net/ipv4/conf, set with the link. */
export const inetSwitches = { rpFilter: 8, routeLocalnet: 26 };

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const IFF_UP = 1;
const attributes = { address: 1, name: 3, mtu: 4, info: 18, afSpec: 26, group: 27, namespaceFd: 28 };
const info = { kind: 1, data: 2 };
const vxlan = { id: 1, local: 4, learning: 7, port: 15, local6: 17 };
const vethPeer = 1;
const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;
const inetConf = 1;
const inet6GenMode = 8;
const genModeNone = 1;

function ifinfo(index: number, flags: number, mask: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(mask, 12);
  return bytes;
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

function endAttributes(end: VethEnd): Buffer[] {
  return [
    attribute(attributes.name, text(end.name)),
    ...(end.mac === undefined ? [] : [attribute(attributes.address, macBytes(end.mac))]),
    ...(end.group === undefined ? [] : [attribute(attributes.group, u32(end.group))]),
  ];
}

/** A pair: `near` in the socket's namespace, up at once; `far` born in the namespace with that descriptor. */
export function makeVeth(options: {
  readonly near: VethEnd;
  readonly far: VethEnd & { readonly namespaceFd: number };
  readonly mtu: number;
}): NetlinkRequest {
  const { near, far, mtu } = options;
  const peer = Buffer.concat([
    ifinfo(far.index ?? 0, 0, 0),
    ...endAttributes(far),
    attribute(attributes.mtu, u32(mtu)),
    attribute(attributes.namespaceFd, u32(far.namespaceFd)),
  ]);
  const payload = Buffer.concat([
    ifinfo(near.index ?? 0, IFF_UP, IFF_UP),
    ...endAttributes(near),
    attribute(attributes.mtu, u32(mtu)),
    nested(attributes.info, attribute(info.kind, Buffer.from('veth')), nested(info.data, attribute(vethPeer, peer))),
  ]);
  return {
    type: RTM_NEWLINK,
    flags: netlinkFlags.create | netlinkFlags.exclusive,
    payload,
    about: `make link ${near.name}`,
  };
}

/**
 * A VXLAN device with static entries, born in the namespace with that descriptor; its UDP socket belongs to the namespace of
 * the netlink socket.
 */
export function makeVxlan(options: {
  readonly name: string;
  readonly vni: number;
  /** undefined: the address of whatever link a packet leaves by. */
  readonly local: string | undefined;
  readonly port: number;
  readonly mac: string;
  readonly mtu: number;
  /** Default: the namespace of the netlink socket. */
  readonly namespaceFd?: number;
}): NetlinkRequest {
  const local = options.local === undefined ? undefined : parseAddress(options.local);
  const payload = Buffer.concat([
    ifinfo(0, 0, 0),
    attribute(attributes.name, text(options.name)),
    attribute(attributes.address, macBytes(options.mac)),
    attribute(attributes.mtu, u32(options.mtu)),
    ...(options.namespaceFd === undefined ? [] : [attribute(attributes.namespaceFd, u32(options.namespaceFd))]),
    nested(
      attributes.info,
      attribute(info.kind, Buffer.from('vxlan')),
      nested(
        info.data,
        attribute(vxlan.id, u32(options.vni)),
        ...(local === undefined ? [] : [attribute(local.length === 4 ? vxlan.local : vxlan.local6, local)]),
        attribute(vxlan.learning, u8(0)),
        attribute(vxlan.port, u16be(options.port)),
      ),
    ),
  ]);
  return {
    type: RTM_NEWLINK,
    flags: netlinkFlags.create | netlinkFlags.exclusive,
    payload,
    about: `make VXLAN device ${options.name} (VNI ${options.vni}, UDP port ${options.port})`,
  };
}

/** Without keys and peers. Born in the namespace with that descriptor; its UDP socket belongs to that of the netlink socket. */
export function makeWireguard(name: string, namespaceFd?: number): NetlinkRequest {
  const payload = Buffer.concat([
    ifinfo(0, 0, 0),
    attribute(attributes.name, text(name)),
    ...(namespaceFd === undefined ? [] : [attribute(attributes.namespaceFd, u32(namespaceFd))]),
    nested(attributes.info, attribute(info.kind, Buffer.from('wireguard'))),
  ]);
  return {
    type: RTM_NEWLINK,
    flags: netlinkFlags.create | netlinkFlags.exclusive,
    payload,
    about: `make WireGuard device ${name}`,
  };
}

/** Into another namespace, under another name. */
export function moveLink(link: {
  readonly index: number;
  readonly name: string;
  readonly namespaceFd: number;
}): NetlinkRequest {
  const payload = Buffer.concat([
    ifinfo(link.index, 0, 0),
    attribute(attributes.name, text(link.name)),
    attribute(attributes.namespaceFd, u32(link.namespaceFd)),
  ]);
  return { type: RTM_NEWLINK, flags: 0, payload, about: `move link ${link.name} into the fabric` };
}

/** Two requests at most: switches of the address families first, so that they hold when the link comes up. */
export function changeLink(change: LinkChange, about: string): NetlinkRequest[] {
  const requests: NetlinkRequest[] = [];
  const families: Buffer[] = [];
  if (change.inet !== undefined) {
    const switches = [...change.inet].map(([key, value]) => attribute(key, u32(value)));
    families.push(nested(AF_INET, nested(inetConf, ...switches)));
  }
  if (change.quietV6 === true) families.push(nested(AF_INET6, attribute(inet6GenMode, u8(genModeNone))));
  if (families.length > 0) {
    const payload = Buffer.concat([ifinfo(change.index, 0, 0), nested(attributes.afSpec, ...families)]);
    requests.push({ type: RTM_NEWLINK, flags: 0, payload, about });
  }
  if (change.up === undefined && change.mtu === undefined && change.group === undefined) return requests;
  const payload = Buffer.concat([
    ifinfo(change.index, change.up === true ? IFF_UP : 0, change.up === undefined ? 0 : IFF_UP),
    ...(change.mtu === undefined ? [] : [attribute(attributes.mtu, u32(change.mtu))]),
    ...(change.group === undefined ? [] : [attribute(attributes.group, u32(change.group))]),
  ]);
  requests.push({ type: RTM_NEWLINK, flags: 0, payload, about });
  return requests;
}

/** With its peer, addresses, routes and neighbours. */
export function removeLink(link: { readonly index: number; readonly name: string }): NetlinkRequest {
  return {
    type: RTM_DELLINK,
    flags: 0,
    payload: ifinfo(link.index, 0, 0),
    about: `remove link ${link.name}`,
    harmless: [errnos.noDevice],
  };
}

export function listLinks(socket: NetlinkSocket): LinkSeen[] {
  const messages = dump(socket, { type: RTM_GETLINK, payload: ifinfo(0, 0, 0), about: 'list links' });
  return messages.filter(message => message.type === RTM_NEWLINK).map(message => parseLink(message.payload));
}

/** Of a link itself; bridges speak of their ports with the same types. */
export function isLinkMessage({ type, payload }: NetlinkMessage): boolean {
  return (type === RTM_NEWLINK || type === RTM_DELLINK) && payload[0] === AF_UNSPEC;
}

export function parseLink(payload: Buffer): LinkSeen {
  const found = readAttributes(payload, 16);
  const details = readAttributes(found.get(attributes.info) ?? Buffer.alloc(0));
  const kind = textOf(details.get(info.kind));
  return {
    index: payload.readInt32LE(4),
    name: textOf(found.get(attributes.name)),
    mac: (found.get(attributes.address) ?? Buffer.alloc(0)).toString('hex').replace(/(..)(?=.)/g, '$1:'),
    mtu: found.get(attributes.mtu)?.readUInt32LE(0) ?? 0,
    up: (payload.readUInt32LE(8) & IFF_UP) !== 0,
    group: found.get(attributes.group)?.readUInt32LE(0) ?? 0,
    kind,
    ...(kind === 'vxlan' ? { vxlan: parseVxlan(details.get(info.data) ?? Buffer.alloc(0)) } : {}),
  };
}

function localOf(bytes: Buffer | undefined): string | undefined {
  return bytes === undefined || bytes.every(byte => byte === 0) ? undefined : renderAddress(bytes);
}

function parseVxlan(data: Buffer): NonNullable<LinkSeen['vxlan']> {
  const found = readAttributes(data);
  return {
    vni: found.get(vxlan.id)?.readUInt32LE(0) ?? 0,
    local: localOf(found.get(vxlan.local) ?? found.get(vxlan.local6)),
    port: found.get(vxlan.port)?.readUInt16BE(0) ?? 0,
  };
}
