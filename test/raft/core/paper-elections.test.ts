/**
 * The Raft paper (Ongaro and Ousterhout, extended version), rule by rule, each named by its section: terms and
 * elections (17 of the 26).
 *
 * Not here: rules that the paper does not know (pre-vote, check-quorum, joint changes as they are applied).
 */
import t from 'tap';
import { campaign, stepNode, tickNode } from '../../../src/raft/core/rawnode.js';
import type { PeerId } from '../../../src/raft/core/types.js';
import { asCandidate, asFollower, asLeader, settledLeader, three } from './leaders.js';
import { append, heartbeat, voteReply, voteRequest } from './messages.js';
import { entry, idsUpTo, single, takeMessages } from './network.js';
import { randomFrom } from './random.js';

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
