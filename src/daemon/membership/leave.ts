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
import { asCoveyError, CoveyError, codeOf, type ErrorCode } from '../../errors.js';
import type { LeaveClusterRequest, LeaveClusterResponse } from '../../gen/types.js';
import type { NodeIdentity } from '../ca/identity.js';
import { connectToManager } from '../rpc/client.js';
import { removeMembership } from './files.js';
import type { Dismantle, MembershipOptions } from './types.js';

export interface LeaveOptions extends MembershipOptions, Dismantle {
  readonly identity: NodeIdentity;
  /** Managers other than this node, the leader first. */
  readonly otherManagers: () => readonly { readonly address: string; readonly nodeId: string }[];
  /** Gives leadership away: another manager has to let this one go. */
  readonly handOver: (signal: AbortSignal) => Promise<void>;
}

const connectMs = 2_000;
/** Longer than the group may take to let a manager go. */
const callMs = 40_000;
const leaderWithinMs = 6_000;
const againMs = 100;

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
    await options.handOver(signal);
    await releaseMembership(options, { force: request.force, signal });
  }
  const tasksStopped = await options.stopTasks(signal);
  const undone = await options.stop();
  await removeMembership({ files: options.host.files, dataDir: options.dataDir, keys: options.keys });
  options.log.info('left the cluster', { tasksStopped });
  return { tasksStopped, undone };
}

async function releaseMembership(
  options: LeaveOptions,
  release: { readonly force: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const { clock } = options.host;
  const endMs = clock.monotonicMs() + leaderWithinMs;
  for (;;) {
    const failure = await askAll(options, release.signal);
    if (failure === undefined) return;
    const isAgain = electing.has(codeOf(failure)) && clock.monotonicMs() < endMs;
    if (isAgain) {
      await clock.sleep(againMs, release.signal);
      continue;
    }
    if (release.force) {
      options.log.warn('left without telling a manager', { error: failure });
      return;
    }
    // What a manager said is the reason; that none could be asked is another.
    if (!unreached.has(codeOf(failure))) throw failure;
    throw new CoveyError('no-connection', 'Cannot leave the cluster', {
      cause: failure,
      hint: 'covey leave --force',
    });
  }
}

/** Who leads next is being decided: worth asking again. */
const electing: ReadonlySet<ErrorCode> = new Set(['not-leader', 'no-leader', 'unknown-outcome']);
const unreached: ReadonlySet<ErrorCode> = new Set([...electing, 'no-connection', 'timeout']);

/** Undefined when a manager let this node go. */
async function askAll(options: LeaveOptions, signal: AbortSignal): Promise<Error | undefined> {
  let failure = new CoveyError('no-connection', 'Cannot reach a manager', { state: 'no address of one is known' });
  for (const manager of options.otherManagers()) {
    try {
      await askToLeave(options, { identity: options.identity, manager, signal });
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      if (codeOf(error) === 'node-removed') return undefined;
      // What the leader says counts; the other managers would ask it again, and each could wait as long as it did.
      if (!electing.has(codeOf(error)) && codeOf(error) !== 'no-connection') return asCoveyError(error);
      if (codeOf(failure) === 'no-connection') failure = asCoveyError(error);
    }
  }
  return failure;
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
