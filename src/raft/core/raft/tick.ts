/**
 * Time, counted in ticks that come from outside.
 *
 * Keeps true: a follower that hears nothing campaigns after its own random timeout; a leader beats, and gives up when
 * it has not heard from a quorum for an election timeout. Called by rawnode.ts, once a tick and never to catch up.
 *
 * Not here: how long a tick is (the driver).
 */
import { isQuorumActive } from '../tracker.js';
import { nobody } from '../types.js';
import { hup } from './elect.js';
import { abortTransfer } from './lead.js';
import { leaveJointIfDue } from './membership.js';
import { broadcastHeartbeat } from './replicate.js';
import { becomeFollower } from './roles.js';
import { emit, isPromotable, type Raft } from './state.js';

export function tick(raft: Raft): void {
  raft.electionElapsed++;
  if (raft.role === 'leader') {
    tickLeader(raft);
    return;
  }
  if (isPromotable(raft) && raft.electionElapsed >= raft.electionTimeout) {
    raft.electionElapsed = 0;
    hup(raft, raft.config.preVote ? 'pre-vote' : 'election');
  }
}

function tickLeader(raft: Raft): void {
  raft.heartbeatElapsed++;
  if (raft.electionElapsed >= raft.config.electionTicks) {
    raft.electionElapsed = 0;
    if (raft.config.checkQuorum && !checkQuorum(raft)) return;
    // A transfer that took this long has failed: go on leading.
    abortTransfer(raft);
  }
  if (raft.heartbeatElapsed >= raft.config.heartbeatTicks) {
    raft.heartbeatElapsed = 0;
    broadcastHeartbeat(raft);
    // In case the proposal to leave was dropped, for instance during a transfer.
    if (raft.log.applied >= raft.termStartIndex) leaveJointIfDue(raft);
  }
}

/** Begins to count anew; false if this node has stepped down. */
function checkQuorum(raft: Raft): boolean {
  const active = isQuorumActive(raft.tracker);
  if (!active) {
    emit(raft, { kind: 'quorum-lost' });
    becomeFollower(raft, raft.term, nobody);
  }
  for (const progress of raft.tracker.peers) if (progress.id !== raft.id) progress.recentActive = false;
  return active;
}
