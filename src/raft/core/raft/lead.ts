/**
 * What a leader does with the answers of the others, and with wishes of the operator.
 *
 * Keeps true: only an acknowledgement raises `match`; a member that was waiting for a snapshot goes on as soon as any
 * acknowledgement reconnects it with the log; a transfer ends within one election timeout. Called by step.ts.
 *
 * Not here: proposals (propose.ts), reads (reads.ts), time (tick.ts).
 */
import { freeInflights } from '../inflights.js';
import { firstIndex, guessMatch, lastIndex } from '../log.js';
import { acknowledge, becomeProbe, becomeReplicate, canRaiseCommit, type Progress, reject } from '../progress.js';
import {
  type AppendReply,
  type HeartbeatReply,
  messageVersion,
  nobody,
  type PeerId,
  type TransferOutcome,
} from '../types.js';
import { recordReadBeat, releaseEarlyReads } from './reads.js';
import { advanceCommit, broadcastAppend, sendAppend, sendBacklog } from './replicate.js';
import { send } from './send.js';
import { emit, type Raft } from './state.js';

export function handleAppendReply(raft: Raft, progress: Progress, reply: AppendReply): void {
  progress.recentActive = true;
  if (reply.reject) {
    handleRejection(raft, progress, reply);
    return;
  }
  const news = acknowledge(progress, reply.index);
  // An answer to an empty probe brings no news, but shows that the member follows.
  if (!news && !(progress.match === reply.index && progress.state === 'probe')) return;
  resume(raft, progress, reply.index);
  const other = progress.id !== raft.id;
  if (advanceCommit(raft)) {
    releaseEarlyReads(raft);
    broadcastAppend(raft);
  } else if (other && canRaiseCommit(progress, raft.log.committed)) {
    sendAppend(raft, progress, true);
  }
  if (other) sendBacklog(raft, progress);
  if (progress.id === raft.transferee && progress.match === lastIndex(raft.log)) sendTimeoutNow(raft, progress.id);
}

export function handleHeartbeatReply(raft: Raft, progress: Progress, reply: HeartbeatReply): void {
  progress.recentActive = true;
  progress.flowPaused = false;
  if (progress.match < lastIndex(raft.log) || progress.state === 'probe') sendAppend(raft, progress, true);
  recordReadBeat(raft, progress.id, reply.readCount);
}

/** The transport gave the last snapshot up, or finished it. */
export function handleSnapshotReport(raft: Raft, peer: PeerId, sent: boolean): void {
  const progress = raft.role === 'leader' ? raft.tracker.byId.get(peer) : undefined;
  if (progress?.state !== 'snapshot') return;
  // A failed snapshot must not be taken for a place to probe from.
  if (!sent) progress.pendingSnapshot = 0;
  becomeProbe(progress);
  // Sent: its acknowledgement comes first. Failed: not again before the next heartbeat.
  progress.flowPaused = true;
  emitProgress(raft, progress);
}

/** The transport lost messages to this member: what was sent ahead is presumed lost. */
export function handleUnreachable(raft: Raft, peer: PeerId): void {
  const progress = raft.role === 'leader' ? raft.tracker.byId.get(peer) : undefined;
  if (progress?.state !== 'replicate') return;
  becomeProbe(progress);
  emitProgress(raft, progress);
}

/** Hands leadership over: brings the transferee up to date, then tells it to campaign. Proposals are dropped meanwhile. */
export function startTransfer(raft: Raft, transferee: PeerId): TransferOutcome {
  const progress = raft.tracker.byId.get(transferee);
  if (progress === undefined || progress.learner) return { kind: 'refused', because: 'not-voter', lag: 0 };
  if (raft.transferee === transferee) return { kind: 'in-progress' };
  const lag = lastIndex(raft.log) - progress.match;
  if (transferee !== raft.id && lag > raft.config.transferLagMax)
    return { kind: 'refused', because: 'too-far-behind', lag };
  abortTransfer(raft);
  if (transferee === raft.id) return { kind: 'already-leader' };
  raft.electionElapsed = 0;
  raft.transferee = transferee;
  emit(raft, { kind: 'transfer', to: transferee, phase: 'started' });
  if (lag === 0) sendTimeoutNow(raft, transferee);
  else sendAppend(raft, progress, true);
  return { kind: 'started' };
}

export function abortTransfer(raft: Raft): void {
  if (raft.transferee === nobody) return;
  emit(raft, { kind: 'transfer', to: raft.transferee, phase: 'aborted' });
  raft.transferee = nobody;
}

/**
 * The member's log differs at `index`. It told where it may match (hintIndex, hintTerm); terms only rise within a log,
 * so places where this log has a higher term than the hint cannot match either and are skipped: at most one probe a
 * term is needed.
 */
function handleRejection(raft: Raft, progress: Progress, reply: AppendReply): void {
  emit(raft, { kind: 'append-rejected', from: progress.id, index: reply.index });
  const probe = reply.hintTerm > 0 ? guessMatch(raft.log, reply.hintIndex, reply.hintTerm).index : reply.hintIndex;
  if (!reject(progress, reply.index, probe)) return;
  if (progress.state === 'replicate') becomeProbe(progress);
  emitProgress(raft, progress);
  sendAppend(raft, progress, true);
}

function resume(raft: Raft, progress: Progress, index: number): void {
  switch (progress.state) {
    case 'probe':
      becomeReplicate(progress);
      emitProgress(raft, progress);
      return;
    case 'snapshot':
      // Whatever snapshot it was that the member installed: if the log goes on from there, so do we.
      if (progress.match + 1 < firstIndex(raft.log)) return;
      becomeProbe(progress);
      becomeReplicate(progress);
      emitProgress(raft, progress);
      return;
    case 'replicate':
      freeInflights(progress.inflights, index);
      return;
  }
}

function sendTimeoutNow(raft: Raft, to: PeerId): void {
  send(raft, { kind: 'timeout-now', version: messageVersion, from: raft.id, to, term: raft.term });
  emit(raft, { kind: 'transfer', to, phase: 'sent' });
}

function emitProgress(raft: Raft, { id: peer, state, match, next }: Progress): void {
  emit(raft, { kind: 'progress', peer, state, match, next });
}
