/**
 * Whether packets of containers reach a node, told when the node says hello: what it lacks, and whether a NAT stands before it.
 * Pure.
 *
 * Called by dispatcher/serve.ts, dispatcher/tables.ts. Not here: placement, which goes by it (schedule/filters.ts).
 */
import type { Node, NodeDescription } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { parseHostPort } from '../config.js';

/** The description with what only a manager can know. `peer`: where the session comes from; undefined: from this daemon. */
export function judgeTunnel(description: NodeDescription, peer: string | undefined, view: View): NodeDescription {
  const { tunnel } = description;
  if (tunnel === undefined) return description;
  const natAddress = findNat(tunnel.ownAddresses, peer);
  const obstacle = findObstacle({ ...description, tunnel: { ...tunnel, natAddress } }, view);
  return { ...description, tunnel: { ...tunnel, natAddress, obstacle } };
}

/** The address of the session when it is none of the node's own. */
export function findNat(ownAddresses: readonly string[], peer: string | undefined): string | undefined {
  if (peer === undefined || ownAddresses.length === 0) return undefined;
  const address = addressOf(peer);
  return address === '' || isLoopback(address) || ownAddresses.includes(address) ? undefined : address;
}

/** "192.0.2.7:4711", "[2001:db8::7]:4711", "::ffff:192.0.2.7:4711" without the port. */
function addressOf(peer: string): string {
  const host = peer.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return host.replace(/^::ffff:(?=\d+\.)/, '');
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

function findObstacle({ tunnel, addresses, dataAddresses }: NodeDescription, view: View): string | undefined {
  const [cluster] = view.list('cluster');
  const isEncrypted = (cluster?.encryption?.epochs.length ?? 0) > 0;
  if (isEncrypted && tunnel?.means === 'none')
    return 'can’t encrypt: no WireGuard in the kernel, no wireguard-go, or no wg';
  if (tunnel?.natAddress === undefined) return undefined;
  const nat = `behind a NAT (${tunnel.natAddress})`;
  if (isEncrypted) {
    return findRelay(view.list('node')) === undefined
      ? `${nat}, with no manager that could pass packets on`
      : undefined;
  }
  // A data path of its own, through a VPN for instance, may lead past it.
  const hosts = addresses.map(address => parseHostPort(address, 0).host);
  return dataAddresses.every(address => hosts.includes(address))
    ? `${nat}, which only encrypted tunnels pass`
    : undefined;
}

/** The manager that passes packets on between two nodes behind NATs: the first by id that is behind none. */
export function findRelay(nodes: Iterable<Node>): Node | undefined {
  return [...nodes]
    .filter(
      ({ role, status, description }) =>
        role === 'manager' && status.state !== 'left' && description.tunnel?.natAddress === undefined,
    )
    .sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1))[0];
}

/** One that is lost is better than none: it may be this manager itself, a moment after it began to lead. */
function rank(node: Node): number {
  return node.status.state === 'ready' ? 0 : 1;
}
