/**
 * The algebra of configurations: one change at a time, into a joint configuration, out of it, and from a stored one.
 *
 * Keeps true: voters and learners never overlap; `learnersNext` are voters of the outgoing half; a plain change moves
 * at most one voter, so that old and new majorities share a member; there is always a voter left. Pure: the result
 * names the members whose progress starts afresh. Called by tracker.ts.
 *
 * Not here: when a change may be proposed (raft/lead.ts) and what happens once it is applied (raft/membership.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Voters } from './quorum.js';
import type { ConfChange, ConfChangeSingle, ConfChangeV2, ConfState, PeerId } from './types.js';

/** All lists ascending and without repetition. */
export interface Config {
  readonly voters: Voters;
  readonly learners: readonly PeerId[];
  readonly learnersNext: readonly PeerId[];
  readonly autoLeave: boolean;
}

export const emptyConfig: Config = {
  voters: { incoming: [], outgoing: [] },
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

export type ChangeRefusal =
  | 'already-joint'
  | 'no-voters-yet'
  | 'not-joint'
  | 'simple-while-joint'
  | 'more-than-one-voter'
  | 'no-voter-left';

export type ChangeResult =
  | { readonly kind: 'changed'; readonly config: Config; readonly fresh: ReadonlySet<PeerId> }
  | { readonly kind: 'refused'; readonly because: ChangeRefusal };

/** Applies changes that together move at most one voter. */
export function planSimple(config: Config, changes: readonly ConfChangeSingle[]): ChangeResult {
  if (isJoint(config)) return { kind: 'refused', because: 'simple-while-joint' };
  const draft = draftOf(config);
  applyChanges(draft, changes);
  if (draft.incoming.size === 0) return { kind: 'refused', because: 'no-voter-left' };
  const moved =
    config.voters.incoming.filter(id => !draft.incoming.has(id)).length +
    [...draft.incoming].filter(id => !config.voters.incoming.includes(id)).length;
  if (moved > 1) return { kind: 'refused', because: 'more-than-one-voter' };
  return changed(draft, false);
}

/** Copies the voters to the outgoing half and applies any number of changes to the incoming one. */
export function planEnterJoint(config: Config, changes: readonly ConfChangeSingle[], autoLeave: boolean): ChangeResult {
  if (isJoint(config)) return { kind: 'refused', because: 'already-joint' };
  if (config.voters.incoming.length === 0) return { kind: 'refused', because: 'no-voters-yet' };
  const draft = draftOf(config);
  draft.outgoing = new Set(draft.incoming);
  applyChanges(draft, changes);
  if (draft.incoming.size === 0) return { kind: 'refused', because: 'no-voter-left' };
  return changed(draft, autoLeave);
}

/** Drops the outgoing half; members held back as voters of it become the learners they were meant to be. */
export function planLeaveJoint(config: Config): ChangeResult {
  if (!isJoint(config)) return { kind: 'refused', because: 'not-joint' };
  const draft = draftOf(config);
  for (const id of draft.learnersNext) draft.learners.add(id);
  draft.learnersNext.clear();
  draft.outgoing.clear();
  return changed(draft, false);
}

/** Carries a change out the way it asks for: leave, joint or simple. */
export function planChange(config: Config, change: ConfChangeV2): ChangeResult {
  if (leavesJoint(change)) return planLeaveJoint(config);
  if (change.transition !== 'auto' || change.changes.length > 1) {
    return planEnterJoint(config, change.changes, change.transition !== 'explicit');
  }
  return planSimple(config, change.changes);
}

/** The configuration that a snapshot holds. */
export function configOf(state: ConfState): Config {
  const config: Config = {
    voters: { incoming: ascending(state.voters), outgoing: ascending(state.votersOutgoing) },
    learners: ascending(state.learners),
    learnersNext: ascending(state.learnersNext),
    autoLeave: state.autoLeave,
  };
  const problem = problemOf(config);
  if (problem !== undefined)
    throw new CoveyError('bug', 'Cannot restore a configuration that breaks its rules', { state: problem });
  return config;
}

export function confStateOf(config: Config): ConfState {
  return {
    voters: config.voters.incoming,
    votersOutgoing: config.voters.outgoing,
    learners: config.learners,
    learnersNext: config.learnersNext,
    autoLeave: config.autoLeave,
  };
}

export function isJoint(config: Config): boolean {
  return config.voters.outgoing.length > 0;
}

/** Is this the empty change that leaves a joint configuration? */
export function leavesJoint(change: ConfChangeV2): boolean {
  return change.transition === 'auto' && change.changes.length === 0;
}

/** A change of either form in the newer one. */
export function asV2(change: ConfChange | ConfChangeV2): ConfChangeV2 {
  if ('changes' in change) return change;
  return { transition: 'auto', changes: [change.change], context: change.context };
}

/** Everybody whose progress is followed, ascending. */
export function membersOf(config: Config): readonly PeerId[] {
  return ascending([...config.voters.incoming, ...config.voters.outgoing, ...config.learners]);
}

/** What is wrong with this configuration, if anything. */
export function problemOf(config: Config): string | undefined {
  const { incoming, outgoing } = config.voters;
  const wrongLearner = config.learners.find(id => incoming.includes(id) || outgoing.includes(id));
  if (wrongLearner !== undefined) return `${wrongLearner} is learner and voter`;
  const wrongNext = config.learnersNext.find(id => !outgoing.includes(id));
  if (wrongNext !== undefined) return `${wrongNext} is to become a learner, but is no outgoing voter`;
  if (incoming.length === 0 && outgoing.length > 0) return 'no incoming voter';
  if (incoming.length === 0 && config.learners.length > 0) return 'learners without a voter';
  if (outgoing.length === 0 && config.autoLeave) return 'not joint, yet to be left';
  return undefined;
}

interface Draft {
  readonly incoming: Set<PeerId>;
  outgoing: Set<PeerId>;
  readonly learners: Set<PeerId>;
  readonly learnersNext: Set<PeerId>;
  /** Members that were unknown, or removed and added again within this change. */
  readonly fresh: Set<PeerId>;
}

function draftOf(config: Config): Draft {
  return {
    incoming: new Set(config.voters.incoming),
    outgoing: new Set(config.voters.outgoing),
    learners: new Set(config.learners),
    learnersNext: new Set(config.learnersNext),
    fresh: new Set(),
  };
}

function applyChanges(draft: Draft, changes: readonly ConfChangeSingle[]): void {
  for (const { kind, peer } of changes) {
    if (peer === 0) continue;
    switch (kind) {
      case 'add-voter':
        addVoter(draft, peer);
        break;
      case 'add-learner':
        addLearner(draft, peer);
        break;
      case 'remove':
        remove(draft, peer);
        break;
      case 'update':
        break;
    }
  }
}

function addVoter(draft: Draft, peer: PeerId): void {
  if (!isMember(draft, peer)) draft.fresh.add(peer);
  draft.learners.delete(peer);
  draft.learnersNext.delete(peer);
  draft.incoming.add(peer);
}

function addLearner(draft: Draft, peer: PeerId): void {
  if (!isMember(draft, peer)) draft.fresh.add(peer);
  if (draft.learners.has(peer)) return;
  draft.incoming.delete(peer);
  // Who still votes in the outgoing half cannot be a learner yet.
  if (draft.outgoing.has(peer)) draft.learnersNext.add(peer);
  else draft.learners.add(peer);
}

function remove(draft: Draft, peer: PeerId): void {
  draft.incoming.delete(peer);
  draft.learners.delete(peer);
  draft.learnersNext.delete(peer);
}

function isMember(draft: Draft, peer: PeerId): boolean {
  return draft.incoming.has(peer) || draft.outgoing.has(peer) || draft.learners.has(peer);
}

function changed(draft: Draft, autoLeave: boolean): ChangeResult {
  const config: Config = {
    voters: { incoming: ascending(draft.incoming), outgoing: ascending(draft.outgoing) },
    learners: ascending(draft.learners),
    learnersNext: ascending(draft.learnersNext),
    autoLeave,
  };
  const problem = problemOf(config);
  if (problem !== undefined)
    throw new CoveyError('bug', 'Cannot change to a configuration that breaks its rules', { state: problem });
  return { kind: 'changed', config, fresh: draft.fresh };
}

function ascending(ids: Iterable<PeerId>): readonly PeerId[] {
  return [...new Set(ids)].sort((a, b) => a - b);
}
