/**
 * The Raft paper (Ongaro and Ousterhout, extended version), rule by rule, each named by its section: the log and
 * its commitment (9 of the 26).
 *
 * Not here: rules that the paper does not know (pre-vote, check-quorum, joint changes as they are applied).
 */
import t from 'tap';
import { propose, stepNode } from '../../../src/raft/core/rawnode.js';
import type { Message, PeerId } from '../../../src/raft/core/types.js';
import { asLeader, settledLeader, three } from './leaders.js';
import { append, appendReply } from './messages.js';
import { bytes, entry, freshNetwork, idsUpTo, networkWithLogs, single, takeMessages } from './network.js';

t.test('5.3: a leader appends a proposal to its log and sends it with what precedes it', async t => {
  const peer = settledLeader(3);
  const { node, storage } = peer;
  propose(node, [bytes('some data')]);
  t.equal(storage.lastIndex(), 1, 'not stored yet');
  const messages = takeMessages(peer);
  const expected = {
    kind: 'append',
    term: 1,
    prevIndex: 1,
    prevTerm: 1,
    commit: 1,
    entries: [entry(2, 1, 'some data')],
  };
  t.match(messages, [
    { ...expected, to: 2 },
    { ...expected, to: 3 },
  ]);
  t.equal(storage.lastIndex(), 2);
  t.equal(node.raft.log.committed, 1, 'not committed by the leader alone');
});

t.test(
  '5.3: an entry that a majority has is committed, applied, and the followers are told with the next append',
  async t => {
    const peer = settledLeader(3);
    propose(peer.node, [bytes('some data')]);
    takeMessages(peer);
    stepNode(peer.node, appendReply({ from: 2, to: 1, term: 1, index: 2 }));
    t.equal(peer.node.raft.log.committed, 2);
    const messages = takeMessages(peer);
    t.same(peer.applied.at(-1), entry(2, 1, 'some data'));
    t.match(messages, [
      { kind: 'append', to: 2, commit: 2 },
      { kind: 'append', to: 3, commit: 2 },
    ]);
  },
);

t.test('5.3: acknowledgements of a majority, the leader among them, commit an entry', async t => {
  const cases: [number, PeerId[], boolean][] = [
    [1, [], true],
    [3, [], false],
    [3, [2], true],
    [3, [2, 3], true],
    [5, [], false],
    [5, [2], false],
    [5, [2, 3], true],
    [5, [2, 3, 4], true],
    [5, [2, 3, 4, 5], true],
  ];
  for (const [size, acks, committed] of cases) {
    const peer = settledLeader(size);
    const { lastIndex } = peer.storage;
    propose(peer.node, [bytes('some data')]);
    takeMessages(peer);
    for (const from of acks) stepNode(peer.node, appendReply({ from, to: 1, term: 1, index: lastIndex() }));
    t.equal(peer.node.raft.log.committed >= lastIndex(), committed, `${size} members, ${acks.length} acknowledgements`);
  }
});

t.test('5.3: committing an entry commits all that precede it, of earlier leaders too', async t => {
  for (const terms of [[], [2], [1, 2], [1]]) {
    const peer = single(1, { ...three, terms, term: 2 });
    asLeader(peer.node);
    takeMessages(peer);
    propose(peer.node, [bytes('some data')]);
    takeMessages(peer);
    const last = terms.length + 2;
    stepNode(peer.node, appendReply({ from: 2, to: 1, term: 3, index: last }));
    takeMessages(peer);
    t.same(
      peer.applied.map(each => [each.index, each.term]),
      [...terms, 3, 3].map((term, at) => [at + 1, term]),
    );
  }
});

t.test('5.3: a follower applies exactly what its leader says is committed, in order', async t => {
  const cases: [string[], number][] = [
    [['some data'], 1],
    [['some data', 'more'], 2],
    [['more', 'some data'], 2],
    [['some data', 'more'], 1],
  ];
  for (const [texts, commit] of cases) {
    const peer = single(1, { ...three, term: 1 });
    const entries = texts.map((text, at) => entry(at + 1, 1, text));
    stepNode(peer.node, append({ from: 2, to: 1, term: 1, entries, commit }));
    takeMessages(peer);
    t.equal(peer.node.raft.log.committed, commit);
    t.same(peer.applied, entries.slice(0, commit));
  }
});

