/** Messages as other members would send them, with only what a test cares about spelt out. */
import type {
  AppendReply,
  AppendRequest,
  Heartbeat,
  HeartbeatReply,
  SnapshotRequest,
  TimeoutNow,
  VoteReply,
  VoteRequest,
} from '../../../src/raft/core/types.js';

type Some<T> = Partial<T> & { readonly from: number; readonly to: number; readonly term: number };

export function voteRequest(given: Some<VoteRequest>): VoteRequest {
  return { kind: 'vote', version: 1, lastIndex: 0, lastTerm: 0, transfer: false, commit: 0, commitTerm: 0, ...given };
}

export function voteReply(given: Some<VoteReply>): VoteReply {
  return { kind: 'vote-reply', version: 1, reject: false, commit: 0, commitTerm: 0, ...given };
}

export function append(given: Some<AppendRequest>): AppendRequest {
  return { kind: 'append', version: 1, prevIndex: 0, prevTerm: 0, entries: [], commit: 0, ...given };
}

export function appendReply(given: Some<AppendReply>): AppendReply {
  return { kind: 'append-reply', version: 1, index: 0, reject: false, hintIndex: 0, hintTerm: 0, ...given };
}

export function heartbeat(given: Some<Heartbeat>): Heartbeat {
  return { kind: 'heartbeat', version: 1, commit: 0, readCount: 0, ...given };
}

export function heartbeatReply(given: Some<HeartbeatReply>): HeartbeatReply {
  return { kind: 'heartbeat-reply', version: 1, readCount: 0, ...given };
}

export function snapshotRequest(given: Some<SnapshotRequest> & Pick<SnapshotRequest, 'snapshot'>): SnapshotRequest {
  return { kind: 'snapshot', version: 1, ...given };
}

export function timeoutNow(given: Some<TimeoutNow>): TimeoutNow {
  return { kind: 'timeout-now', version: 1, ...given };
}
