/**
 * A task's namespace and its link: made in two batches of rtnetlink and without a look back, because index, MAC and name are
 * chosen beforehand (p50 1.3 ms on a busy machine; as seven calls of ip(8) it is 15 ms).
 *
 * The resolver answers on 127.0.0.11 as well as on the gateway's address. Three ways were measured, per task: translation rules
 * in its namespace (0.55 ms, and conntrack there), two sockets in its namespace (0.17 ms, two descriptors, and a container that
 * serves DNS itself can't bind port 53 any more), and what is done (0.07 ms, and neither): one more specific route in the table
 * `local` sends the address out by eth0, where the fabric's loopback owns it; route_localnet, on eth0 alone, lets the answer in.
 *
 * Not here: routes and neighbours towards the task in the fabric beyond the first time (wanted.ts compares them).
 */
import { CoveyError, errnoOf } from '../errors.js';
import type { Kernel, NamespaceHandle, NetlinkSocket } from '../host.js';
import { type Attachment, addressesOf } from './attachment.js';
import { containerLinkIndex, deviceContainer, gatewayAddress, gatewayMac, resolverAlias } from './constants.js';
import { changeLink, inetSwitches, type LinkSeen, listLinks, makeVeth, removeLink } from './netlink/links.js';
import { type NetlinkRequest, sendRequests } from './netlink/message.js';
import { setNeighbour } from './netlink/neighbours.js';
import { addAddress, localTable, mainTable, setRoute } from './netlink/routes.js';

export interface LinkFabric {
  readonly netlink: NetlinkSocket;
  /** Index for a new link. */
  readonly nextIndex: () => number;
}

const loopbackIndex = 1;

/** In the fabric: the pair, and the way to its addresses. */
function nearRequests(attachment: Attachment, index: number, namespaceFd: number): NetlinkRequest[] {
  const { device, mac, mtu } = attachment;
  return [
    makeVeth({
      near: { name: device, index, mac: gatewayMac },
      far: { name: deviceContainer, index: containerLinkIndex, mac, namespaceFd },
      mtu,
    }),
    ...addressesOf(attachment).flatMap(address => [
      setRoute({ destination: `${address}/32`, table: mainTable, kind: 'unicast', index }),
      setNeighbour({ index, address, mac }),
    ]),
  ];
}

/** In the task's namespace. */
function farRequests(attachment: Attachment): NetlinkRequest[] {
  const index = containerLinkIndex;
  const [source, ...more] = addressesOf(attachment);
  const route = { table: mainTable, kind: 'unicast', index, via: gatewayAddress } as const;
  return [
    ...changeLink({ index: loopbackIndex, up: true }, 'bring up lo'),
    ...changeLink(
      { index, up: true, inet: new Map([[inetSwitches.routeLocalnet, 1]]), quietV6: true },
      `bring up ${deviceContainer}`,
    ),
    ...[source ?? '', ...more].map(address => addAddress({ index, prefix: `${address}/32` })),
    setNeighbour({ index, address: gatewayAddress, mac: gatewayMac }),
    setRoute({ destination: `${gatewayAddress}/32`, table: mainTable, kind: 'unicast', index }),
    setRoute({ ...route, destination: '0.0.0.0/0', source }),
    ...attachment.sources.map(one => setRoute({ ...route, destination: one.subnet, source: one.source })),
    setRoute({ ...route, destination: `${resolverAlias}/32`, table: localTable, source }),
  ];
}

/** A namespace pinned at `path` with all in it; nothing stays when a step fails. */
export function makeTaskNamespace(
  kernel: Kernel,
  fabric: LinkFabric | undefined,
  options: { readonly path: string; readonly attachment: Attachment },
): void {
  const namespace = kernel.makeNetworkNamespace(options.path);
  try {
    connectNamespace(kernel, fabric, { namespace, attachment: options.attachment });
  } catch (error) {
    kernel.removeNamespace(options.path);
    throw error;
  } finally {
    kernel.closeNamespace(namespace);
  }
}

/** Link, addresses and routes for a namespace that has none: a new one, or one whose link somebody deleted. */
export function connectNamespace(
  kernel: Kernel,
  fabric: LinkFabric | undefined,
  options: { readonly namespace: NamespaceHandle; readonly attachment: Attachment },
): void {
  const { namespace, attachment } = options;
  using inside = kernel.openNetlink(namespace);
  if (attachment.kind === 'none' || fabric === undefined) {
    sendRequests(inside, changeLink({ index: loopbackIndex, up: true }, 'bring up lo'));
    return;
  }
  try {
    sendRequests(fabric.netlink, nearRequests(attachment, fabric.nextIndex(), namespace.fd));
  } catch (error) {
    if (!(error instanceof CoveyError && errnoOf(error.cause) === 'EEXIST')) throw error;
    // The same task was detached a moment ago, and its namespace has not ended yet.
    sendRequests(fabric.netlink, listLinks(fabric.netlink).filter(isOf(attachment)).map(removeLink));
    sendRequests(fabric.netlink, nearRequests(attachment, fabric.nextIndex(), namespace.fd));
  }
  sendRequests(inside, farRequests(attachment));
}

function isOf({ device }: Attachment): (link: LinkSeen) => boolean {
  return link => link.name === device;
}