t.test(
  '5.3: a follower accepts an append only where its log matches, and says where it may match otherwise',
  async t => {
    const cases: [{ prevIndex: number; prevTerm: number }, Partial<Message>][] = [
      [
        { prevIndex: 0, prevTerm: 0 },
        { kind: 'append-reply', reject: false, index: 1 },
      ],
      [
        { prevIndex: 1, prevTerm: 1 },
        { kind: 'append-reply', reject: false, index: 1 },
      ],
      [
        { prevIndex: 2, prevTerm: 2 },
        { kind: 'append-reply', reject: false, index: 2 },
      ],
      [
        { prevIndex: 2, prevTerm: 1 },
        { kind: 'append-reply', reject: true, index: 2, hintIndex: 1, hintTerm: 1 },
      ],
      [
        { prevIndex: 3, prevTerm: 3 },
        { kind: 'append-reply', reject: true, index: 3, hintIndex: 2, hintTerm: 2 },
      ],
    ];
    for (const [place, reply] of cases) {
      const peer = single(1, { ...three, terms: [1, 2], commit: 1, term: 2 }, { applied: 1 });
      stepNode(peer.node, append({ from: 2, to: 1, term: 2, ...place }));
      t.match(takeMessages(peer), [{ ...reply, to: 2, term: 2 }], JSON.stringify(place));
    }
  },
);

t.test('5.3: a conflict cuts the log from there on, a repeated append does not', async t => {
  const cases: [number, number, number[], number[]][] = [
    [2, 2, [3], [1, 2, 3]],
    [1, 1, [3, 4], [1, 3, 4]],
    [0, 0, [1], [1, 2]],
    [0, 0, [3], [3]],
  ];
  for (const [prevIndex, prevTerm, sent, terms] of cases) {
    const peer = single(1, { ...three, terms: [1, 2] });
    const entries = sent.map((term, at) => entry(prevIndex + 1 + at, term));
    stepNode(peer.node, append({ from: 2, to: 1, term: 4, prevIndex, prevTerm, entries }));
    takeMessages(peer);
    t.same(
      terms.map((_, at) => peer.storage.term(at + 1)),
      terms,
    );
    t.equal(peer.storage.lastIndex(), terms.length);
  }
});

t.test('5.3: figure 7: a leader brings every follower log to equal its own', async t => {
  const own = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  const followers = [
    [1, 1, 1, 4, 4, 5, 5, 6, 6],
    [1, 1, 1, 4],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    [1, 1, 1, 4, 4, 4, 4],
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
  ];
  for (const terms of followers) {
    // The third member has an empty log and gives the vote that the second may withhold.
    const net = networkWithLogs([own, terms, []]);
    for (const id of [1, 2, 3]) net.raft(id).term = 7;
    net.campaign(1);
    t.same(net.leaders(), [1]);
    net.propose(1);
    t.same(net.terms(2), [...own, 8, 8], `from ${terms}`);
    t.same(net.terms(3), [...own, 8, 8]);
  }
});

t.test('5.4.2: only entries of the current term are committed by counting', async t => {
  for (const [index, commit] of [
    [1, 0],
    [2, 0],
    [3, 3],
  ] as const) {
    const peer = single(1, { ...three, terms: [1, 2], term: 2 });
    asLeader(peer.node);
    takeMessages(peer);
    propose(peer.node, [bytes('own')]);
    takeMessages(peer);
    stepNode(peer.node, appendReply({ from: 2, to: 1, term: 3, index }));
    t.equal(peer.node.raft.log.committed, commit, `acknowledged up to ${index}`);
  }
});

t.test('a network of fresh members elects, commits and agrees', async t => {
  const net = freshNetwork(5);
  net.campaign(1);
  net.propose(1, 'a');
  net.propose(3, 'b');
  for (const id of idsUpTo(5)) t.same(net.texts(id), ['a', 'b']);
});
