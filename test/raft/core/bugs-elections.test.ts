/**
 * Bugs that other implementations had in elections, terms and votes (numbers as in test/raft/bugs.md).
 */
import t from 'tap';
import { campaign, createRawNode, ready, stepNode, tickNode, transferLeader } from '../../../src/raft/core/rawnode.js';
import type { ConfChange, ConfChangeV2, Entry } from '../../../src/raft/core/types.js';
import { append, heartbeat, timeoutNow, voteReply, voteRequest } from './messages.js';
import {
  change,
  configFor,
  diskWith,
  freshNetwork,
  idsUpTo,
  Network,
  networkWithLogs,
  single,
  takeMessages,
} from './network.js';
import { randomFrom } from './random.js';

const three = { voters: [1, 2, 3] };
const careful = { preVote: true, checkQuorum: true };
const noContext = new Uint8Array(0);
const addFour: ConfChange = { change: { kind: 'add-voter', peer: 4 }, context: noContext };
const addFourV2: ConfChangeV2 = change({ kind: 'add-voter', peer: 4 });

for (const [form, changeEntry] of [
  ['plain', { kind: 'conf-change', version: 1, index: 1, term: 1, change: addFour }],
  ['joint', { kind: 'conf-change-v2', version: 1, index: 1, term: 1, change: addFourV2 }],
] as const) {
  t.test(
    `B4: nobody campaigns, asked by the old leader or by its clock, over a ${form} change it has not applied`,
    async t => {
      const peer = single(1, { ...three, term: 1 });
      stepNode(peer.node, append({ from: 2, to: 1, term: 1, entries: [changeEntry], commit: 1 }));
      stepNode(peer.node, timeoutNow({ from: 2, to: 1, term: 1 }));
      for (let at = 0; at < 40; at++) tickNode(peer.node);
      t.equal(peer.node.raft.role, 'follower');
      t.equal(peer.node.raft.term, 1);
      takeMessages(peer);
      t.same(peer.node.raft.tracker.config.voters.incoming, [1, 2, 3, 4], 'now it is applied');
      stepNode(peer.node, timeoutNow({ from: 2, to: 1, term: 1 }));
      t.equal(peer.node.raft.role, 'candidate');
    },
  );
}

t.test('B5: a member restarted before it applied the change that gave it company does not elect itself', async t => {
  const storage = diskWith({ voters: [1], terms: [1], term: 1, vote: 1, commit: 2 });
  const add: Entry = {
    kind: 'conf-change-v2',
    version: 1,
    index: 2,
    term: 1,
    change: change({ kind: 'add-voter', peer: 2 }),
  };
  storage.append([add]);
  const node = createRawNode(configFor(1, storage));
  campaign(node);
  for (let at = 0; at < 40; at++) tickNode(node);
  t.equal(node.raft.term, 1);
  const net = new Network(new Map([[1, storage]]));
  net.settle();
  net.campaign(1);
  t.equal(net.raft(1).role, 'candidate', 'it needs the other one now');
});

t.test('B6: stepping down within a term keeps the vote', async t => {
  const peer = single(1, three, { preVote: true });
  stepNode(peer.node, voteRequest({ from: 2, to: 1, term: 1 }));
  campaign(peer.node);
  t.equal(peer.node.raft.role, 'pre-candidate');
  stepNode(peer.node, append({ from: 2, to: 1, term: 1 }));
  t.equal(peer.node.raft.role, 'follower');
  takeMessages(peer);
  peer.node.raft.leader = 0;
  stepNode(peer.node, voteRequest({ from: 3, to: 1, term: 1, lastIndex: 9, lastTerm: 1 }));
  t.match(takeMessages(peer), [{ kind: 'vote-reply', to: 3, reject: true }]);

  const net = freshNetwork(3, { checkQuorum: true });
  net.campaign(1);
  net.isolate(1);
  net.tick(1, 25);
  t.equal(net.raft(1).role, 'follower', 'it lost its quorum');
  t.equal(net.raft(1).vote, 1, 'and still has its vote of that term');
});

