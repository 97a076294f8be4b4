/**
 * What people ask about the encryption of tunnels: on, off, new keys.
 *
 * Keeps true: a cluster is not encrypted over the heads of tasks on nodes that could not follow.
 *
 * Called by control/cluster.ts and by init. Not here: how it goes on (plan.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Cluster, NodeDescription } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { isEnded } from '../../raft/store.js';

export function withEncryption(
  cluster: Cluster,
  asked: {
    readonly encrypt: boolean | undefined;
    readonly rotateTunnelKeys: boolean | undefined;
    readonly nowMs: number;
    readonly view: View;
  },
): Cluster {
  const { encrypt, rotateTunnelKeys, nowMs, view } = asked;
  let after = cluster;
  if (encrypt !== undefined && encrypt !== (cluster.spec.encrypt === true)) {
    if (encrypt) refuseWithoutMeans([...view.list('node')].filter(node => hasNetworked(view, node.id)));
    after = { ...cluster, spec: { ...cluster.spec, encrypt } };
  }
  if (rotateTunnelKeys !== true) return after;
  if (after.encryption === undefined || after.spec.encrypt !== true) {
    throw new CoveyError('not-encrypted', 'Cannot replace keys of tunnels: they are not encrypted', {
      hint: 'covey cluster update --encrypt=true',
    });
  }
  return { ...after, encryption: { ...after.encryption, askedMs: nowMs } };
}

function hasNetworked(view: View, nodeId: string): boolean {
  return [...view.tasksOfNode(nodeId)].some(task => task.endpoints.length > 0 && !isEnded(task.status.state));
}

export function refuseWithoutMeans(
  nodes: readonly { readonly spec: { readonly name: string }; readonly description: NodeDescription }[],
): void {
  const without = nodes.filter(({ description: { tunnel } }) => tunnel === undefined || tunnel.means === 'none');
  if (without.length === 0) return;
  throw new CoveyError('no-wireguard', 'Cannot encrypt the tunnels between nodes', {
    state: `no WireGuard on ${without.map(({ spec }) => spec.name).join(', ')}: neither in the kernel nor as wireguard-go, or no wg`,
    hint: 'apt-get install wireguard-tools, and modprobe wireguard or apt-get install wireguard-go; then restart coveyd there',
  });
}
