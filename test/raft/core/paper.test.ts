/**
 * The Raft paper (Ongaro and Ousterhout, extended version), rule by rule: 26 tests, each named by its section.
 *
 * Not here: rules that the paper does not know (pre-vote, check-quorum, joint changes as they are applied).
 */
import t from 'tap';
import { becomeCandidate, becomeLeader } from '../../../src/raft/core/raft/roles.js';
import { campaign, propose, type RawNode, stepNode, tickNode } from '../../../src/raft/core/rawnode.js';
import type { Message, PeerId } from '../../../src/raft/core/types.js';
import { append, appendReply, heartbeat, voteReply, voteRequest } from './messages.js';
import { bytes, entry, freshNetwork, idsUpTo, networkWithLogs, type Peer, single, takeMessages } from './network.js';
import { randomFrom } from './random.js';

const three = { voters: [1, 2, 3] };
type RoleMaker = (node: RawNode) => void;
const asFollower: RoleMaker = () => undefined;
const asCandidate: RoleMaker = node => becomeCandidate(node.raft);
const asLeader: RoleMaker = node => {
  becomeCandidate(node.raft);
  becomeLeader(node.raft);
};

/** A leader of `count` members whose first entry everybody has. */
function settledLeader(count: number): Peer {
  const peer = single(1, { voters: idsUpTo(count) });
  asLeader(peer.node);
  takeMessages(peer);
  const { term } = peer.node.raft;
  for (const from of idsUpTo(count).slice(1)) stepNode(peer.node, appendReply({ from, to: 1, term, index: 1 }));
  takeMessages(peer);
  return peer;
}

for (const [role, make] of [
  ['follower', asFollower],
  ['candidate', asCandidate],
  ['leader', asLeader],
] as const) {
  t.test(`5.1: a ${role} that hears of a higher term adopts it and becomes a follower`, async t => {
    const { node } = single(1, three);
    make(node);
    stepNode(node, append({ from: 2, to: 1, term: 9 }));
    t.equal(node.raft.term, 9);
    t.equal(node.raft.role, 'follower');
    t.equal(node.raft.leader, 2);
  });
}

t.test('5.1: a request with a stale term changes nothing', async t => {
  const peer = single(1, { ...three, term: 5 });
  const log = [entry(1, 4)];
  stepNode(peer.node, append({ from: 2, to: 1, term: 4, entries: log, commit: 1 }));
  stepNode(peer.node, voteRequest({ from: 2, to: 1, term: 4, lastIndex: 9, lastTerm: 4 }));
  t.same(takeMessages(peer), []);
  t.equal(peer.node.raft.term, 5);
  t.equal(peer.node.raft.vote, 0);
  t.equal(peer.storage.lastIndex(), 0);
});

t.test('5.2: a server starts as a follower', async t => {
  t.equal(single(1, three).node.raft.role, 'follower');
});

t.test('5.2: a leader sends a heartbeat to every other at every interval', async t => {
  const peer = settledLeader(3);
  takeMessages(peer);
  tickNode(peer.node);
  const beats = takeMessages(peer);
  t.match(beats, [
    { kind: 'heartbeat', to: 2, term: 1 },
    { kind: 'heartbeat', to: 3, term: 1 },
  ]);
  t.notOk(
    beats.some(beat => 'entries' in beat),
    'they carry no entries',
  );
});

for (const [role, make, startTerm] of [
  ['follower', asFollower, 0],
  ['candidate', asCandidate, 1],
] as const) {
  t.test(`5.2: a ${role} that hears nothing starts an election: next term, own vote, everybody asked`, async t => {
    const peer = single(1, three);
    make(peer.node);
    takeMessages(peer);
    for (let at = 1; at < 20; at++) tickNode(peer.node);
    t.equal(peer.node.raft.term, startTerm + 1);
    t.equal(peer.node.raft.role, 'candidate');
    t.equal(peer.node.raft.vote, 1);
    const asked = takeMessages(peer);
    t.match(asked, [
      { kind: 'vote', to: 2, term: startTerm + 1 },
      { kind: 'vote', to: 3, term: startTerm + 1 },
    ]);
    t.equal(asked.length, 2);
    t.equal(peer.node.raft.tracker.votes.get(1), true, 'the own vote is counted');
  });
}

t.test('5.2: one round of answers decides an election as soon as a majority has spoken', async t => {
  const cases: [number, Record<number, boolean>, 'leader' | 'follower' | 'candidate'][] = [
    [1, {}, 'leader'],
    [3, { 2: true, 3: true }, 'leader'],
    [3, { 2: true }, 'leader'],
    [5, { 2: true, 3: true, 4: true, 5: true }, 'leader'],
    [5, { 2: true, 3: true, 4: true }, 'leader'],
    [5, { 2: true, 3: true }, 'leader'],
    [3, { 2: false, 3: false }, 'follower'],
    [5, { 2: false, 3: false, 4: false, 5: false }, 'follower'],
    [5, { 2: true, 3: false, 4: false, 5: false }, 'follower'],
    [3, {}, 'candidate'],
    [5, { 2: true }, 'candidate'],
    [5, { 2: false, 3: false }, 'candidate'],
    [5, {}, 'candidate'],
  ];
  for (const [size, votes, role] of cases) {
    const peer = single(1, { voters: idsUpTo(size) });
    campaign(peer.node);
    takeMessages(peer);
    for (const [from, granted] of Object.entries(votes)) {
      stepNode(peer.node, voteReply({ from: Number(from), to: 1, term: 1, reject: !granted }));
    }
    t.equal(peer.node.raft.role, role, `${size} members, ${JSON.stringify(votes)}`);
    t.equal(peer.node.raft.term, 1);
  }
});