t.test('B14: learning of a higher term is not voting: the logs still decide', async t => {
  const peer = single(1, { ...three, terms: [1, 2] });
  stepNode(peer.node, voteRequest({ from: 2, to: 1, term: 9, lastIndex: 9, lastTerm: 1 }));
  t.match(takeMessages(peer), [{ kind: 'vote-reply', to: 2, term: 9, reject: true }]);
  t.same([peer.node.raft.term, peer.node.raft.vote], [9, 0]);
  stepNode(peer.node, voteRequest({ from: 3, to: 1, term: 9, lastIndex: 2, lastTerm: 2 }));
  t.match(takeMessages(peer), [{ kind: 'vote-reply', to: 3, term: 9, reject: false }]);
});

t.test('B17: a vote hangs on the one record that holds it together with its term', async t => {
  const { node } = single(1, three, { asyncStorage: true });
  stepNode(node, voteRequest({ from: 2, to: 1, term: 4 }));
  const out = ready(node);
  t.same(out.messages, [], 'nothing leaves before the disk');
  t.match(out.storageAppend, {
    hardState: { term: 4, vote: 2 },
    mustSync: true,
    responses: [{ kind: 'vote-reply', to: 2, reject: false }],
  });
  stepNode(node, voteRequest({ from: 3, to: 1, term: 4 }));
  const next = ready(node);
  t.same(next.messages, []);
  t.match(next.storageAppend, { hardState: undefined, responses: [{ kind: 'vote-reply', to: 3, reject: true }] });

  const candidate = single(1, three, { asyncStorage: true }).node;
  campaign(candidate);
  const own = ready(candidate);
  t.match(own.storageAppend, { hardState: { term: 1, vote: 1 }, responses: [{ kind: 'vote-reply', from: 1, to: 1 }] });
  t.equal(candidate.raft.tracker.votes.size, 0, 'its own vote counts when it is on disk');
});

t.test('B18: whatever links are cut, a majority that is fully connected gets a leader, and keeps it', async t => {
  const links: [number, number][] = [];
  for (const a of idsUpTo(5)) for (const b of idsUpTo(5)) if (a < b) links.push([a, b]);
  const random = randomFrom(18);
  for (let round = 0; round < 60; round++) {
    const members = idsUpTo(5).sort(() => random(2) - 0.5);
    const majority = members.slice(0, 3);
    const net = freshNetwork(5, { ...careful, random });
    net.campaign(members[random(5)]!);
    net.propose(net.leaders()[0]!, 'before');
    for (const [a, b] of links) {
      if (majority.includes(a) && majority.includes(b)) continue;
      const fate = random(3);
      if (fate === 0) net.cut(a, b);
      if (fate === 1) net.cutOneWay(...(random(2) === 0 ? ([a, b] as const) : ([b, a] as const)));
    }
    net.tickAll(120);
    const terms = members.map(id => net.raft(id).term);
    const leader = net
      .leaders()
      .find(
        id =>
          net.propose(id, 'after').kind === 'appended' &&
          net.raft(id).log.committed === net.raft(id).log.unstable.offset - 1,
      );
    t.not(leader, undefined, `round ${round}: somebody leads and commits`);
    net.tickAll(40);
    t.ok(
      net.leaders().includes(leader!),
      `round ${round}: and still does, ${terms} -> ${members.map(id => net.raft(id).term)}`,
    );
  }
});

t.test('B18: members that ask first and members that do not yet can be mixed during an upgrade', async t => {
  const voters = [1, 2, 3];
  const net = new Network(new Map());
  const random = randomFrom(3);
  net.add(1, diskWith({ voters, terms: [1, 1], term: 1 }), { preVote: true, random });
  net.add(2, diskWith({ voters, terms: [1, 1], term: 1 }), { preVote: true, random });
  // The one that was not upgraded yet ran ahead with its term while it was alone, with a shorter log.
  net.add(3, diskWith({ voters, terms: [1], term: 5 }), { random });
  net.tickAll(200);
  t.equal(net.leaders().length, 1);
  t.not(net.leaders()[0], 3, 'its log is too short');
  t.same(net.terms(3), net.terms(1));
});

t.test('B19: a candidate whose term ran ahead while it was cut off does not stay stuck', async t => {
  const net = freshNetwork(3, { checkQuorum: true });
  net.campaign(1);
  net.isolate(3);
  net.campaign(3);
  net.campaign(3);
  const ahead = net.raft(3).term;
  net.heal();
  net.tickAll(60);
  t.equal(net.leaders().length, 1);
  for (const id of idsUpTo(3)) t.ok(net.raft(id).term >= ahead);
  net.propose(net.leaders()[0]!, 'works');
  t.same(
    idsUpTo(3).map(id => net.texts(id)),
    [['works'], ['works'], ['works']],
  );
});

