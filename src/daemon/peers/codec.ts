/**
 * Messages of Raft between the core's words and those of raft.proto. Both directions are total: what one side can say, the
 * other can hear, and decoding gives back what was encoded.
 *
 * Called by peers/transport.ts and peers/serve.ts. Not here: the log's own bytes on disk (raft/storage/batch.ts), whether a
 * version is known (the core drops what it does not know).
 */
import type {
  RaftAppend,
  RaftAppendReply,
  RaftChangeStep,
  RaftEntry,
  RaftMessage,
  RaftSnapshot,
  RaftVote,
  RaftVoteReply,
} from '../../gen/types.js';
import type {
  ConfChangeSingle,
  Entry,
  Message,
  PeerId,
  Proposal,
  Snapshot,
  SnapshotRequest,
} from '../../raft/core/types.js';

export function toWire(message: Message): RaftMessage {
  const { version, from, to, term } = message;
  return { version, from, to, term, body: bodyOf(message) };
}

function bodyOf(message: Message): RaftMessage['body'] {
  switch (message.kind) {
    case 'vote':
    case 'pre-vote':
      return { ...voteOf(message), kind: 'vote', pre: message.kind === 'pre-vote' };
    case 'vote-reply':
    case 'pre-vote-reply': {
      const { reject, commit, commitTerm } = message;
      return { kind: 'voteReply', pre: message.kind === 'pre-vote-reply', reject, commit, commitTerm };
    }
    case 'append': {
      const { prevIndex, prevTerm, commit } = message;
      return { kind: 'append', prevIndex, prevTerm, entries: message.entries.map(entryToWire), commit };
    }
    case 'append-reply': {
      const { index, reject, hintIndex, hintTerm } = message;
      return { kind: 'appendReply', index, reject, hintIndex, hintTerm };
    }
    case 'heartbeat':
      return { kind: 'heartbeat', commit: message.commit, readCount: message.readCount };
    case 'heartbeat-reply':
      return { kind: 'heartbeatReply', readCount: message.readCount };
    case 'propose':
      return {
        kind: 'propose',
        entries: message.proposals.map(proposal => entryToWire({ ...proposal, term: 0, index: 0 })),
      };
    case 'read-index':
      return { kind: 'readIndex', request: message.request };
    case 'read-index-reply':
      return { kind: 'readIndexReply', request: message.request, index: message.index };
    case 'transfer-leader':
      return { kind: 'transfer', transferee: message.transferee };
    case 'timeout-now':
      return { kind: 'timeoutNow' };
    case 'snapshot':
      return { kind: 'snapshot', ...snapshotToWire(message.snapshot) };
  }
}

function voteOf(message: Message & { readonly kind: 'vote' | 'pre-vote' }): Omit<RaftVote, 'pre'> {
  const { lastIndex, lastTerm, transfer, commit, commitTerm } = message;
  return { lastIndex, lastTerm, transfer, commit, commitTerm };
}

export function fromWire({ version, from, to, term, body }: RaftMessage): Message {
  const head = { version, from, to, term };
  switch (body.kind) {
    case 'vote':
      return voteFrom(head, body);
    case 'voteReply':
      return voteReplyFrom(head, body);
    case 'append':
      return appendFrom(head, body);
    case 'appendReply':
      return appendReplyFrom(head, body);
    case 'heartbeat':
      return { ...head, kind: 'heartbeat', commit: body.commit, readCount: body.readCount };
    case 'heartbeatReply':
      return { ...head, kind: 'heartbeat-reply', readCount: body.readCount };
    case 'propose':
      return { ...head, kind: 'propose', proposals: body.entries.map(proposalFrom) };
    case 'readIndex':
      return { ...head, kind: 'read-index', request: body.request };
    case 'readIndexReply':
      return { ...head, kind: 'read-index-reply', request: body.request, index: body.index };
    case 'transfer':
      return { ...head, kind: 'transfer-leader', transferee: body.transferee };
    case 'timeoutNow':
      return { ...head, kind: 'timeout-now' };
    case 'snapshot':
      return { ...head, kind: 'snapshot', snapshot: snapshotFrom(body) };
  }
}

interface Head {
  readonly version: number;
  readonly from: PeerId;
  readonly to: PeerId;
  readonly term: number;
}

function voteFrom(head: Head, { pre, lastIndex, lastTerm, transfer, commit, commitTerm }: RaftVote): Message {
  return { ...head, kind: pre ? 'pre-vote' : 'vote', lastIndex, lastTerm, transfer, commit, commitTerm };
}

function voteReplyFrom(head: Head, { pre, reject, commit, commitTerm }: RaftVoteReply): Message {
  return { ...head, kind: pre ? 'pre-vote-reply' : 'vote-reply', reject, commit, commitTerm };
}

function appendFrom(head: Head, { prevIndex, prevTerm, entries, commit }: RaftAppend): Message {
  return { ...head, kind: 'append', prevIndex, prevTerm, entries: entries.map(entryFrom), commit };
}

function appendReplyFrom(head: Head, { index, reject, hintIndex, hintTerm }: RaftAppendReply): Message {
  return { ...head, kind: 'append-reply', index, reject, hintIndex, hintTerm };
}

/** A snapshot's name as a message, for the exchange that brings its content. */
export function snapshotRequestFrom(message: RaftMessage): SnapshotRequest | undefined {
  const decoded = fromWire(message);
  return decoded.kind === 'snapshot' ? decoded : undefined;
}

function entryToWire(entry: Entry): RaftEntry {
  const { version, term, index } = entry;
  return { version, term, index, content: contentOf(entry) };
}

function contentOf(entry: Entry): RaftEntry['content'] {
  switch (entry.kind) {
    case 'normal':
      return { kind: 'data', value: entry.data };
    case 'conf-change':
      return { kind: 'change', step: stepToWire(entry.change.change), context: entry.change.context };
    case 'conf-change-v2': {
      const { transition, changes, context } = entry.change;
      return { kind: 'changeSet', transition, steps: changes.map(stepToWire), context };
    }
  }
}

function entryFrom({ version, term, index, content }: RaftEntry): Entry {
  return { ...withoutPlace(version, content), term, index };
}

function proposalFrom({ version, content }: RaftEntry): Proposal {
  return withoutPlace(version, content);
}

function withoutPlace(version: number, content: RaftEntry['content']): Proposal {
  switch (content.kind) {
    case 'data':
      return { kind: 'normal', version, data: content.value };
    case 'change':
      return {
        kind: 'conf-change',
        version,
        change: { change: stepFrom(content.step), context: content.context },
      };
    case 'changeSet': {
      const { transition, steps, context } = content;
      return { kind: 'conf-change-v2', version, change: { transition, changes: steps.map(stepFrom), context } };
    }
  }
}

function stepToWire({ kind, peer }: ConfChangeSingle): RaftChangeStep {
  return { action: kind, peer };
}

function stepFrom({ action, peer }: RaftChangeStep): ConfChangeSingle {
  return { kind: action, peer };
}

function snapshotToWire({ version, index, term, confState }: Snapshot): RaftSnapshot {
  return { version, index, term, ...confState };
}

/** What the snapshot holds is a file, not these bytes. */
function snapshotFrom({ version, index, term, ...confState }: RaftSnapshot): Snapshot {
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = confState;
  return {
    version,
    index,
    term,
    confState: { voters, learners, votersOutgoing, learnersNext, autoLeave },
    data: new Uint8Array(0),
  };
}
