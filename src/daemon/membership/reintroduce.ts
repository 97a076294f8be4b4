/**
 * `covey join` with a token of this very node (covey token node): a new key and certificate for a node that is there, after its
 * own ended long ago or the cluster's root was replaced while it was away. It stays the node that it is; its tasks run on.
 *
 * Keeps true: key and request id are on disk before they are used, so that asking again gives the same; the old identity stays
 * until the new one is there.
 *
 * Called by the Local service. Not here: a machine without a membership (join.ts, which such a token serves too), the manager's
 * half (ca/reintroduce.ts).
 */
import { CoveyError } from '../../errors.js';
import type { JoinClusterRequest, JoinClusterResponse, ManagerAddress } from '../../gen/types.js';
import type { NodeIdentity } from '../ca/identity.js';
import { parseToken } from '../ca/token.js';
import { saveFirstManagers, withReached } from '../session/memory.js';
import { dropAttempt, type MembershipFiles, saveIdentity } from './files.js';
import { askForIdentity, type JoinOptions } from './join.js';
import type { Member } from './types.js';

export interface KnownAnew {
  readonly identity: NodeIdentity;
  readonly managers: readonly ManagerAddress[];
}

export interface Reintroduction {
  /** The node's parts go on with the identity; undefined: nothing of them runs. */
  readonly adopt?: ((known: KnownAnew, signal: AbortSignal) => Promise<void>) | undefined;
}

export async function reintroduce(
  options: JoinOptions & Reintroduction,
  { member, request }: { readonly member: Member; readonly request: JoinClusterRequest },
  signal: AbortSignal,
): Promise<JoinClusterResponse> {
  const place: MembershipFiles = { files: options.host.files, dataDir: options.dataDir, keys: options.keys };
  const { membership } = member;
  const wanted = { ...request, name: membership.nodeName, advertiseAddress: membership.advertiseAddress };
  const { answer, identity, at, root } = await askForIdentity(
    options,
    { place, token: parseToken(request.token), request: wanted, nodeId: membership.nodeId },
    signal,
  );
  if (identity.nodeId !== membership.nodeId || identity.clusterId !== membership.clusterId) {
    throw new CoveyError('wrong-ca', 'Cannot use the certificate that the manager gave', {
      state: `it is for node ${identity.nodeId} of cluster ${identity.clusterId}`,
    });
  }
  await saveIdentity(place, identity);
  const managers = withReached(answer.managers, { nodeId: root.nodeId, address: at });
  await saveFirstManagers({ ...place, wire: options.wire }, managers);
  await dropAttempt(place);
  await options.adopt?.({ identity, managers }, signal);
  options.log.info('came back', { cluster: membership.clusterId, node: membership.nodeName });
  return { ...membership, role: answer.role };
}
