/**
 * The one way in: every message and every acknowledgement of storage.
 *
 * Keeps true: a higher term makes a follower of anybody, except that pre-votes carry terms of the future; a message of
 * an older term changes nothing; what a role's rules see has this node's term. Called by rawnode.ts.
 *
 * Not here: the rules of the roles (elect.ts, lead.ts, follow.ts).
 */
import { entriesSize } from '../sizes.js';
import {
  type AppendRequest,
  type Heartbeat,
  type Input,
  type Message,
  messageVersion,
  nobody,
  type SnapshotRequest,
  type StepOutcome,
  type StorageAppendDone,
  type StorageApplyDone,
} from '../types.js';
import { stabilize } from '../unstable.js';
import { handleVoteReply, handleVoteRequest, hup, ignoresVotes, refuseOldPreVote } from './elect.js';
import { handleAppend, handleHeartbeat, handleSnapshot } from './follow.js';
import { handleAppendReply, handleHeartbeatReply } from './lead.js';
import { markApplied, markSnapshotStored } from './membership.js';
import { becomeFollower, proveLeader } from './roles.js';
import { routeProposals, routeRead, routeTransfer } from './route.js';
import { acceptAppend } from './send.js';
import { emit, type Raft } from './state.js';

export function step(raft: Raft, input: Input): StepOutcome {
  if (input.kind === 'storage-append-done') return storageAppendDone(raft, input);
  if (input.kind === 'storage-apply-done') return storageApplyDone(raft, input);
  if (input.version > messageVersion) return { kind: 'unknown-version', version: input.version };
  if (isReply(input) && !raft.tracker.byId.has(input.from)) return { kind: 'unknown-peer', peer: input.from };
  if (input.kind === 'propose') return routeProposals(raft, input.from, input.proposals);
  if (input.kind === 'append' && !isWellFormed(input)) return { kind: 'malformed' };
  if (meetTerm(raft, input)) dispatch(raft, input);
  return { kind: 'stepped' };
}

/**
 * A batch is on disk. After a change of term its entries may have been replaced, with the replacement still on its
 * way to disk: only an acknowledgement from this very term says that nothing will overwrite what it names.
 */
function storageAppendDone(raft: Raft, done: StorageAppendDone): StepOutcome {
  if (done.term < raft.term) {
    emit(raft, { kind: 'stale-message', from: raft.id, message: done.kind, messageTerm: done.term });
  } else if (done.index !== 0) {
    stabilize(raft.log.unstable, done.index, done.logTerm);
  }
  // A snapshot is committed state: it is good in any term.
  if (done.snapshot !== undefined) markSnapshotStored(raft, done.snapshot);
  return { kind: 'stepped' };
}

function storageApplyDone(raft: Raft, { entries }: StorageApplyDone): StepOutcome {
  const last = entries.at(-1);
  if (last !== undefined) markApplied(raft, last.index, entriesSize(entries));
  return { kind: 'stepped' };
}

/** Brings this node to the message's term. False if the message goes no further. */
function meetTerm(raft: Raft, message: Message): boolean {
  // Term 0: proposals and reads on their way to the leader.
  if (message.term === raft.term || message.term === 0) return true;
  if (message.term < raft.term) {
    handleOldTerm(raft, message);
    return false;
  }
  if ((message.kind === 'vote' || message.kind === 'pre-vote') && ignoresVotes(raft, message)) {
    const { from: to, kind: phase, lastIndex, lastTerm } = message;
    emit(raft, { kind: 'vote-ignored', to, phase, lastIndex, lastTerm });
    return false;
  }
  // Pre-votes ask about a term that nobody has entered yet, and grants of them echo it.
  if (message.kind === 'pre-vote' || (message.kind === 'pre-vote-reply' && !message.reject)) return true;
  emit(raft, { kind: 'higher-term', from: message.from, message: message.kind, messageTerm: message.term });
  becomeFollower(raft, message.term, isFromLeader(message) ? message.from : nobody);
  return true;
}

function handleOldTerm(raft: Raft, message: Message): void {
  const { checkQuorum, preVote } = raft.config;
  if ((message.kind === 'append' || message.kind === 'heartbeat') && (checkQuorum || preVote)) {
    // An old leader, or a leader this node cannot follow because its own term ran ahead while it was cut off: with
    // these options a vote would not tell it, so this answer's higher term does (bug B19).
    acceptAppend(raft, message.from, 0);
    return;
  }
  if (message.kind === 'pre-vote') {
    refuseOldPreVote(raft, message);
    return;
  }
  emit(raft, { kind: 'stale-message', from: message.from, message: message.kind, messageTerm: message.term });
}

function dispatch(raft: Raft, message: Message): void {
  switch (message.kind) {
    case 'vote':
    case 'pre-vote':
      handleVoteRequest(raft, message);
      return;
    case 'vote-reply':
      if (raft.role === 'candidate') handleVoteReply(raft, message);
      return;
    case 'pre-vote-reply':
      if (raft.role === 'pre-candidate') handleVoteReply(raft, message);
      return;
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      hearLeader(raft, message);
      return;
    case 'append-reply':
    case 'heartbeat-reply': {
      const progress = raft.role === 'leader' ? raft.tracker.byId.get(message.from) : undefined;
      if (progress === undefined) return;
      if (message.kind === 'append-reply') handleAppendReply(raft, progress, message);
      else handleHeartbeatReply(raft, progress, message);
      return;
    }
    case 'read-index':
      routeRead(raft, message.from, message.request);
      return;
    case 'read-index-reply':
      if (raft.role === 'follower') raft.readStates.push({ request: message.request, index: message.index });
      return;
    case 'transfer-leader':
      routeTransfer(raft, message.from, message.transferee);
      return;
    case 'timeout-now':
      // A transfer needs no pre-vote: the old leader itself asks for it.
      if (raft.role === 'follower') hup(raft, 'transfer');
      return;
    case 'propose':
      return;
  }
}

/** A message that only the leader of this term sends. Snapshots may be passed on by others, so they prove nothing. */
function hearLeader(raft: Raft, message: AppendRequest | Heartbeat | SnapshotRequest): void {
  if (message.kind !== 'snapshot') proveLeader(raft, message.from);
  if (raft.role === 'leader') return;
  if (raft.role !== 'follower') becomeFollower(raft, raft.term, message.from);
  raft.electionElapsed = 0;
  raft.leader = message.from;
  switch (message.kind) {
    case 'append':
      handleAppend(raft, message);
      return;
    case 'heartbeat':
      handleHeartbeat(raft, message);
      return;
    case 'snapshot':
      handleSnapshot(raft, message);
      return;
  }
}

function isFromLeader(message: Message): boolean {
  return message.kind === 'append' || message.kind === 'heartbeat' || message.kind === 'snapshot';
}

function isReply(message: Message): boolean {
  switch (message.kind) {
    case 'append-reply':
    case 'vote-reply':
    case 'pre-vote-reply':
    case 'heartbeat-reply':
    case 'read-index-reply':
      return true;
    default:
      return false;
  }
}

/** Entries follow on one another and on prevIndex, and none is from a later term than its leader's. */
function isWellFormed({ entries, prevIndex, term }: AppendRequest): boolean {
  const first = entries[0];
  const last = entries.at(-1);
  if (first === undefined || last === undefined) return true;
  return first.index === prevIndex + 1 && last.index === prevIndex + entries.length && last.term <= term;
}
