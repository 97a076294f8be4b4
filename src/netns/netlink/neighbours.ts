/**
 * Neighbours and forwarding entries of tunnels in rtnetlink's form: one value for each, that can be set, removed and read back.
 *
 * Devices go by index here; plans go by name.
 *
 * Not here: addresses, routes and rules (routes.ts), which of them there should be (../wanted.ts).
 */
import type { NetlinkSocket } from '../../host.js';
import { parseAddress, renderAddress } from '../ip.js';
import {
  attribute,
  dump,
  errnos,
  type NetlinkMessage,
  type NetlinkRequest,
  netlinkFlags,
  readAttributes,
  u16be,
} from './message.js';

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

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 2;
const attributes = { destination: 1, mac: 2, port: 6 };

const createOrReplace = netlinkFlags.create | netlinkFlags.replace;

function familyOf(address: string): number {
  return address.includes(':') ? AF_INET6 : AF_INET;
}

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
    attribute(attributes.destination, parseAddress(entry.address)),
    attribute(attributes.mac, Buffer.from(entry.mac.replaceAll(':', ''), 'hex')),
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

/** undefined for what is no IPv4 neighbour. An entry that the kernel is about to forget has no MAC. */
export function parseNeighbour(payload: Buffer): (Neighbour & { readonly permanent: boolean }) | undefined {
  const found = readAttributes(payload, 12);
  const address = found.get(attributes.destination);
  if (payload[0] !== AF_INET || address === undefined) return undefined;
  return {
    index: payload.readInt32LE(4),
    address: renderAddress(address),
    mac: macText(found.get(attributes.mac) ?? Buffer.alloc(0)),
    permanent: (payload.readUInt16LE(8) & NUD_PERMANENT) !== 0,
  };
}

export function dumpNeighbours(socket: NetlinkSocket): NetlinkMessage[] {
  return dump(socket, { type: RTM_GETNEIGH, payload: neighbourHeader(AF_INET, 0, 0), about: 'list neighbours' });
}

function forwardingPayload(entry: ForwardingEntry): Buffer {
  return Buffer.concat([
    neighbourHeader(AF_BRIDGE, entry.index, NTF_SELF),
    attribute(attributes.mac, Buffer.from(entry.mac.replaceAll(':', ''), 'hex')),
    attribute(attributes.destination, parseAddress(entry.destination)),
    ...(entry.port === undefined ? [] : [attribute(attributes.port, u16be(entry.port))]),
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

/** undefined for what is no entry of a tunnel. */
export function parseForwarding(payload: Buffer): ForwardingEntry | undefined {
  const found = readAttributes(payload, 12);
  const destination = found.get(attributes.destination);
  const mac = found.get(attributes.mac);
  if (payload[0] !== AF_BRIDGE || destination === undefined || mac === undefined) return undefined;
  const port = found.get(attributes.port)?.readUInt16BE(0);
  return {
    index: payload.readInt32LE(4),
    mac: macText(mac),
    destination: renderAddress(destination),
    ...(port === undefined ? {} : { port }),
  };
}

export function dumpForwarding(socket: NetlinkSocket): NetlinkMessage[] {
  return dump(socket, {
    type: RTM_GETNEIGH,
    payload: neighbourHeader(AF_BRIDGE, 0, 0),
    about: 'list forwarding entries',
  });
}

function macText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/(..)(?=.)/g, '$1:');
}
