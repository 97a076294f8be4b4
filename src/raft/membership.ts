/**
 * Whether a change of the members is wise, before it is proposed: who may join, be promoted, demoted, replaced, removed.
 * The core refuses what would break the rules; this refuses what would break the cluster.
 *
 * Keeps true: an id is never used a second time; nobody votes before it has nearly caught up; a voter goes only if those
 * who remain and answer are still a majority.
 *
 * Called by daemon/ on the leader. Not here: carrying the change out (node.ts), addresses and certificates (daemon/).
 */
import type { RandomBytes } from '../ids.js';
import type { ConfChangeSingle, ConfChangeV2, PeerId } from './core/types.js';
import type { NodeStatus } from './node/types.js';

export type MembershipPlan =
  | { readonly kind: 'propose'; readonly change: ConfChangeV2 }
  | { readonly kind: 'refused'; readonly because: MembershipRefusal; readonly state: string };

type MembershipRefusal =
  | 'not-leader'
  | 'change-pending'
  | 'already-member'
  | 'not-member'
  | 'was-removed'
  | 'not-learner'
  | 'not-caught-up'
  | 'not-active'
  | 'last-voter'
  | 'would-lose-quorum';

/** What the plans look at: the leader's status, and the ids that were members once. */
export interface MembershipView {
  readonly status: NodeStatus;
  readonly removed: ReadonlySet<PeerId>;
}

/** A learner has caught up when it has this share of the leader's log. */
const caughtUpShare = 0.9;

/** A new id: 53 random bits, never 0 and never one that was used. */
export function newPeerId(random: RandomBytes, isUsed: (id: PeerId) => boolean): PeerId {
  for (;;) {
    const bytes = Buffer.from(random(8));
    const id = bytes.readUInt32LE(0) + (bytes.readUInt32LE(4) % 2 ** 21) * 2 ** 32;
    if (id !== 0 && !isUsed(id)) return id;
  }
}

/** A new member listens first. */
export function planJoin(view: MembershipView, peer: PeerId): MembershipPlan {
  const { confState } = view.status;
  if (view.removed.has(peer))
    return refused('was-removed', `member ${peer} was removed; it has to join under a new id`);
  if (isMember(view, peer))
    return refused(
      'already-member',
      `member ${peer} is one of ${confState.voters.length} voters or ${confState.learners.length} learners`,
    );
  return propose(view, [{ kind: 'add-learner', peer }]);
}

/** A learner becomes a voter when it has nearly all of the log and answers. */
export function planPromote(view: MembershipView, peer: PeerId): MembershipPlan {
  const { status } = view;
  if (status.role !== 'leader') return notLeader(status);
  if (!status.confState.learners.includes(peer)) return refused('not-learner', `member ${peer} is not a learner`);
  const progress = status.peers.find(one => one.id === peer);
  if (!progress?.active) return refused('not-active', `member ${peer} does not answer`);
  if (progress.match < status.lastIndex * caughtUpShare) {
    return refused('not-caught-up', `member ${peer} has ${progress.match} of ${status.lastIndex} entries`);
  }
  return propose(view, [{ kind: 'add-voter', peer }]);
}

/** A voter becomes a learner. */
export function planDemote(view: MembershipView, peer: PeerId): MembershipPlan {
  return refuseLoss(view, peer) ?? propose(view, [{ kind: 'add-learner', peer }]);
}

/** A member leaves for good. */
export function planRemove(view: MembershipView, peer: PeerId): MembershipPlan {
  if (!isMember(view, peer)) return refused('not-member', `there is no member ${peer}`);
  return refuseLoss(view, peer) ?? propose(view, [{ kind: 'remove', peer }]);
}

/** One goes as the other comes, in one step: at no time are there fewer voters. */
export function planReplace(
  view: MembershipView,
  change: { readonly out: PeerId; readonly in: PeerId },
): MembershipPlan {
  const promotion = planPromote(view, change.in);
  if (promotion.kind === 'refused') return promotion;
  if (!isMember(view, change.out)) return refused('not-member', `there is no member ${change.out}`);
  return propose(view, [
    { kind: 'add-voter', peer: change.in },
    { kind: 'remove', peer: change.out },
  ]);
}

/** Why this voter may not go; undefined when it may, or when it has no vote. */
function refuseLoss({ status }: MembershipView, peer: PeerId): MembershipPlan | undefined {
  if (status.role !== 'leader') return notLeader(status);
  const { voters } = status.confState;
  if (!voters.includes(peer)) return undefined;
  const rest = voters.filter(id => id !== peer);
  if (rest.length === 0) return refused('last-voter', `member ${peer} is the only voter`);
  const answering = rest.filter(id => id === status.id || status.peers.some(one => one.id === id && one.active));
  if (answering.length * 2 > rest.length) return undefined;
  return refused(
    'would-lose-quorum',
    `of the ${rest.length} voters that remain ${answering.length} answer, ${Math.floor(rest.length / 2) + 1} are needed`,
  );
}

function propose({ status }: MembershipView, changes: readonly ConfChangeSingle[]): MembershipPlan {
  if (status.role !== 'leader') return notLeader(status);
  if (status.confState.votersOutgoing.length > 0)
    return refused('change-pending', 'a change of the members is going on');
  return { kind: 'propose', change: { transition: 'auto', changes, context: new Uint8Array(0) } };
}

function isMember({ status: { confState } }: MembershipView, peer: PeerId): boolean {
  const { voters, learners, votersOutgoing, learnersNext } = confState;
  return [voters, learners, votersOutgoing, learnersNext].some(ids => ids.includes(peer));
}

function notLeader(status: NodeStatus): MembershipPlan {
  return refused('not-leader', status.leader === 0 ? 'there is no leader' : `member ${status.leader} leads`);
}

function refused(because: MembershipRefusal, state: string): MembershipPlan {
  return { kind: 'refused', because, state };
}
