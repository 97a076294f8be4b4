/**
 * The fabric of a node: a namespace that owns tunnels, container links, routes and rules, so that the host's firewall does not
 * see traffic between containers; and its two VXLAN devices, with static entries and UDP sockets in the host's namespace.
 *
 * Not here: the link to the host (host-side.ts), what goes into it all (wanted.ts).
 */
import { CoveyError, errnoOf } from '../errors.js';
import type { Kernel, NamespaceHandle, NetlinkNews, NetlinkSocket, NftContext } from '../host.js';
import {
  deviceHost,
  deviceIngress,
  deviceOverlay,
  gatewayAddress,
  halfClosedSeconds,
  mtuMin,
  tunnelMac,
  tunnelOverheadBytes,
} from './constants.js';
import { isAddressV4 } from './ip.js';
import { changeLink, inetSwitches, type LinkSeen, listLinks, makeVxlan, removeLink } from './netlink/links.js';
import { sendRequests } from './netlink/message.js';
import { addAddress, findLinkOf, findRouteTo } from './netlink/routes.js';
import { fabricGroups } from './news.js';
import type { NetworkIdentity } from './types.js';
import { secureDevices, secureOverheadBytes } from './wireguard.js';

/** The sockets of the fabric; all of them hold it alive until they are closed. */
export interface Fabric extends Disposable {
  readonly namespace: NamespaceHandle;
  readonly netlink: NetlinkSocket;
  readonly netfilter: NetlinkSocket;
  readonly nft: NftContext;
  /** Of links, addresses, routes, rules and neighbours. */
  readonly news: NetlinkNews;
}

/**
 * In the fabric's own namespace `all.*` is ours to set. Links of containers are born with the defaults: sources are checked
 * against the routes (a container can't forge an address), and 127.0.0.11 may be asked for.
 */
const fabricSysctls: Readonly<Record<string, string>> = {
  'net.ipv4.ip_forward': '1',
  'net.ipv4.conf.all.rp_filter': '0',
  'net.ipv4.conf.default.rp_filter': '1',
  'net.ipv4.conf.default.route_localnet': '1',
  'net.ipv4.conf.all.send_redirects': '0',
  'net.ipv4.conf.default.send_redirects': '0',
  'net.ipv6.conf.all.disable_ipv6': '1',
  'net.ipv6.conf.default.disable_ipv6': '1',
  'net.netfilter.nf_conntrack_tcp_be_liberal': '1',
  // Whoever is refused is told, each time, and not once a second; the limit of the whole machine stays.
  'net.ipv4.icmp_ratelimit': '0',
  // A connection whose client has said all and waits for the answer: by default forgotten after a minute of silence.
  'net.netfilter.nf_conntrack_tcp_timeout_close_wait': String(halfClosedSeconds),
};

/** undefined when none is pinned there. */
export function findFabric(kernel: Kernel, path: string): Fabric | undefined {
  try {
    return openFabric(kernel, kernel.openNamespace(path));
  } catch (error) {
    if (error instanceof CoveyError && error.code === 'not-found') return undefined;
    throw error;
  }
}

export function makeFabric(kernel: Kernel, path: string): Fabric {
  // A file of a run before, with nothing pinned.
  kernel.removeNamespace(path);
  const fabric = openFabric(kernel, kernel.makeNetworkNamespace(path));
  sendRequests(fabric.netlink, [
    ...changeLink({ index: 1, up: true }, 'bring up lo of the fabric'),
    addAddress({ index: 1, prefix: `${gatewayAddress}/32` }),
  ]);
  return fabric;
}

function openFabric(kernel: Kernel, namespace: NamespaceHandle): Fabric {
  const netlink = kernel.openNetlink(namespace);
  const netfilter = kernel.openNetlink(namespace, 'netfilter');
  const nft = kernel.openNft(namespace);
  const news = kernel.followNetlink(namespace, fabricGroups);
  return {
    namespace,
    netlink,
    netfilter,
    nft,
    news,
    [Symbol.dispose]: () => {
      news[Symbol.dispose]();
      netlink[Symbol.dispose]();
      netfilter[Symbol.dispose]();
      nft[Symbol.dispose]();
      kernel.closeNamespace(namespace);
    },
  };
}

/** Names of switches that had to be set. What a kernel does not have is left. */
export function ensureFabricSysctls(kernel: Kernel, namespace: NamespaceHandle): string[] {
  return Object.entries(fabricSysctls).flatMap(([name, value]) => {
    const now = kernel.readSysctl(namespace, name);
    if (now === undefined || now === value) return [];
    kernel.writeSysctl(namespace, name, value);
    return [name];
  });
}

