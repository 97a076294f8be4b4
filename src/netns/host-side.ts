/**
 * What covey needs in the namespace of the host: one link to the fabric with a /30, one table of rules, forwarding on the
 * uplinks, and accept rules where the host's firewall drops. All of it is found again, compared, listed and undone.
 *
 * Keeps true: a sysctl that was changed is noted with its former value before it is changed (run directory: a boot forgets
 * both together); forwarding is switched per interface, and where covey did so, the guard lets nothing pass but to the fabric.
 *
 * Not here: the fabric's end of it all (overlay.ts), the text of the rules (nft/).
 */
import { CoveyError } from '../errors.js';
import type { Kernel, NamespaceHandle, NetlinkSocket, NftContext } from '../host.js';
import { deviceHost, linkGroup } from './constants.js';
import { addressOfNumber, isAddressV4, numberOfV4, overlapsV4, parsePrefix } from './ip.js';
import { changeLink, type LinkSeen, listLinks, makeVeth, removeLink } from './netlink/links.js';
import { sendRequests } from './netlink/message.js';
import { type Address, addAddress, listAddresses, listRoutes } from './netlink/routes.js';
import type { HostLink } from './types.js';

/** A sysctl of the host that covey changed. */
export interface SysctlChange {
  readonly name: string;
  readonly before: string;
  readonly after: string;
}

export interface HostSocket {
  readonly kernel: Kernel;
  /** The namespace that stands for the host. */
  readonly namespace: NamespaceHandle | undefined;
  readonly netlink: NetlinkSocket;
  readonly nft: NftContext;
}

const linkPool = { base: numberOfV4('169.254.2.0'), count: 1_024 };

/**
 * A /30 of 169.254.2.0/20 that no address or route of the host touches. The search starts at a place that depends on the
 * prefix, so that two coveys that start at once seldom choose the same.
 */
export function chooseHostLink(prefix: string, taken: readonly string[]): HostLink {
  // 169.254.0.0/16 on an uplink (zeroconf) and a default route cover everything; what is more specific is in use.
  const used = taken.map(parsePrefix).filter(one => isAddressV4(one.address) && one.bits > 16);
  let start = 0;
  for (const character of prefix) start = (start * 31 + character.charCodeAt(0)) % linkPool.count;
  for (let step = 0; step < linkPool.count; step += 1) {
    const base = linkPool.base + ((start + step) % linkPool.count) * 4;
    const candidate = { address: addressOfNumber(base), bits: 30 };
    if (!used.some(one => overlapsV4(one, candidate))) return hostLinkAt(base);
  }
  throw new CoveyError('subnet-conflict', 'Cannot find a free /30 in 169.254.2.0/20 for the link to the fabric');
}

function hostLinkAt(base: number): HostLink {
  return { hostAddress: addressOfNumber(base + 1), fabricAddress: addressOfNumber(base + 2) };
}

export interface EnsuredLink {
  readonly link: HostLink;
  /** The link had to be made. */
  readonly made: boolean;
  /** Its sysctls that had to be set. */
  readonly switched: readonly string[];
}

/** The link with both ends up, made or taken over. Says whether it had to be made. */
export function ensureHostLink(
  { kernel, namespace, netlink }: HostSocket,
  options: {
    readonly prefix: string;
    readonly fabric: NamespaceHandle;
    readonly fabricNetlink: NetlinkSocket;
    readonly mtu: number;
  },
): EnsuredLink {
  const { prefix, fabric, fabricNetlink, mtu } = options;
  const device = `${prefix}0`;
  const addresses = listAddresses(netlink);
  const near = listLinks(netlink).find(link => link.name === device);
  const far = listLinks(fabricNetlink).find(link => link.name === deviceHost);
  const known = near === undefined ? undefined : findLinkAddress(addresses, near);
  if (near !== undefined && far !== undefined && known !== undefined) {
    if (!near.up) sendRequests(netlink, changeLink({ index: near.index, up: true }, `bring up ${device}`));
    return { link: known, made: false, switched: switchHostLink(kernel, namespace, device) };
  }
  if (near !== undefined) {
    if (near.group !== linkGroup) {
      throw new CoveyError(
        'already-exists',
        `Cannot make link ${device}: a link of that name exists and is not covey's`,
        {
          hint: 'give this daemon another prefix (--prefix)',
        },
      );
    }
    sendRequests(netlink, [removeLink(near)]);
  }
  if (far !== undefined) sendRequests(fabricNetlink, [removeLink(far)]);
  const taken = [...addresses.map(one => one.prefix), ...listRoutes(netlink).map(route => route.destination)];
  const link = chooseHostLink(prefix, taken);
  sendRequests(netlink, [
    makeVeth({ near: { name: device, group: linkGroup }, far: { name: deviceHost, namespaceFd: fabric.fd }, mtu }),
  ]);
  const index = indexOf(netlink, device);
  sendRequests(netlink, [addAddress({ index, prefix: `${link.hostAddress}/30` })]);
  return { link, made: true, switched: switchHostLink(kernel, namespace, device) };
}

