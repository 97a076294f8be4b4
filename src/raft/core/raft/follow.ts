/**
 * What a follower does with a leader's messages.
 *
 * Keeps true: an append is accepted only where it fits on this log (paper 5.3); the commit index never goes beyond
 * what the message at hand proves to match (bug B10); nothing committed is ever taken back. Called by step.ts.
 *
 * Not here: terms and roles (step.ts).
 */
import { commitTo, guessMatch, lastIndex, tryAppend } from '../log.js';
import { type AppendRequest, type Heartbeat, messageVersion, type SnapshotRequest } from '../types.js';
import { restoreSnapshot } from './membership.js';
import { acceptAppend, rejectAppend, send } from './send.js';
import { emit, type Raft } from './state.js';

export function handleAppend(raft: Raft, request: AppendRequest): void {
  const { log } = raft;
  if (request.prevIndex < log.committed) {
    // Late, or from before a snapshot (bug B11): all of it that matters is committed here already.
    acceptAppend(raft, request.from, log.committed);
    return;
  }
  const result = tryAppend(log, request);
  if (result.kind === 'accepted') {
    const { conflict } = result;
    if (conflict !== undefined) {
      const theirs = request.entries[conflict.index - request.prevIndex - 1]?.term ?? 0;
      emit(raft, { kind: 'append-conflict', index: conflict.index, ours: conflict.term, theirs });
    }
    acceptAppend(raft, request.from, result.lastIndex);
    return;
  }
  // The leader's terms up to prevIndex are at most prevTerm: where ours are higher the logs cannot match.
  const hint = guessMatch(log, Math.min(request.prevIndex, lastIndex(log)), request.prevTerm);
  rejectAppend(raft, { to: request.from, index: request.prevIndex, hintIndex: hint.index, hintTerm: hint.term });
}

export function handleHeartbeat(raft: Raft, beat: Heartbeat): void {
  commitTo(raft.log, beat.commit);
  send(raft, {
    kind: 'heartbeat-reply',
    version: messageVersion,
    from: raft.id,
    to: beat.from,
    term: raft.term,
    readCount: beat.readCount,
  });
}

export function handleSnapshot(raft: Raft, { from, snapshot }: SnapshotRequest): void {
  const restored = restoreSnapshot(raft, snapshot);
  emit(raft, {
    kind: restored ? 'snapshot-restored' : 'snapshot-ignored',
    index: snapshot.index,
    commit: raft.log.committed,
  });
  acceptAppend(raft, from, restored ? lastIndex(raft.log) : raft.log.committed);
}
