/**
 * Where the host has addresses and routes of its own: what managers must not lay a network over.
 *
 * Called by plane.ts. Not here: what is made of it (daemon/allocate/clashes.ts).
 */
import type { NodeRoute } from '../gen/types.js';
import type { NetlinkSocket } from '../host.js';
import { linkGroup } from './constants.js';
import { addressOfNumber, isAddressV4, numberOfV4, parsePrefix } from './ip.js';
import { type LinkSeen, listLinks } from './netlink/links.js';
import { type Address, listAddresses, listRoutes, type RouteSeen } from './netlink/routes.js';

const routesMax = 64;

export function readHostRoutes(socket: NetlinkSocket): readonly NodeRoute[] {
  return planHostRoutes({ links: listLinks(socket), addresses: listAddresses(socket), routes: listRoutes(socket) });
}

/** Pure. Neither loopback, link-local addresses and links of coveys, nor default routes; the shortest prefixes first. */
export function planHostRoutes(seen: {
  readonly links: readonly LinkSeen[];
  readonly addresses: readonly Address[];
  readonly routes: readonly Pick<RouteSeen, 'destination' | 'index'>[];
}): readonly NodeRoute[] {
  const names = new Map(
    seen.links.filter(link => link.name !== 'lo' && link.group !== linkGroup).map(link => [link.index, link.name]),
  );
  const found = new Map<string, NodeRoute>();
  const all = [
    ...seen.addresses.map(({ prefix, index }) => ({ prefix, index })),
    ...seen.routes.map(({ destination, index }) => ({ prefix: destination, index })),
  ];
  for (const { prefix: text, index } of all) {
    const device = names.get(index);
    const { address, bits } = parsePrefix(text);
    if (device === undefined || bits === 0 || !isAddressV4(address) || address.startsWith('169.254.')) continue;
    const prefix = `${addressOfNumber(baseOf(numberOfV4(address), bits))}/${bits}`;
    if (!found.has(prefix)) found.set(prefix, { prefix, device });
  }
  const bitsOf = ({ prefix }: NodeRoute): number => parsePrefix(prefix).bits;
  return [...found.values()]
    .sort((a, b) => bitsOf(a) - bitsOf(b) || (a.prefix < b.prefix ? -1 : 1))
    .slice(0, routesMax);
}

function baseOf(address: number, bits: number): number {
  const size = 2 ** (32 - bits);
  return address - (address % size);
}
