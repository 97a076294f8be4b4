/**
 * Whether the kernel can make links of a kind: one is made, down and without a socket, and removed. For `doctor`.
 */
import { CoveyError } from '../errors.js';
import type { NodeTunnel } from '../gen/types.js';
import type { Kernel, NamespaceHandle } from '../host.js';
import { listLinks, makeVxlan, makeWireguard, removeLink } from './netlink/links.js';
import { type NetlinkRequest, sendRequests } from './netlink/message.js';

const probeName = 'covey-try';
const probeVni = 0xfffffe;
const probePort = 7378;

/** Throws what the kernel says when it can't. */
export function tryLink(kernel: Kernel, kind: 'vxlan' | 'wireguard', namespace?: NamespaceHandle): void {
  using netlink = kernel.openNetlink(namespace);
  const remove = (): void =>
    sendRequests(
      netlink,
      listLinks(netlink)
        .filter(link => link.name === probeName)
        .map(removeLink),
    );
  remove();
  const mac = '02:c0:00:00:00:00';
  const request: NetlinkRequest =
    kind === 'vxlan'
      ? makeVxlan({ name: probeName, vni: probeVni, local: '127.0.0.1', port: probePort, mac, mtu: 1_450 })
      : makeWireguard(probeName);
  try {
    sendRequests(netlink, [request]);
  } finally {
    remove();
  }
}

/** The same for what this node can use: a program stands in for a kernel without WireGuard, and neither is of use without `wg`. */
export function tryMeans(
  kernel: Kernel,
  kind: 'vxlan' | 'wireguard',
  network: { readonly tunnelFacts: () => Pick<NodeTunnel, 'means'> },
): void {
  if (kind === 'wireguard' && network.tunnelFacts().means !== 'none') return;
  tryLink(kernel, kind);
  if (kind === 'wireguard') throw new CoveyError('no-wireguard', 'the tool wg is not installed');
}
