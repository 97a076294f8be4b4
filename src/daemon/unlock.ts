/**
 * `covey unlock` in the daemon: the key opens what is on disk, then the node is begun anew as the manager that it is.
 *
 * Keeps true: a wrong key changes nothing; what was unlocked goes on whether or not somebody still waits for it; the containers
 * run on.
 *
 * Called by local.ts. Not here: what the key opens (keys/).
 */
import { CoveyError } from '../errors.js';
import type { UnlockRequest, UnlockResponse } from '../gen/types.js';
import type { Clock } from '../host.js';
import { deadline } from '../lifetime.js';
import type { KeyKeeper } from './keys/index.js';
import type { MemberNode } from './member-node.js';
import type { Member, MembershipFlows } from './membership/index.js';

export interface UnlockParts {
  readonly keys: Pick<KeyKeeper, 'unlock'>;
  readonly clock: Clock;
  readonly membership: Pick<MembershipFlows, 'find'>;
  readonly findNode: () => MemberNode | undefined;
  readonly restart: (member: Member) => Promise<MemberNode>;
}

/** An election takes 1 to 2 s; somebody leads by then if enough managers are there. */
const leaderWithinMs = 6_000;
const lookMs = 50;

export function unlocker(parts: UnlockParts): (request: UnlockRequest, signal: AbortSignal) => Promise<UnlockResponse> {
  let opening: Promise<MemberNode> | undefined;
  return async ({ key }, signal) => {
    const present = parts.findNode();
    if (present === undefined && opening === undefined)
      throw new CoveyError('not-in-cluster', 'Cannot unlock: this daemon is not a node of any cluster');
    if (present !== undefined && present.lock === undefined) return { wasOpen: true, waits: '' };
    await parts.keys.unlock(key);
    opening ??= open(parts).finally(() => {
      opening = undefined;
    });
    return { wasOpen: false, waits: await untilJoined(parts, await opening, signal) };
  };
}

async function open({ membership, restart }: UnlockParts): Promise<MemberNode> {
  const member = await membership.find();
  if (member === undefined) throw new CoveyError('not-in-cluster', 'Cannot unlock: this node has left its cluster');
  return await restart(member);
}

/** Empty when its member votes; else what that waits for. */
async function untilJoined({ clock }: UnlockParts, node: MemberNode, signal: AbortSignal): Promise<string> {
  const endMs = clock.monotonicMs() + leaderWithinMs;
  while (node.cluster?.leaderless() !== undefined) {
    if (clock.monotonicMs() > endMs) return node.cluster.leaderless() ?? '';
    await clock.sleep(lookMs, signal);
  }
  using limit = deadline(clock, {
    ms: readyWithinMs,
    parent: signal,
    reason: () => new CoveyError('timeout', 'Cannot wait longer for this manager to take part again'),
  });
  try {
    await node.ready(limit.signal);
    return '';
  } catch (error) {
    signal.throwIfAborted();
    if (!limit.signal.aborted) throw error;
    return `it has not caught up after ${readyWithinMs / 1_000} s`;
  }
}

const readyWithinMs = 60_000;
