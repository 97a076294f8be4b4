/**
 * Managers become workers and workers managers, as people ask for it: what is wanted is stored, the leader's loop over the
 * members (members.ts) carries it out, and the answer waits until it is so.
 *
 * Keeps true: a request that the group could not survive is refused before anything changes; asking again is harmless, also
 * after an election in between.
 *
 * Called on the leader: by Control (setNodeRole, removeNode) and by Ca (leave). Not here: the node's own change of its parts
 * (membership/role.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Node, NodeRole } from '../../gen/types.js';
import type { Clock, Random } from '../../host.js';
import type { NodeId } from '../../ids.js';
import { deadline } from '../../lifetime.js';
import { newPeerId, planRemove } from '../../raft/membership.js';
import { refuseOlderManager, type Store } from '../../raft/store.js';
import { isRaftIdUsed } from '../ca/removal.js';
import type { Group } from './group.js';

export interface RolesOptions {
  readonly store: Store;
  readonly group: Pick<Group, 'log'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborts when this manager does not lead any more; undefined: it does not lead. */
  readonly leading: () => AbortSignal | undefined;
}

export interface Roles {
  /** Resolves when the node is a worker (or gone). For a worker nothing is to be done. */
  readonly letGo: (nodeId: NodeId, options: RoleChange) => Promise<void>;
  /** Resolves when the node's member votes. */
  readonly takeIn: (nodeId: NodeId, options: RoleChange) => Promise<void>;
}

export interface RoleChange {
  readonly principal: string;
  readonly signal: AbortSignal;
}

const changeMs = 30_000;
const answerWithinMs = 1_000;
const lookMs = 50;

export function makeRoles(options: RolesOptions): Roles {
  return {
    letGo: async (nodeId, { principal, signal }) => {
      const { store } = options;
      const node = store.view().find('node', nodeId);
      if (node?.role !== 'manager') return;
      await refuseLoss(options, node, signal);
      await store.update(
        view => {
          const present = view.find('node', nodeId);
          if (present?.role !== 'manager' || present.demoting) return [];
          return [{ kind: 'put', table: 'node', object: { ...present, demoting: true } }];
        },
        { principal, signal },
      );
      await until(
        options,
        { node, role: 'worker', signal },
        () => store.view().find('node', nodeId)?.role !== 'manager',
      );
    },
    takeIn: async (nodeId, { principal, signal }) => {
      const { store, group } = options;
      await store.update(
        view => {
          const node = view.find('node', nodeId);
          if (node === undefined || (node.role === 'manager' && !node.demoting)) return [];
          refuseBusy(node);
          refuseOlderManager(view, node, `Cannot make node "${node.spec.name}" a manager`);
          const raftId = newPeerId(options.random.bytes, id => isRaftIdUsed(view, id));
          return [{ kind: 'put', table: 'node', object: { ...node, role: 'manager', raftId } }];
        },
        { principal, signal },
      );
      const node = store.view().find('node', nodeId);
      if (node === undefined) return;
      await until(options, { node, role: 'manager', signal }, () =>
        group.log.status().confState.voters.includes(node.raftId),
      );
    },
  };
}

function refuseBusy(node: Node): void {
  const what = `Cannot make node "${node.spec.name}" a manager`;
  if (node.demoting) throw new CoveyError('change-pending', what, { state: 'it is being made a worker' });
  if (node.status.state === 'ready') return;
  throw new CoveyError('node-unreachable', what, { state: `it is ${node.status.state}`, hint: 'covey node ls' });
}

/**
 * Says why the group can't do without the node, if it can't. Who answers is counted anew with each election timeout: one look
 * right after that sees nobody.
 */
async function refuseLoss({ group, clock }: RolesOptions, node: Node, signal: AbortSignal): Promise<void> {
  const what = `Cannot do without manager "${node.spec.name}"`;
  const endMs = clock.monotonicMs() + answerWithinMs;
  for (;;) {
    const plan = planRemove({ status: group.log.status(), removed: new Set() }, node.raftId);
    if (plan.kind === 'propose' || plan.because === 'not-member' || plan.because === 'change-pending') return;
    if (plan.because === 'last-voter') {
      throw new CoveyError('last-manager', what, {
        state: 'it is the only manager; services, secrets and the certificate authority would be gone',
        hint: 'covey node promote ANOTHER',
      });
    }
    if (plan.because !== 'would-lose-quorum') throw new CoveyError('not-leader', what, { state: plan.state });
    if (clock.monotonicMs() > endMs) {
      throw new CoveyError('would-lose-quorum', what, {
        state: plan.state,
        hint: 'bring a manager back, or covey node promote ANOTHER',
      });
    }
    await clock.sleep(lookMs, signal);
  }
}

/** Waits for the leader's loop; an election meanwhile ends the wait, and whoever asks does so again elsewhere. */
async function until(
  { clock, leading }: RolesOptions,
  { node, role, signal }: { readonly node: Node; readonly role: NodeRole; readonly signal: AbortSignal },
  isSo: () => boolean,
): Promise<void> {
  using limit = deadline(clock, {
    ms: changeMs,
    parent: signal,
    reason: () =>
      new CoveyError('timeout', `Cannot wait longer for "${node.spec.name}" to become a ${role}`, {
        state: `${changeMs / 1000} s are over; it goes on`,
        hint: 'covey node ls',
      }),
  });
  while (!isSo()) {
    if (leading() === undefined)
      throw new CoveyError('not-leader', 'Cannot go on: this manager does not lead any more');
    await clock.sleep(lookMs, limit.signal);
  }
}
