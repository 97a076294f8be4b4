/**
 * The active configuration together with the leader's knowledge of each member, and the votes of an election.
 *
 * Keeps true: there is a progress for each member of the configuration and for nobody else; members are visited in
 * ascending order of their ids, never in the order of a Map. Called by the rules in `raft/`.
 *
 * Not here: which configuration follows on which (confchange.ts).
 */
import { CoveyError } from '../../errors.js';
import { type ChangeResult, type Config, configOf, emptyConfig, membersOf } from './confchange.js';
import { createProgress, type Progress } from './progress.js';
import { jointCommittedIndex, jointVoteResult, type VoteResult } from './quorum.js';
import type { ConfState, PeerId } from './types.js';

export interface Tracker {
  config: Config;
  /** Ascending by id. */
  peers: readonly Progress[];
  /** The same by id; for look-ups only. */
  byId: ReadonlyMap<PeerId, Progress>;
  /** Answers to the current election; the first answer of each member counts. */
  votes: Map<PeerId, boolean>;
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** `match` of a member, for quorum arithmetic; made once so that counting allocates nothing. */
  readonly matchOf: (id: PeerId) => number | undefined;
}

export interface TrackerLimits {
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
}

export function createTracker(limits: TrackerLimits): Tracker {
  const tracker: Tracker = {
    config: emptyConfig,
    peers: [],
    byId: new Map(),
    votes: new Map(),
    inflightMessagesMax: limits.inflightMessagesMax,
    inflightBytesMax: limits.inflightBytesMax,
    matchOf: id => tracker.byId.get(id)?.match,
  };
  return tracker;
}

/** Takes over a changed configuration: keeps what is known of members that stay, starts afresh for the others. */
export function applyChange(tracker: Tracker, result: ChangeResult, lastIndex: number): void {
  if (result.kind === 'refused') {
    throw new CoveyError('bug', 'Cannot apply a committed change of the configuration', { state: result.because });
  }
  const { config, fresh } = result;
  const peers = membersOf(config).map(id => {
    const learner = config.learners.includes(id);
    const known = fresh.has(id) ? undefined : tracker.byId.get(id);
    if (known === undefined) return newcomer(tracker, { id, learner, lastIndex });
    known.learner = learner;
    return known;
  });
  install(tracker, config, peers);
}

/** Takes over a stored configuration; nothing is known of anybody. */
export function restoreConfig(tracker: Tracker, state: ConfState, lastIndex: number): void {
  const config = configOf(state);
  const peers = membersOf(config).map(id =>
    newcomer(tracker, { id, learner: config.learners.includes(id), lastIndex }),
  );
  install(tracker, config, peers);
}

/** Forgets what is known of the members: a new term has begun. `self` matches its own log. */
export function resetProgress(tracker: Tracker, self: PeerId, lastIndex: number): void {
  const peers = tracker.peers.map(({ id, learner }) => {
    const progress = createProgress({ ...limitsOf(tracker), id, learner, next: lastIndex + 1, recentActive: false });
    if (id === self) progress.match = lastIndex;
    return progress;
  });
  install(tracker, tracker.config, peers);
}

export function isSingleton(tracker: Tracker): boolean {
  return tracker.config.voters.incoming.length === 1 && tracker.config.voters.outgoing.length === 0;
}

export function isVoter(tracker: Tracker, id: PeerId): boolean {
  return tracker.config.voters.incoming.includes(id) || tracker.config.voters.outgoing.includes(id);
}

/** The highest index on a quorum. */
export function quorumIndex(tracker: Tracker): number {
  return jointCommittedIndex(tracker.config.voters, tracker.matchOf);
}

/** Has a quorum been heard from since the last check? */
export function isQuorumActive(tracker: Tracker): boolean {
  return jointVoteResult(tracker.config.voters, id => tracker.byId.get(id)?.recentActive ?? false) === 'won';
}

export function recordVote(tracker: Tracker, id: PeerId, granted: boolean): void {
  if (!tracker.votes.has(id)) tracker.votes.set(id, granted);
}

export function tallyVotes(tracker: Tracker): {
  readonly grants: number;
  readonly rejections: number;
  readonly result: VoteResult;
} {
  let grants = 0;
  let rejections = 0;
  for (const { id, learner } of tracker.peers) {
    const vote = learner ? undefined : tracker.votes.get(id);
    if (vote === true) grants++;
    if (vote === false) rejections++;
  }
  return { grants, rejections, result: jointVoteResult(tracker.config.voters, id => tracker.votes.get(id)) };
}

interface Newcomer {
  readonly id: PeerId;
  readonly learner: boolean;
  readonly lastIndex: number;
}

/** Counts as active at first: a check of the quorum must not come before it had a chance to speak. */
function newcomer(tracker: Tracker, { id, learner, lastIndex }: Newcomer): Progress {
  return createProgress({ ...limitsOf(tracker), id, learner, next: lastIndex, recentActive: true });
}

function limitsOf(tracker: Tracker): TrackerLimits {
  return { inflightMessagesMax: tracker.inflightMessagesMax, inflightBytesMax: tracker.inflightBytesMax };
}

function install(tracker: Tracker, config: Config, peers: readonly Progress[]): void {
  tracker.config = config;
  tracker.peers = peers;
  tracker.byId = new Map(peers.map(progress => [progress.id, progress]));
}
