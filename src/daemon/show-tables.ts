/**
 * Tables of the managers on their way to the network of this node: its own row says which tunnel addresses it has, so that comes
 * first; and when keys of its tunnels were made or replaced by them, the managers have to be told.
 *
 * Called by the session. Not here: what the tables mean (netns/).
 */
import type { TableItem } from '../gen/types.js';
import { type NetworkStack, vnisOf } from '../netns/index.js';
import type { Membership } from './membership/index.js';

export async function showTables(
  node: {
    readonly membership: Membership;
    readonly network: NetworkStack;
    readonly tellAgain: () => void;
  },
  items: ReadonlyMap<string, TableItem>,
  signal: AbortSignal,
): Promise<void> {
  const { membership, network } = node;
  const own = items.get(`node/${membership.nodeId}`)?.value;
  if (own?.kind === 'node') {
    const { overlay, ingress } = vnisOf(membership.clusterId);
    await network.configure({
      nodeId: membership.nodeId,
      tunnelIndex: own.tunnelIndex,
      dataAddress: own.dataAddresses[0] ?? '',
      dataPort: own.dataPort,
      vniOverlay: overlay,
      vniIngress: ingress,
    });
  }
  const before = JSON.stringify(network.tunnelFacts());
  await network.applyTables(items, signal);
  if (JSON.stringify(network.tunnelFacts()) !== before) node.tellAgain();
}
