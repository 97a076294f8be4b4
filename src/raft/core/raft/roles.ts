/**
 * Changes of role.
 *
 *     follower ──► pre-candidate ──► candidate ──► leader
 *        ▲               │               │            │
 *        └───────────────┴───────────────┴────────────┘  a higher term, a lost election, a lost quorum
 *
 * Keeps true: a vote is forgotten only when the term rises, never on stepping down within a term (bug B6); a leader
 * opens its term with an empty entry. Called by the rules that decide on a change.
 *
 * Not here: when a role changes (elect.ts, step.ts, lead.ts).
 */
import { CoveyError } from '../../../errors.js';
import { createFifo } from '../fifo.js';
import { lastIndex } from '../log.js';
import { becomeReplicate } from '../progress.js';
import { createReadQueue } from '../readonly.js';
import { resetProgress } from '../tracker.js';
import { entryVersion, nobody, type PeerId } from '../types.js';
import { appendOwn } from './replicate.js';
import { emit, type Raft } from './state.js';

export function becomeFollower(raft: Raft, term: number, leader: PeerId): void {
  reset(raft, term);
  raft.leader = leader;
  raft.role = 'follower';
  emitBecame(raft);
}

/** Asks whether it would win; neither term nor vote change. */
export function becomePreCandidate(raft: Raft): void {
  if (raft.role === 'leader') throw new CoveyError('bug', 'Cannot turn a leader into a candidate');
  raft.tracker.votes = new Map();
  raft.leader = nobody;
  raft.role = 'pre-candidate';
  emitBecame(raft);
}

export function becomeCandidate(raft: Raft): void {
  if (raft.role === 'leader') throw new CoveyError('bug', 'Cannot turn a leader into a candidate');
  reset(raft, raft.term + 1);
  raft.vote = raft.id;
  raft.role = 'candidate';
  emitBecame(raft);
}

export function becomeLeader(raft: Raft): void {
  const own = raft.tracker.byId.get(raft.id);
  if (raft.role !== 'candidate' || own === undefined)
    throw new CoveyError('bug', 'Cannot lead without an election', { state: raft.role });
  reset(raft, raft.term);
  proveLeader(raft, raft.id);
  raft.leader = raft.id;
  raft.role = 'leader';
  becomeReplicate(own);
  own.recentActive = true;
  // There may be a change of the configuration in the tail: wait until all of it is applied before another.
  raft.pendingConfIndex = lastIndex(raft.log);
  emitBecame(raft);
  appendOwn(raft, [{ kind: 'normal', version: entryVersion, data: new Uint8Array(0) }]);
  raft.termStartIndex = lastIndex(raft.log);
}

/** `leader` sent what only the leader of this term sends. A second one means that the group is broken: stop. */
export function proveLeader(raft: Raft, leader: PeerId): void {
  if (raft.provenLeader !== nobody && raft.provenLeader !== leader) {
    throw new CoveyError('bug', 'Cannot follow two leaders of one term', {
      state: `term ${raft.term}: ${raft.provenLeader} and ${leader}`,
      hint: 'check that no manager runs on a copied or restored disk of another',
    });
  }
  raft.provenLeader = leader;
}

function drawElectionTimeout(raft: Raft): void {
  raft.electionTimeout = raft.config.electionTicks + raft.config.random(raft.config.electionTicks);
}

function reset(raft: Raft, term: number): void {
  if (raft.term !== term) {
    raft.term = term;
    raft.vote = nobody;
    raft.provenLeader = nobody;
  }
  raft.leader = nobody;
  raft.electionElapsed = 0;
  raft.heartbeatElapsed = 0;
  drawElectionTimeout(raft);
  raft.transferee = nobody;
  raft.tracker.votes = new Map();
  resetProgress(raft.tracker, raft.id, lastIndex(raft.log));
  raft.pendingConfIndex = 0;
  raft.termStartIndex = 0;
  Object.assign(raft.uncommitted, createFifo());
  raft.uncommittedBytes = 0;
  raft.reads = createReadQueue();
  raft.earlyReads = [];
}

function emitBecame(raft: Raft): void {
  emit(raft, {
    kind: 'became',
    role: raft.role,
    leader: raft.leader,
    vote: raft.vote,
    commit: raft.log.committed,
    lastIndex: lastIndex(raft.log),
  });
}