t.test('B19: with pre-vote, whoever comes back after being cut off disturbs nobody', async t => {
  const net = freshNetwork(3, careful);
  net.campaign(1);
  const { term } = net.raft(1);
  net.isolate(3);
  for (let at = 0; at < 100; at++) net.tickAll();
  net.heal();
  net.tickAll(60);
  t.same(net.leaders(), [1]);
  t.equal(net.raft(1).term, term);
});

t.test('B20: a member that does not know yet that it was promoted votes all the same', async t => {
  const peer = single(1, { voters: [2, 3], learners: [1] });
  stepNode(peer.node, voteRequest({ from: 2, to: 1, term: 2 }));
  t.match(takeMessages(peer), [{ kind: 'vote-reply', to: 2, reject: false }]);
});

t.test('B21: an election tells both sides what is committed', async t => {
  const net = networkWithLogs([[1, 1], [1], [1, 1]], { commitByVote: true });
  net.raft(2).log.committed = 1;
  net.isolate(3);
  // Member 2 loses because of its log, but 1 learns that the first entry is committed.
  net.campaign(2);
  t.equal(net.raft(2).role, 'candidate');
  t.equal(net.raft(1).log.committed, 1);

  const peer = single(1, { ...three, terms: [1, 1] }, { commitByVote: true });
  campaign(peer.node);
  takeMessages(peer);
  stepNode(peer.node, voteReply({ from: 2, to: 1, term: 2, reject: true, commit: 2, commitTerm: 1 }));
  t.equal(peer.node.raft.log.committed, 2);
  stepNode(peer.node, voteReply({ from: 3, to: 1, term: 2, commit: 5, commitTerm: 1 }));
  t.equal(peer.node.raft.log.committed, 2, 'only what is in its own log');
});

t.test('B23: a removed member that does not know it raises nobody else’s term', async t => {
  const net = freshNetwork(3, careful);
  net.campaign(1);
  net.isolate(3);
  net.change(1, { kind: 'remove', peer: 3 });
  const { term } = net.raft(1);
  net.tickAll(50);
  net.heal();
  net.tickAll(100);
  t.same(net.leaders(), [1]);
  t.equal(net.raft(1).term, term);
  t.equal(net.raft(2).term, term);
});

t.test('B45: a second leader of one term stops whoever meets it', async t => {
  const follower = single(1, { ...three, term: 3 }).node;
  stepNode(follower, heartbeat({ from: 2, to: 1, term: 3 }));
  t.throws(() => stepNode(follower, append({ from: 3, to: 1, term: 3 })), { code: 'bug' });

  const net = freshNetwork(3);
  net.campaign(1);
  t.throws(() => stepNode(net.peer(1).node, append({ from: 2, to: 1, term: 1 })), { code: 'bug' });
  t.throws(() => stepNode(net.peer(1).node, heartbeat({ from: 3, to: 1, term: 1 })), { code: 'bug' });
  stepNode(net.peer(1).node, append({ from: 2, to: 1, term: 2 }));
  t.equal(net.raft(1).leader, 2, 'a new term, a new leader');
});

t.test('B46: a leader that restarts can lead again within two election timeouts', async t => {
  const net = freshNetwork(3, careful);
  net.campaign(1);
  net.propose(1, 'before');
  net.tickAll(5);
  net.restart(1);
  // The others would take their time.
  net.raft(2).electionTimeout = 1_000;
  net.raft(3).electionTimeout = 1_000;
  let ticks = 0;
  while (net.leaders().length === 0 && ticks < 100) {
    net.tickAll();
    ticks++;
  }
  t.same(net.leaders(), [1]);
  t.ok(ticks <= 2 * 20, `${ticks} ticks`);
});

t.test('B46: only the leader’s own word makes its transferee campaign over a live leader', async t => {
  const net = freshNetwork(3, careful);
  net.campaign(1);
  net.tickAll(3);
  stepNode(net.peer(2).node, voteRequest({ from: 3, to: 2, term: 2, lastIndex: 9, lastTerm: 1 }));
  t.equal(net.raft(2).term, 1, 'ignored: it hears from its leader');
  transferLeader(net.peer(1).node, 3);
  net.settle();
  t.same(net.leaders(), [3]);
});