t.test('5.2: a follower votes for at most one candidate a term, first come first served', async t => {
  const cases: [PeerId, PeerId, boolean][] = [
    [0, 2, false],
    [0, 3, false],
    [2, 2, false],
    [3, 3, false],
    [2, 3, true],
    [3, 2, true],
  ];
  for (const [vote, asker, reject] of cases) {
    const peer = single(1, { ...three, term: 1, vote });
    stepNode(peer.node, voteRequest({ from: asker, to: 1, term: 1 }));
    t.match(
      takeMessages(peer),
      [{ kind: 'vote-reply', to: asker, term: 1, reject }],
      `voted ${vote}, asked by ${asker}`,
    );
  }
});

t.test('5.2: a candidate that hears from a leader of its own or a later term follows it', async t => {
  for (const term of [1, 2]) {
    for (const message of [append({ from: 2, to: 1, term }), heartbeat({ from: 2, to: 1, term })]) {
      const { node } = single(1, three);
      campaign(node);
      stepNode(node, message);
      t.equal(node.raft.role, 'follower');
      t.equal(node.raft.leader, 2);
      t.equal(node.raft.term, term);
    }
  }
});

for (const [role, make] of [
  ['follower', asFollower],
  ['candidate', asCandidate],
] as const) {
  t.test(`5.2: the election timeout of a ${role} is random in [T, 2T)`, async t => {
    const seen = new Set<number>();
    const random = randomFrom(11);
    const electionTicks = 10;
    for (let round = 0; round < 50 * electionTicks; round++) {
      const peer = single(1, three, { random, electionTicks });
      make(peer.node);
      takeMessages(peer);
      let ticks = 0;
      for (let asked = false; !asked; ticks++) {
        tickNode(peer.node);
        asked = takeMessages(peer).length > 0;
      }
      seen.add(ticks);
    }
    t.same(
      [...seen].sort((a, b) => a - b),
      Array.from({ length: electionTicks }, (_, at) => electionTicks + at),
    );
  });

  t.test(`5.2: random timeouts keep several ${role}s from campaigning at once, mostly`, async t => {
    const random = randomFrom(12);
    const electionTicks = 10;
    let conflicts = 0;
    for (let round = 0; round < 1_000; round++) {
      const peers = idsUpTo(5).map(id => single(id, { voters: idsUpTo(5) }, { random, electionTicks }));
      for (const peer of peers) {
        make(peer.node);
        takeMessages(peer);
      }
      let campaigns = 0;
      while (campaigns === 0) {
        for (const peer of peers) {
          tickNode(peer.node);
          if (takeMessages(peer).length > 0) campaigns++;
        }
      }
      if (campaigns > 1) conflicts++;
    }
    t.ok(conflicts <= 300, `${conflicts} of 1,000 rounds`);
  });
}

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

t.test('5.4.1: a request for a vote tells the index and term of the last entry', async t => {
  for (const [terms, term] of [
    [[1], 2],
    [[1, 2], 3],
  ] as const) {
    const peer = single(1, { ...three, terms, term: term - 1 });
    for (let at = 0; at < 20; at++) tickNode(peer.node);
    const asked = takeMessages(peer);
    const expected = { kind: 'vote', term, lastIndex: terms.length, lastTerm: terms.at(-1) };
    t.match(asked, [
      { ...expected, to: 2 },
      { ...expected, to: 3 },
    ]);
  }
});

t.test('5.4.1: a vote is given only to a candidate whose log is at least as up to date', async t => {
  const cases: [number[], number, number, boolean][] = [
    // Equal last terms: the longer log wins.
    [[1], 1, 1, false],
    [[1], 1, 2, false],
    [[1, 1], 1, 1, true],
    // The candidate's last term is higher.
    [[1], 2, 1, false],
    [[1], 2, 2, false],
    [[1, 1], 2, 1, false],
    // The voter's last term is higher.
    [[2], 1, 1, true],
    [[2], 1, 2, true],
    [[2, 2], 1, 1, true],
    [[2, 1], 1, 1, true],
  ];
  for (const [terms, lastTerm, lastIndex, reject] of cases) {
    const peer = single(1, { ...three, terms });
    stepNode(peer.node, voteRequest({ from: 2, to: 1, term: 3, lastTerm, lastIndex }));
    t.match(
      takeMessages(peer),
      [{ kind: 'vote-reply', term: 3, reject }],
      `own ${terms}, candidate (${lastIndex}, ${lastTerm})`,
    );
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
