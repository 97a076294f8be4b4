/**
 * Forgetting connections: entries of conntrack whose backend is gone, so that the next packet of the client chooses anew (TCP
 * gets a reset by it at once, a UDP flow moves), and entries that were made before a port was published.
 *
 * The kernel looks for the entries (CTA_FILTER, since 5.8), each is then deleted by its own tuple.
 *
 * Not here: which backends are gone (apply.ts).
 */
import type { NetlinkSocket } from '../host.js';
import { parseAddress } from './ip.js';
import {
  attribute,
  dump,
  errnos,
  type NetlinkRequest,
  nested,
  readAttributes,
  sendRequests,
  u8,
  u16be,
  u32,
} from './netlink/message.js';

export interface FlowFilter {
  /** Address that answers: the backend behind a translation. */
  readonly replySource?: string;
  readonly protocol?: 'tcp' | 'udp';
  /** Port as the client asked for it. */
  readonly port?: number;
}

const CT_GET = (1 << 8) | 1;
const CT_DELETE = (1 << 8) | 2;
const AF_INET = 2;
const attributes = { original: 1, reply: 2, id: 12, zone: 18, filter: 25 };
const tuple = { ip: 1, protocol: 2 };
const ipSource = 1;
const protocolAttributes = { number: 1, destinationPort: 3 };
const filterAttributes = { original: 1, reply: 2 };
const filterFlags = { ipSource: 1, protocolNumber: 8, destinationPort: 32 };
const protocolNumbers = { tcp: 6, udp: 17 };

/** Deletes what fits; returns how many entries that were. */
export function forgetFlows(socket: NetlinkSocket, filter: FlowFilter): number {
  const found = dump(socket, { type: CT_GET, payload: encodeFilter(filter), about: 'list tracked connections' });
  const requests = found.flatMap(message => encodeDelete(message.payload) ?? []);
  sendRequests(socket, requests);
  return requests.length;
}

/** From so many addresses on, one look at all entries costs less than one look through the table for each address. */
const severalMin = 4;

/** Deletes the entries that any of the addresses answers; returns how many. */
export function forgetFlowsOf(
  socket: NetlinkSocket,
  { replySources, protocol }: { readonly replySources: readonly string[]; readonly protocol?: 'udp' },
): number {
  const only = protocol === undefined ? {} : { protocol };
  if (replySources.length < severalMin) {
    return replySources.reduce((sum, replySource) => sum + forgetFlows(socket, { ...only, replySource }), 0);
  }
  const wanted = new Set(replySources.map(address => parseAddress(address).toString('hex')));
  const payload = protocol === undefined ? Buffer.from([AF_INET, 0, 0, 0]) : encodeFilter(only);
  const found = dump(socket, { type: CT_GET, payload, about: 'list tracked connections' });
  const requests = found
    .filter(message => wanted.has(replySourceOf(message.payload)))
    .flatMap(message => encodeDelete(message.payload) ?? []);
  sendRequests(socket, requests);
  return requests.length;
}

/** Address that answers, as hexadecimal; empty when the entry does not say. */
function replySourceOf(payload: Buffer): string {
  const reply = readAttributes(payload, 4).get(attributes.reply);
  const addresses = reply === undefined ? undefined : readAttributes(reply, 0).get(tuple.ip);
  const source = addresses === undefined ? undefined : readAttributes(addresses, 0).get(ipSource);
  return source?.toString('hex') ?? '';
}

function encodeFilter({ replySource, protocol, port }: FlowFilter): Buffer {
  const original: Buffer[] = [];
  let originalFlags = 0;
  if (protocol !== undefined) {
    const parts = [attribute(protocolAttributes.number, u8(protocolNumbers[protocol]))];
    originalFlags |= filterFlags.protocolNumber;
    if (port !== undefined) {
      parts.push(attribute(protocolAttributes.destinationPort, u16be(port)));
      originalFlags |= filterFlags.destinationPort;
    }
    original.push(nested(tuple.protocol, ...parts));
  }
  const reply = replySource === undefined ? [] : [nested(tuple.ip, attribute(ipSource, parseAddress(replySource)))];
  return Buffer.concat([
    Buffer.from([AF_INET, 0, 0, 0]),
    ...(original.length === 0 ? [] : [nested(attributes.original, ...original)]),
    ...(reply.length === 0 ? [] : [nested(attributes.reply, ...reply)]),
    nested(
      attributes.filter,
      attribute(filterAttributes.original, u32(originalFlags)),
      attribute(filterAttributes.reply, u32(reply.length === 0 ? 0 : filterFlags.ipSource)),
    ),
  ]);
}

/** By the very attributes that the kernel gave: tuple with its zone, and id, so that no later entry is hit. */
function encodeDelete(payload: Buffer): NetlinkRequest | undefined {
  const found = readAttributes(payload, 4);
  const original = found.get(attributes.original);
  if (original === undefined) return undefined;
  const zone = found.get(attributes.zone);
  const id = found.get(attributes.id);
  return {
    type: CT_DELETE,
    flags: 0,
    payload: Buffer.concat([
      payload.subarray(0, 4),
      nested(attributes.original, original),
      ...(zone === undefined ? [] : [attribute(attributes.zone, zone)]),
      ...(id === undefined ? [] : [attribute(attributes.id, id)]),
    ]),
    about: 'forget a tracked connection',
    harmless: [errnos.noEntry],
  };
}