function findLinkAddress(addresses: readonly Address[], near: LinkSeen): HostLink | undefined {
  const own = addresses.find(one => one.index === near.index && one.prefix.endsWith('/30'));
  return own === undefined ? undefined : hostLinkAt(numberOfV4(own.prefix.replace('/30', '')) - 1);
}

export function indexOf(netlink: NetlinkSocket, device: string): number {
  const link = listLinks(netlink).find(one => one.name === device);
  if (link === undefined) throw new CoveyError('netlink-refused', `Cannot find link ${device} after making it`);
  return link.index;
}

/** Our own link only: what comes from the fabric is forwarded, and 127.0.0.1 may be a client of a published port. */
function switchHostLink(kernel: Kernel, namespace: NamespaceHandle | undefined, device: string): string[] {
  const names = ['forwarding', 'route_localnet'].map(key => `net/ipv4/conf/${device}/${key}`);
  return names.filter(name => {
    if (kernel.readSysctl(namespace, name) === '1') return false;
    kernel.writeSysctl(namespace, name, '1');
    return true;
  });
}

export interface Uplinks {
  /** Where clients may come from. */
  readonly names: readonly string[];
  /** IPv4 addresses of this machine, as clients and containers use them. */
  readonly addresses: readonly string[];
}

/** Links with an address of more than the link itself; neither loopback nor host links of coveys. */
export function readUplinks(netlink: NetlinkSocket): Uplinks {
  const links = listLinks(netlink).filter(link => link.name !== 'lo' && link.group !== linkGroup);
  const found = listAddresses(netlink).flatMap(({ index, prefix }) => {
    const link = links.find(one => one.index === index);
    const address = prefix.split('/')[0] ?? '';
    return link === undefined || address.startsWith('169.254.') || address.startsWith('127.')
      ? []
      : [{ name: link.name, address }];
  });
  return { names: [...new Set(found.map(one => one.name))], addresses: [...new Set(found.map(one => one.address))] };
}

export interface ForwardingPlan {
  readonly switchOn: readonly string[];
  /** Uplinks that forward because covey said so: only to the fabric. */
  readonly guarded: readonly string[];
  readonly changes: readonly SysctlChange[];
}

/**
 * Pure. Where the host forwards already, on that link or altogether, somebody wants it so: nothing is changed or guarded.
 * A change that was noted stays noted, so that leaving undoes it.
 */
export function planForwarding(options: {
  readonly uplinks: readonly string[];
  readonly noted: readonly SysctlChange[];
  readonly read: (name: string) => string | undefined;
}): ForwardingPlan {
  const { uplinks, noted, read } = options;
  const hostForwards = read('net/ipv4/conf/all/forwarding') === '1';
  const isOff = (name: string): boolean => read(forwardingOf(name)) === '0';
  const wasOff = (name: string): boolean => noted.some(change => change.name === forwardingOf(name));
  const switchOn = uplinks.filter(isOff);
  return {
    switchOn,
    guarded: hostForwards ? [] : uplinks.filter(name => isOff(name) || wasOff(name)),
    changes: [
      ...noted,
      ...switchOn.filter(name => !wasOff(name)).map(name => ({ name: forwardingOf(name), before: '0', after: '1' })),
    ],
  };
}

export function forwardingOf(device: string): string {
  return `net/ipv4/conf/${device}/forwarding`;
}

/** Values as before, unless the host forwards altogether by now, or somebody set another value meanwhile. */
export function restoreSysctls(
  { kernel, namespace }: HostSocket,
  noted: readonly SysctlChange[],
): readonly SysctlChange[] {
  if (kernel.readSysctl(namespace, 'net/ipv4/conf/all/forwarding') === '1') return [];
  return noted.filter(change => {
    if (kernel.readSysctl(namespace, change.name) !== change.after) return false;
    kernel.writeSysctl(namespace, change.name, change.before);
    return true;
  });
}
