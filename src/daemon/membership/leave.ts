/**
 * `covey leave`: the node's object goes from the store first (other nodes stop sending traffic to it), then its containers
 * stop, then everything of covey on this host goes, then its state on disk.
 *
 * Keeps true: without force nothing is touched before a manager has let the node go; the only manager leaves with force only,
 * because the cluster goes with it. Images and volumes stay on disk.
 *
 * Called by the Local service.
 *
 * Not here: the manager's half (ca/issue.ts), undoing changes on the host (netns, tasks; handed in as `stop`).
 */
import { CoveyError } from '../../errors.js';
import type { LeaveClusterRequest, LeaveClusterResponse } from '../../gen/types.js';
import type { NodeIdentity } from '../ca/identity.js';
import { connectToManager } from '../rpc/client.js';
import { removeMembership } from './files.js';
import type { Dismantle, MembershipOptions } from './types.js';

export interface LeaveOptions extends MembershipOptions, Dismantle {
  readonly identity: NodeIdentity;
  /** Managers other than this node, the leader first. */
  readonly otherManagers: () => readonly { readonly address: string; readonly nodeId: string }[];
}

const connectMs = 2_000;
const callMs = 10_000;

export async function leaveCluster(
  options: LeaveOptions,
  request: LeaveClusterRequest,
  signal: AbortSignal,
): Promise<LeaveClusterResponse> {
  const managers = options.otherManagers();
  if (options.identity.role === 'manager' && managers.length === 0) {
    if (!request.force) {
      throw new CoveyError('last-manager', 'Cannot leave the cluster', {
        state: 'this is its only manager; services, secrets and the certificate authority would be gone',
        hint: 'covey leave --force',
      });
    }
  } else {
    await releaseMembership(options, { managers, force: request.force, signal });
  }
  const tasksStopped = await options.stopTasks(signal);
  const undone = await options.stop();
  await removeMembership({ files: options.host.files, dataDir: options.dataDir });
  options.log.info('left the cluster', { tasksStopped });
  return { tasksStopped, undone };
}

async function releaseMembership(
  options: LeaveOptions,
  release: {
    readonly managers: readonly { readonly address: string; readonly nodeId: string }[];
    readonly force: boolean;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  let failure: unknown = new CoveyError('no-connection', 'Cannot reach a manager', {
    state: 'no address of one is known',
  });
  for (const manager of release.managers) {
    try {
      await askToLeave(options, { identity: options.identity, manager, signal: release.signal });
      return;
    } catch (error) {
      if (error instanceof CoveyError && error.code === 'node-removed') return;
      failure = error;
    }
  }
  if (!release.force)
    throw new CoveyError('no-connection', 'Cannot leave the cluster', { cause: failure, hint: 'covey leave --force' });
  options.log.warn('left without telling a manager', { error: failure });
}

/** Tells a manager that the node of this identity goes. */
export async function askToLeave(
  options: Pick<MembershipOptions, 'wire' | 'host'>,
  asking: {
    readonly identity: NodeIdentity;
    readonly manager: { readonly address: string; readonly nodeId: string };
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { identity, manager, signal } = asking;
  await using client = await connectToManager({
    ...manager,
    clusterId: identity.clusterId,
    root: identity.root,
    client: identity,
    wire: options.wire,
    clock: options.host.clock,
    timeoutMs: connectMs,
    signal,
  });
  await client.calls('Ca').leave({}, { timeoutMs: callMs, signal });
}
