/**
 * Where a proposal, a read or a wish to transfer goes: to this node's own rules if it leads, else to the leader.
 *
 * Keeps true: what passes through keeps its sender, so that an answer finds the way back; without a leader the asker
 * is told at once. Called by step.ts (they came from another member) and rawnode.ts (they are this node's own).
 *
 * Not here: what a leader does with them (propose.ts, reads.ts, lead.ts).
 */
import {
  messageVersion,
  nobody,
  type PeerId,
  type Proposal,
  type ProposeOutcome,
  type TransferOutcome,
} from '../types.js';
import { startTransfer } from './lead.js';
import { drop, findTooLarge, proposeOwn } from './propose.js';
import { leaderRead } from './reads.js';
import { send } from './send.js';
import type { Raft } from './state.js';

export function routeProposals(raft: Raft, from: PeerId, proposals: readonly Proposal[]): ProposeOutcome {
  if (raft.role === 'leader') return proposeOwn(raft, proposals);
  const tooLarge = findTooLarge(raft, proposals);
  if (tooLarge !== undefined) return tooLarge;
  const { leader } = raft;
  if (leader === nobody || raft.role !== 'follower') return drop(raft, 'no-leader');
  if (!raft.config.forwardProposals) return { kind: 'not-leader', leader };
  send(raft, { kind: 'propose', version: messageVersion, from, to: leader, term: 0, proposals });
  return { kind: 'forwarded', leader };
}

/** False if there is no leader to ask. */
export function routeRead(raft: Raft, from: PeerId, request: number): boolean {
  if (raft.role === 'leader') {
    leaderRead(raft, { from, request });
    return true;
  }
  if (raft.leader === nobody || raft.role !== 'follower') return false;
  send(raft, { kind: 'read-index', version: messageVersion, from, to: raft.leader, term: 0, request });
  return true;
}

export function routeTransfer(raft: Raft, from: PeerId, transferee: PeerId): TransferOutcome {
  if (raft.role === 'leader') return startTransfer(raft, transferee);
  const { leader } = raft;
  if (leader === nobody || raft.role !== 'follower') return { kind: 'refused', because: 'no-leader', lag: 0 };
  send(raft, { kind: 'transfer-leader', version: messageVersion, from, to: leader, term: raft.term, transferee });
  return { kind: 'forwarded', leader };
}
