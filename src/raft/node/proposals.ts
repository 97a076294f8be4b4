/**
 * Proposals on their way into the core: together where that goes, and with a typed answer where it does not.
 *
 * Keeps true: each `done` is called once; what the core took is answered when it is applied (apply-queue.ts).
 *
 * Called by: ../node.ts.
 */
import { asV2, configOf, planChange } from '../core/confchange.js';
import type { Raft } from '../core/raft/index.js';
import { propose, proposeConfChange, type RawNode } from '../core/rawnode.js';
import type { ProposeOutcome } from '../core/types.js';
import type { ApplyQueue } from './apply-queue.js';
import type { MembershipChange, NodeLimits, NodeProposeOutcome } from './types.js';

type Done = (outcome: NodeProposeOutcome) => void;

export interface WaitingProposal {
  readonly data: Uint8Array;
  readonly done: Done;
}

export interface ProposeParts {
  readonly node: RawNode;
  readonly apply: ApplyQueue;
  /** Why nothing can be proposed at all. */
  readonly refusal: NodeProposeOutcome | undefined;
}

/** What there is to be looked at before anything is proposed. `raft` and `apply` are undefined while the member starts. */
export interface Pressure {
  readonly raft: Raft | undefined;
  readonly apply: ApplyQueue | undefined;
  readonly lowSpace: boolean;
  /** Not yet handed to the core. */
  readonly waiting: number;
}

export function refusalOf(
  limits: NodeLimits,
  { raft, apply, lowSpace, waiting }: Pressure,
): NodeProposeOutcome | undefined {
  if (raft?.role !== 'leader' || !apply) return { kind: 'not-leader', leader: raft?.leader ?? 0 };
  if (lowSpace) return { kind: 'no-space' };
  if (waiting + apply.waiting() >= limits.waitingProposalsMax) return { kind: 'dropped', because: 'overload' };
  if (raft.log.committed - apply.applied() > limits.applyLagMax) return { kind: 'dropped', because: 'apply-lag' };
  return undefined;
}

/** All proposals of a turn go together; when that is too much at once, one by one. */
export function proposeTogether(proposals: readonly WaitingProposal[], { node, apply, refusal }: ProposeParts): void {
  if (refusal) {
    for (const { done } of proposals) done(refusal);
    return;
  }
  const outcome = propose(
    node,
    proposals.map(({ data }) => data),
  );
  if (outcome.kind === 'appended') {
    for (const [place, { done }] of proposals.entries())
      apply.wait(outcome.index + place, { term: outcome.term, done });
    return;
  }
  for (const { data, done } of proposals) {
    settle(proposals.length === 1 ? outcome : propose(node, [data]), apply, done);
  }
}

/** A change that contradicts the members of now is refused before it takes a place in the log. */
export function proposeChange(
  { change, done }: { readonly change: MembershipChange; readonly done: Done },
  { node, apply, refusal }: ProposeParts,
): void {
  const plan = planChange(configOf(apply.confState()), asV2(change));
  if (refusal) done(refusal);
  else if (plan.kind === 'refused')
    done({ kind: 'dropped', because: plan.because === 'not-joint' ? 'not-joint' : 'must-leave-joint' });
  else settle(proposeConfChange(node, change), apply, done);
}

function settle(outcome: ProposeOutcome, apply: ApplyQueue, done: Done): void {
  switch (outcome.kind) {
    case 'appended':
      apply.wait(outcome.index, { term: outcome.term, done });
      return;
    case 'forwarded':
      done({ kind: 'unknown' });
      return;
    case 'refused':
      done({ kind: 'dropped', because: outcome.because });
      return;
    default:
      done(outcome);
  }
}
