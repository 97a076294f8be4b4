/**
 * The Control service: what people ask of the cluster, as functions over the store. Every request is validated, names are
 * resolved to ids, and each change is one transaction whose principal is the caller.
 *
 * Called by the local server (daemon/rpc). Not here: who may call (the role table of daemon/rpc), join tokens (daemon/ca), the
 * relay of exec and logs (daemon/bulk).
 */
import { addressHandlers } from './control/addresses.js';
import { updateClusterOf } from './control/cluster.js';
import { updateNetworkOf } from './control/network-update.js';
import { networkHandlers } from './control/networks.js';
import { nodeHandlers } from './control/nodes.js';
import type { ControlHandlers, Parts } from './control/parts.js';
import { setNetworkPolicyOf } from './control/policy.js';
import { rebalanceOf } from './control/rebalance.js';
import { restartTasksOf } from './control/restart-tasks.js';
import { serviceHandlers } from './control/services.js';
import { stackHandlers } from './control/stacks.js';
import { watchStore } from './control/watch.js';
import { lockHandlers } from './keys/control.js';

export interface ControlParts extends Parts {
  /** Made by daemon/ca. */
  readonly tokens: Pick<ControlHandlers, 'createJoinToken' | 'listJoinTokens' | 'removeJoinToken'>;
  readonly roots: Pick<ControlHandlers, 'getRootStatus' | 'rotateRoot'>;
  /** Made by daemon/bulk. */
  readonly bulk: Pick<
    ControlHandlers,
    'exec' | 'attach' | 'copy' | 'logs' | 'capture' | 'stats' | 'askVolumes' | 'runTaskVerb'
  >;
}

export function makeControl(parts: ControlParts): ControlHandlers {
  const { tokens, roots, bulk } = parts;
  return {
    ...nodeHandlers(parts),
    updateCluster: updateClusterOf(parts),
    ...serviceHandlers(parts),
    ...networkHandlers(parts),
    ...addressHandlers(parts),
    setNetworkPolicy: setNetworkPolicyOf(parts),
    updateNetwork: updateNetworkOf(parts),
    ...stackHandlers(parts),
    ...lockHandlers(parts),
    createJoinToken: tokens.createJoinToken,
    listJoinTokens: tokens.listJoinTokens,
    removeJoinToken: tokens.removeJoinToken,
    getRootStatus: roots.getRootStatus,
    rotateRoot: roots.rotateRoot,
    watch: (request, { signal }) => watchStore(parts.store, request, { signal }),
    exec: bulk.exec,
    attach: bulk.attach,
    copy: bulk.copy,
    logs: bulk.logs,
    capture: bulk.capture,
    stats: bulk.stats,
    askVolumes: bulk.askVolumes,
    runTaskVerb: bulk.runTaskVerb,
    restartTasks: restartTasksOf(parts),
    rebalance: rebalanceOf(parts),
  };
}