/** Links of the fabric on which any source may come in; called when they were made. */
export function openFabricLink(fabric: Fabric, link: Pick<LinkSeen, 'index' | 'name'>): void {
  sendRequests(
    fabric.netlink,
    changeLink(
      { index: link.index, up: true, inet: new Map([[inetSwitches.rpFilter, 0]]) },
      `bring up ${link.name} of the fabric`,
    ),
  );
}

/** Where the packets of the tunnels go: out of the host, or out of the fabric into WireGuard. */
export interface Underlay {
  readonly netlink: NetlinkSocket;
  readonly local: string | undefined;
  readonly port: number;
}

/** Both tunnel devices as the identity says. Says which had to be made. */
export function ensureTunnels(
  fabric: Fabric,
  options: { readonly underlay: Underlay; readonly identity: NetworkIdentity; readonly mtu: number },
): string[] {
  const { underlay, identity, mtu } = options;
  const { local, port } = underlay;
  const seen = listLinks(fabric.netlink);
  const mac = tunnelMac(identity.tunnelIndex);
  const made: string[] = [];
  for (const [name, vni] of [
    [deviceOverlay, identity.vniOverlay],
    [deviceIngress, identity.vniIngress],
  ] as const) {
    const there = seen.find(link => link.name === name);
    if (there?.mac === mac && there.vxlan?.vni === vni && there.vxlan.local === local && there.vxlan.port === port) {
      if (there.mtu !== mtu || !there.up) {
        sendRequests(fabric.netlink, changeLink({ index: there.index, up: true, mtu }, `set the MTU of ${name}`));
      }
      continue;
    }
    if (there !== undefined) sendRequests(fabric.netlink, [removeLink(there)]);
    sendRequests(underlay.netlink, [makeVxlan({ name, vni, local, port, mac, mtu, namespaceFd: fabric.namespace.fd })]);
    const link = listLinks(fabric.netlink).find(one => one.name === name);
    if (link === undefined) throw new CoveyError('netlink-refused', `Cannot find VXLAN device ${name} after making it`);
    bringUpTunnel(fabric, link, port);
    made.push(name);
  }
  return made;
}

function bringUpTunnel(fabric: Fabric, link: LinkSeen, port: number): void {
  try {
    openFabricLink(fabric, link);
  } catch (error) {
    sendRequests(fabric.netlink, [removeLink(link)]);
    if (!(error instanceof CoveyError && errnoOf(error.cause) === 'EADDRINUSE')) throw error;
    throw new CoveyError('port-in-use', `Cannot open the data path: UDP port ${port} of this host is in use`, {
      hint: 'give the cluster another port (--data-path-port)',
      cause: error,
    });
  }
}

/** What fits into a packet to other nodes: the smallest MTU of the link with the data address and of the routes to them. */
export function readUnderlayMtu(
  hostNetlink: NetlinkSocket,
  options: { readonly local: string; readonly peers: readonly string[] },
): number {
  const links = listLinks(hostNetlink);
  const mtuOf = (index: number | undefined): number => links.find(link => link.index === index)?.mtu ?? mtuDefault;
  const candidates = [mtuOf(findLinkOf(hostNetlink, options.local))];
  for (const peer of options.peers.slice(0, peersProbedMax)) {
    const route = findRouteTo(hostNetlink, peer);
    if (route !== undefined) candidates.push(route.mtu > 0 ? route.mtu : mtuOf(route.index));
  }
  // Loopback has 65,536: a data address on it says nothing about the way to other nodes.
  const underlay = Math.min(...candidates.filter(mtu => mtu < 65_536), 65_535);
  return underlay === 65_535 ? mtuDefault : underlay;
}

/** What fits into the tunnel. */
export function tunnelMtu(underlayMtu: number, isSecure: boolean, dataAddress: string): number {
  const outer = isAddressV4(dataAddress) ? tunnelOverheadBytes.v4 : tunnelOverheadBytes.v6;
  const overhead = isSecure ? secureOverheadBytes + tunnelOverheadBytes.v4 : outer;
  return Math.max(mtuMin, underlayMtu - overhead);
}

const mtuDefault = 1_500;
const peersProbedMax = 64;

/** The devices whose removal ends the tunnels at once; the namespace itself ends with its last user. */
export function removeTunnels(fabric: Fabric): void {
  const names = [deviceOverlay, deviceIngress, deviceHost, ...secureDevices];
  sendRequests(
    fabric.netlink,
    listLinks(fabric.netlink)
      .filter(link => names.includes(link.name))
      .map(removeLink),
  );
}
