/** One Raft message of each kind, with something in every field. */
import type { Entry, Message } from '../../../src/raft/core/types.js';

const head = { version: 1, from: 2 ** 53 - 1, to: 7, term: 1_048_577 };
const context = new Uint8Array([1, 2]);
const entries: readonly Entry[] = [
  { kind: 'normal', version: 1, term: 3, index: 10, data: new Uint8Array([0, 255]) },
  { kind: 'normal', version: 1, term: 3, index: 11, data: new Uint8Array(0) },
  { kind: 'conf-change', version: 1, term: 3, index: 12, change: { change: { kind: 'add-voter', peer: 9 }, context } },
  {
    kind: 'conf-change-v2',
    version: 2,
    term: 4,
    index: 13,
    change: {
      transition: 'explicit',
      changes: [
        { kind: 'remove', peer: 9 },
        { kind: 'add-learner', peer: 8 },
        { kind: 'update', peer: 0 },
      ],
      context: new Uint8Array(0),
    },
  },
];
const vote = { lastIndex: 5, lastTerm: 4, transfer: true, commit: 3, commitTerm: 2 };
const voteReply = { reject: true, commit: 3, commitTerm: 2 };

/** One of each kind: the compiler says when one is missing. */
export const messages: { readonly [Kind in Message['kind']]: Message & { readonly kind: Kind } } = {
  vote: { ...head, kind: 'vote', ...vote },
  'pre-vote': { ...head, kind: 'pre-vote', ...vote, transfer: false },
  'vote-reply': { ...head, kind: 'vote-reply', ...voteReply },
  'pre-vote-reply': { ...head, kind: 'pre-vote-reply', ...voteReply, reject: false },
  append: { ...head, kind: 'append', prevIndex: 9, prevTerm: 3, entries, commit: 9 },
  'append-reply': { ...head, kind: 'append-reply', index: 9, reject: true, hintIndex: 8, hintTerm: 2 },
  heartbeat: { ...head, kind: 'heartbeat', commit: 9, readCount: 4 },
  'heartbeat-reply': { ...head, kind: 'heartbeat-reply', readCount: 4 },
  propose: {
    ...head,
    term: 0,
    kind: 'propose',
    proposals: entries.map(({ term: _term, index: _index, ...proposal }) => proposal),
  },
  'read-index': { ...head, term: 0, kind: 'read-index', request: 2 ** 52 },
  'read-index-reply': { ...head, kind: 'read-index-reply', request: 2 ** 52, index: 9 },
  'transfer-leader': { ...head, kind: 'transfer-leader', transferee: 4 },
  'timeout-now': { ...head, kind: 'timeout-now' },
  snapshot: {
    ...head,
    kind: 'snapshot',
    snapshot: {
      version: 1,
      index: 9,
      term: 3,
      confState: { voters: [1, 2], learners: [3], votersOutgoing: [1], learnersNext: [2], autoLeave: true },
      data: new Uint8Array(0),
    },
  },
};
