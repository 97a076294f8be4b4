/**
 * Makes messages, and decides which of them may leave before the disk has answered.
 *
 * Keeps true: whatever another member counts as a promise (a vote, a log position) leaves only after everything it
 * rests on is on disk; refusals too. All else leaves at once. Appends are contiguous. Called by all rules.
 *
 * Not here: when a message is due.
 */
import { CoveyError } from '../../../errors.js';
import {
  type AppendReply,
  type AppendRequest,
  type Message,
  messageVersion,
  type PeerId,
  type VoteReply,
} from '../types.js';
import type { Raft } from './state.js';

/** Sends at once. */
export function send(raft: Raft, message: Message): void {
  if (message.to === raft.id) {
    throw new CoveyError('bug', 'Cannot send a message to oneself', { state: `${message.kind} of ${raft.id}` });
  }
  raft.messages.push(message);
}

/** Accepts everything up to `index`: leaves when it is on disk. To oneself it is the leader's own acknowledgement. */
export function acceptAppend(raft: Raft, to: PeerId, index: number): void {
  raft.afterAppend.push(appendReply(raft, { to, index, reject: false, hintIndex: 0, hintTerm: 0 }));
}

export interface AppendRejection {
  readonly to: PeerId;
  readonly index: number;
  readonly hintIndex: number;
  readonly hintTerm: number;
}

export function rejectAppend(raft: Raft, rejection: AppendRejection): void {
  raft.afterAppend.push(appendReply(raft, { ...rejection, reject: true }));
}

export interface VoteAnswer {
  readonly kind: VoteReply['kind'];
  readonly to: PeerId;
  /** A granted pre-vote carries the term asked for, which is not this node's. */
  readonly term: number;
  readonly reject: boolean;
  readonly commit: number;
  readonly commitTerm: number;
}

export function replyToVote(raft: Raft, { kind, to, term, reject, commit, commitTerm }: VoteAnswer): void {
  if (term === 0) throw new CoveyError('bug', 'Cannot answer a vote without a term', { state: `${kind} to ${to}` });
  raft.afterAppend.push({ kind, version: messageVersion, from: raft.id, to, term, reject, commit, commitTerm });
}

export type AppendBody = Pick<AppendRequest, 'to' | 'prevIndex' | 'prevTerm' | 'entries' | 'commit'>;

export function sendAppendRequest(raft: Raft, { to, prevIndex, prevTerm, entries, commit }: AppendBody): void {
  const first = entries[0];
  const last = entries.at(-1);
  if (first !== undefined && last !== undefined) {
    if (first.index !== prevIndex + 1 || last.index !== prevIndex + entries.length || first.term < prevTerm) {
      throw new CoveyError('bug', 'Cannot send entries that do not follow on one another', {
        state: `after (${prevIndex}, ${prevTerm}): ${entries.length} entries, ${first.index} to ${last.index}`,
      });
    }
  }
  send(raft, {
    kind: 'append',
    version: messageVersion,
    from: raft.id,
    to,
    term: raft.term,
    prevIndex,
    prevTerm,
    entries,
    commit,
  });
}

function appendReply(raft: Raft, body: Omit<AppendReply, 'kind' | 'version' | 'from' | 'term'>): AppendReply {
  return {
    kind: 'append-reply',
    version: messageVersion,
    from: raft.id,
    to: body.to,
    term: raft.term,
    index: body.index,
    reject: body.reject,
    hintIndex: body.hintIndex,
    hintTerm: body.hintTerm,
  };
}
