/**
 * What a leader does with proposals.
 *
 * Keeps true: at most one change of the configuration is in the log and not applied; no change at all is taken before
 * everything from earlier terms is applied (bug B3); what cannot be taken now becomes an empty entry, so that a batch
 * keeps its places. Called by lead.ts, membership.ts and rawnode.ts.
 *
 * Not here: forwarding (follow.ts).
 */
import { asV2, isJoint, leavesJoint } from '../confchange.js';
import { lastIndex } from '../log.js';
import { payloadSize } from '../sizes.js';
import { type ConfChangeRefusal, entryVersion, nobody, type Proposal, type ProposeOutcome } from '../types.js';
import { appendOwn, broadcastAppend } from './replicate.js';
import { emit, type Raft } from './state.js';

/** Appends the proposals to this leader's log and sends them on. */
export function proposeOwn(raft: Raft, proposals: readonly Proposal[]): ProposeOutcome {
  if (!raft.tracker.byId.has(raft.id)) return drop(raft, 'not-member');
  if (raft.transferee !== nobody) return drop(raft, 'transfer');
  const tooLarge = findTooLarge(raft, proposals);
  if (tooLarge !== undefined) return tooLarge;

  const first = lastIndex(raft.log) + 1;
  const pendingBefore = raft.pendingConfIndex;
  let refusal: ConfChangeRefusal | undefined;
  const admitted = proposals.map((proposal, at) => {
    if (proposal.kind === 'normal') return proposal;
    const because = refusalOf(raft, leavesJoint(asV2(proposal.change)));
    if (because === undefined || !raft.config.checkConfChanges) {
      raft.pendingConfIndex = first + at;
      return proposal;
    }
    refusal ??= because;
    emit(raft, { kind: 'conf-change-refused', because });
    return { kind: 'normal' as const, version: entryVersion, data: new Uint8Array(0) };
  });
  if (!appendOwn(raft, admitted)) {
    raft.pendingConfIndex = pendingBefore;
    return drop(raft, 'uncommitted-limit');
  }
  broadcastAppend(raft);
  if (refusal !== undefined) return { kind: 'refused', because: refusal, index: first, term: raft.term };
  return { kind: 'appended', index: first, count: proposals.length, term: raft.term };
}

/** The first proposal that is larger than one may be. */
export function findTooLarge(raft: Raft, proposals: readonly Proposal[]): ProposeOutcome | undefined {
  const limitBytes = raft.config.proposalBytesMax;
  for (const proposal of proposals) {
    const sizeBytes = payloadSize(proposal);
    if (sizeBytes > limitBytes) return { kind: 'too-large', sizeBytes, limitBytes };
  }
  return undefined;
}

export function drop(
  raft: Raft,
  because: 'no-leader' | 'transfer' | 'uncommitted-limit' | 'not-member',
): ProposeOutcome {
  emit(raft, { kind: 'proposal-dropped', because });
  return { kind: 'dropped', because };
}

function refusalOf(raft: Raft, leaves: boolean): ConfChangeRefusal | undefined {
  if (raft.pendingConfIndex > raft.log.applied) return 'pending-change';
  const joint = isJoint(raft.tracker.config);
  if (joint && !leaves) return 'must-leave-joint';
  return !joint && leaves ? 'not-joint' : undefined;
}
