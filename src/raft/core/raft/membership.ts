/**
 * Changes of the configuration as they take effect, and the snapshot that brings one along.
 *
 * Keeps true: a configuration takes effect when its entry is applied, on each member by itself; a joint configuration
 * that leaves itself is left exactly once; a leader that is no longer a voter steps down if it is told to. Called when
 * the application applies entries and when a snapshot arrives.
 *
 * Not here: the algebra (../confchange.ts), whether a change may be proposed (lead.ts).
 */
import { asV2, confStateOf, planChange } from '../confchange.js';
import { appliedTo, commitTo, lastIndex, matches, restoreLog, snapshotStored } from '../log.js';
import { applyChange, isVoter, restoreConfig } from '../tracker.js';
import { type ConfChange, type ConfChangeV2, type ConfState, entryVersion, nobody, type Snapshot } from '../types.js';
import { proposeOwn } from './propose.js';
import { finishReads, releaseEarlyReads } from './reads.js';
import { advanceCommit, broadcastAppend, sendAppend } from './replicate.js';
import { becomeFollower } from './roles.js';
import { emit, type Raft } from './state.js';

/** The application applies a change; returns the configuration that is active from now on. */
export function applyConfChange(raft: Raft, change: ConfChange | ConfChangeV2): ConfState {
  applyChange(raft.tracker, planChange(raft.tracker.config, asV2(change)), lastIndex(raft.log));
  return configChanged(raft);
}

/** Everything up to `index` is applied. */
export function markApplied(raft: Raft, index: number, bytes: number): void {
  appliedTo(raft.log, Math.max(index, raft.log.applied), bytes);
  leaveJointIfDue(raft);
}

/** A snapshot is on disk and installed: it counts as applied. */
export function markSnapshotStored(raft: Raft, snapshot: Snapshot): void {
  snapshotStored(raft.log, snapshot);
  markApplied(raft, snapshot.index, 0);
}

/** Proposes to leave a joint configuration that leaves itself, once the change that entered it is applied. */
export function leaveJointIfDue(raft: Raft): void {
  if (raft.role !== 'leader' || !raft.tracker.config.autoLeave || raft.log.applied < raft.pendingConfIndex) return;
  const change: ConfChangeV2 = { transition: 'auto', changes: [], context: new Uint8Array(0) };
  const outcome = proposeOwn(raft, [{ kind: 'conf-change-v2', version: entryVersion, change }]);
  emit(raft, { kind: 'auto-leave', proposed: outcome.kind === 'appended' });
}

/**
 * Takes a snapshot as the new beginning of the log, unless this log has that entry: then only its commit index is
 * news. True if the log was replaced. A log that differs at the snapshot's index is dropped whole (bug B13).
 */
export function restoreSnapshot(raft: Raft, snapshot: Snapshot): boolean {
  if (snapshot.index <= raft.log.committed || !isIn(snapshot.confState, raft.id)) return false;
  if (matches(raft.log, snapshot.index, snapshot.term)) {
    commitTo(raft.log, snapshot.index);
    return false;
  }
  restoreLog(raft.log, snapshot);
  restoreConfig(raft.tracker, snapshot.confState, lastIndex(raft.log));
  configChanged(raft);
  return true;
}

function configChanged(raft: Raft): ConfState {
  const { tracker } = raft;
  const confState = confStateOf(tracker.config);
  emit(raft, { kind: 'conf-changed', confState });
  if (raft.role !== 'leader') return confState;
  const own = tracker.byId.get(raft.id);
  if (own === undefined || own.learner) {
    if (raft.config.stepDownOnRemoval) becomeFollower(raft, raft.term, nobody);
    return confState;
  }
  if (advanceCommit(raft)) {
    // Fewer voters may mean that more is committed.
    releaseEarlyReads(raft);
    broadcastAppend(raft);
  } else {
    // New members need not wait for the next heartbeat.
    for (const progress of tracker.peers) if (progress.id !== raft.id) sendAppend(raft, progress, false);
  }
  finishReads(raft);
  if (raft.transferee !== nobody && !isVoter(tracker, raft.transferee)) {
    emit(raft, { kind: 'transfer', to: raft.transferee, phase: 'aborted' });
    raft.transferee = nobody;
  }
  return confState;
}

/** `learnersNext` are outgoing voters, so they need not be looked at. */
function isIn(state: ConfState, id: number): boolean {
  return state.voters.includes(id) || state.learners.includes(id) || state.votersOutgoing.includes(id);
}
