/**
 * The core as its driver sees it: what it takes, what it hands out, and the corners of elections and flow that the
 * paper and the table of bugs leave open.
 */
import t from 'tap';
import {
  advance,
  campaign,
  createRawNode,
  forgetLeader,
  hasReady,
  propose,
  readIndex,
  ready,
  reportSnapshot,
  reportUnreachable,
  stepDown,
  stepNode,
  tickNode,
} from '../../../src/raft/core/rawnode.js';
import type { TraceEvent } from '../../../src/raft/core/trace.js';
import type { Message, StorageResponse } from '../../../src/raft/core/types.js';
import { append, appendReply, heartbeat, heartbeatReply, voteReply, voteRequest } from './messages.js';
import {
  bytes,
  compactPeer,
  configFor,
  diskWith,
  entry,
  freshNetwork,
  idsUpTo,
  Network,
  networkWithLogs,
  single,
  takeMessages,
} from './network.js';

const three = { voters: [1, 2, 3] };

t.test('messages of a version not known, and answers of strangers, change nothing', async t => {
  const { node } = single(1, three);
  t.same(stepNode(node, { ...append({ from: 2, to: 1, term: 9 }), version: 99 }), {
    kind: 'unknown-version',
    version: 99,
  });
  t.same(stepNode(node, appendReply({ from: 8, to: 1, term: 9 })), { kind: 'unknown-peer', peer: 8 });
  t.equal(node.raft.term, 0);
  t.equal(
    stepNode(node, append({ from: 8, to: 1, term: 9 })).kind,
    'stepped',
    'a leader may be one that is not known here yet',
  );
  t.equal(node.raft.leader, 8);
});

t.test('a pre-vote of an older term is refused with the newer one, so that the asker catches up', async t => {
  const peer = single(1, { ...three, term: 5 }, { preVote: true });
  stepNode(peer.node, voteRequest({ kind: 'pre-vote', from: 2, to: 1, term: 3 }));
  t.match(takeMessages(peer), [{ kind: 'pre-vote-reply', to: 2, term: 5, reject: true }]);
  const asker = single(2, { ...three, term: 2 }, { preVote: true });
  campaign(asker.node);
  stepNode(asker.node, voteReply({ kind: 'pre-vote-reply', from: 1, to: 2, term: 5, reject: true }));
  t.same([asker.node.raft.role, asker.node.raft.term], ['follower', 5]);
});

t.test('a pre-vote changes nothing at either end until a majority agrees', async t => {
  const peer = single(1, { ...three, term: 1 }, { preVote: true });
  stepNode(peer.node, voteRequest({ kind: 'pre-vote', from: 2, to: 1, term: 2 }));
  t.match(takeMessages(peer), [{ kind: 'pre-vote-reply', to: 2, term: 2, reject: false }]);
  t.same([peer.node.raft.term, peer.node.raft.vote], [1, 0]);
  campaign(peer.node);
  t.same([peer.node.raft.role, peer.node.raft.term, peer.node.raft.vote], ['pre-candidate', 1, 0]);
  takeMessages(peer);
  stepNode(peer.node, voteReply({ kind: 'pre-vote-reply', from: 2, to: 1, term: 2 }));
  t.same([peer.node.raft.role, peer.node.raft.term, peer.node.raft.vote], ['candidate', 2, 1]);
});

t.test('a split vote with pre-vote is settled in the next round', async t => {
  const net = freshNetwork(3, { preVote: true });
  net.campaign(1);
  net.isolate(1);
  for (const id of [2, 3]) campaign(net.peer(id).node);
  net.settle();
  t.same(net.leaders(), [1], 'both voted for themselves; only the one that is cut off still believes');
  net.campaign(2);
  t.equal(net.raft(2).role, 'leader');
});

t.test('a member whose term is behind can complete an election', async t => {
  const net = freshNetwork(3, { preVote: true });
  net.isolate(3);
  net.campaign(1);
  net.campaign(2);
  net.isolate(1);
  net.heal();
  net.isolate(2);
  net.campaign(3);
  net.campaign(1);
  net.tickAll(50);
  t.equal(net.leaders().filter(id => id !== 2).length, 1);
});

t.test('one’s own vote or acknowledgement that comes back after the term has moved on counts for nothing', async t => {
  const others = (responses: readonly StorageResponse[] = []) =>
    responses.filter(each => 'to' in each && each.to === 1);
  // A candidate that lost before its own vote was on disk.
  const loser = single(1, three, { asyncStorage: true }).node;
  campaign(loser);
  const vote = others(ready(loser).storageAppend?.responses);
  stepNode(loser, heartbeat({ from: 2, to: 1, term: 1 }));
  for (const each of vote) stepNode(loser, each);
  t.same([loser.raft.role, loser.raft.leader], ['follower', 2]);
  // A pre-candidate's own vote that arrives when it is a candidate already.
  const eager = single(1, three, { asyncStorage: true, preVote: true }).node;
  campaign(eager);
  const early = others(ready(eager).storageAppend?.responses);
  for (const from of [2, 3]) stepNode(eager, voteReply({ kind: 'pre-vote-reply', from, to: 1, term: 1 }));
  t.equal(eager.raft.role, 'candidate');
  for (const each of early) stepNode(eager, each);
  t.equal(eager.raft.tracker.votes.size, 0);
  // A leader's acknowledgement of its own entry, after another has taken over.
  const leader = single(1, three, { asyncStorage: true }).node;
  campaign(leader);
  for (const each of others(ready(leader).storageAppend?.responses)) stepNode(leader, each);
  stepNode(leader, voteReply({ from: 2, to: 1, term: 1 }));
  t.equal(leader.raft.role, 'leader');
  const acknowledgement = others(ready(leader).storageAppend?.responses);
  stepNode(leader, append({ from: 3, to: 1, term: 2, entries: [entry(1, 2)] }));
  for (const each of acknowledgement) stepNode(leader, each);
  t.equal(leader.raft.log.committed, 0);
});

t.test('divergent logs are probed at most once for each term', async t => {
  const mine = [1, 1, 1, 1, 1, 1, 1, 1, 7, 7];
  const cases = [
    [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2],
    [1, 1, 3, 3, 3, 4, 4, 4, 6, 6, 6],
    [1, 1, 1, 1],
  ];
  for (const theirs of cases) {
    const net = networkWithLogs([mine, mine, theirs]);
    for (const id of idsUpTo(3)) net.raft(id).term = 7;
    net.campaign(1);
    const refusals = net.delivered.filter(
      each => each.kind === 'append-reply' && each.from === 3 && each.reject,
    ).length;
    t.ok(refusals <= new Set([...mine, ...theirs]).size, `${refusals} refusals`);
    t.same(net.terms(3), net.terms(1));
  }
  // Here only what the leader knows of its own terms helps: 2 is below all of them but the first.
  const net = networkWithLogs([
    [1, 3, 3, 3, 5, 5, 5, 5, 5],
    [1, 3, 3, 3, 5, 5, 5, 5, 5],
    [1, 1, 1, 1, 2, 2],
  ]);
  for (const id of idsUpTo(3)) net.raft(id).term = 5;
  net.campaign(1);
  t.equal(net.delivered.filter(each => each.kind === 'append-reply' && each.from === 3 && each.reject).length, 1);
});

t.test('acknowledgements that come in another order leave nothing out', async t => {
  const net = freshNetwork(2, { messageBytesMax: 0 });
  net.campaign(1);
  net.filter = message => (message.kind === 'append' ? 'hold' : 'pass');
  for (const text of ['a', 'b', 'c', 'd']) net.propose(1, text);
  net.filter = () => 'pass';
  const [first, ...later] = net.held;
  net.held = [];
  net.deliver(...later.reverse());
  net.deliver(first!);
  net.tickAll(3);
  t.same(net.texts(2), ['a', 'b', 'c', 'd']);
  t.equal(net.raft(1).tracker.byId.get(2)?.state, 'replicate');
});

t.test('a follower hears of a commit with its acknowledgement, not only with the next beat', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  // Member 3 is being probed: it gets the entry, and no more before it has answered; by then the entry is committed.
  reportUnreachable(net.peer(1).node, 3);
  net.filter = message => (message.kind === 'append' && message.to === 3 ? 'hold' : 'pass');
  net.propose(1, 'x');
  net.filter = message => (message.kind === 'heartbeat' ? 'drop' : 'pass');
  net.release();
  t.equal(net.raft(3).log.committed, 2);
});

t.test('an unreachable member is probed, not flooded', async t => {
  const net = freshNetwork(2);
  net.campaign(1);
  const progress = () => net.raft(1).tracker.byId.get(2)!;
  t.equal(progress().state, 'replicate');
  reportUnreachable(net.peer(1).node, 2);
  t.equal(progress().state, 'probe');
  reportUnreachable(net.peer(1).node, 77);
  net.tickAll(2);
  t.equal(progress().state, 'replicate', 'one answer brings it back');
});

t.test(
  'a snapshot goes only to a member that was heard from lately, and a report about it decides what is next',
  async t => {
    const net = freshNetwork(3, { checkQuorum: true });
    net.campaign(1);
    net.isolate(3);
    for (const text of ['a', 'b', 'c']) net.propose(1, text);
    compactPeer(net.peer(1), 4);
    net.tickAll(25);
    t.same(net.leaders(), [1]);
    const sent = () => takeMessages(net.peer(1)).filter(each => each.kind === 'snapshot').length;
    const { node } = net.peer(1);
    const progress = node.raft.tracker.byId.get(3)!;
    t.equal(progress.recentActive, false);
    stepNode(node, appendReply({ from: 3, to: 1, term: 1, index: 1, reject: true, hintIndex: 1, hintTerm: 1 }));
    progress.recentActive = false;
    propose(node, [bytes('d')]);
    progress.state = 'probe';
    progress.flowPaused = false;
    progress.next = 2;
    takeMessages(net.peer(1));
    progress.state = 'probe';
    progress.flowPaused = false;
    progress.next = 2;
    progress.recentActive = false;
    propose(node, [bytes('e')]);
    t.equal(sent(), 0, 'nothing was heard from it');
    stepNode(node, heartbeatReply({ from: 3, to: 1, term: 1 }));
    t.equal(sent(), 1);
    t.equal(progress.state, 'snapshot');
    reportSnapshot(node, 3, false);
    t.same([progress.state, progress.next, progress.flowPaused], ['probe', progress.match + 1, true]);
    stepNode(node, heartbeatReply({ from: 3, to: 1, term: 1 }));
    t.equal(sent(), 1, 'and again after the next beat');
    reportSnapshot(node, 3, true);
    t.same([progress.state, progress.next], ['probe', 5]);
  },
);

t.test('without forwarding a follower names the leader instead', async t => {
  const net = freshNetwork(3, { forwardProposals: false });
  t.same(net.propose(2), { kind: 'dropped', because: 'no-leader' });
  net.campaign(1);
  t.same(net.propose(2), { kind: 'not-leader', leader: 1 });
  const forwarding = freshNetwork(3);
  forwarding.campaign(1);
  t.same(forwarding.propose(2, 'x'), { kind: 'forwarded', leader: 1 });
  t.same(forwarding.texts(3), ['x']);
});

t.test('a forwarded proposal that is not taken is answered to the driver that stepped it', async t => {
  const net = freshNetwork(3, { uncommittedBytesMax: 10 });
  net.campaign(1);
  net.filter = message => (message.kind === 'append-reply' ? 'drop' : 'pass');
  net.propose(1, '0123456789');
  const message: Message = {
    kind: 'propose',
    version: 1,
    from: 2,
    to: 1,
    term: 0,
    proposals: [{ kind: 'normal', version: 1, data: bytes('more') }],
  };
  t.same(stepNode(net.peer(1).node, message), { kind: 'dropped', because: 'uncommitted-limit' });
});

t.test('a log cut off from its quorum does not grow without bounds', async t => {
  const net = freshNetwork(3, { uncommittedBytesMax: 160 });
  net.campaign(1);
  net.isolate(1);
  let appended = 0;
  for (let at = 0; at < 1_000; at++) if (net.propose(1, '0123456789abcdef').kind === 'appended') appended++;
  t.equal(appended, 10);
  net.heal();
  net.tickAll(3);
  t.equal(net.raft(1).uncommittedBytes, 0);
  t.equal(net.propose(1, 'x').kind, 'appended');
});

t.test('a leader that cannot work steps down and lets others lead', async t => {
  const net = freshNetwork(3, { preVote: true, checkQuorum: true });
  net.campaign(1);
  stepDown(net.peer(1).node);
  t.same([net.raft(1).role, net.raft(1).leader, net.raft(1).term, net.raft(1).vote], ['follower', 0, 1, 1]);
  stepDown(net.peer(2).node);
  t.equal(net.raft(2).leader, 1, 'for others it means nothing');
});

t.test(
  'lease reads and forgotten leaders exist for vectors: the first answer without asking, the second refuses them',
  async t => {
    const net = freshNetwork(3, { checkQuorum: true, leaseReads: true });
    net.campaign(1);
    net.filter = message => (message.kind === 'heartbeat-reply' ? 'drop' : 'pass');
    readIndex(net.peer(1).node, 4);
    net.settle();
    t.equal(net.peer(1).reads.length, 1);
    forgetLeader(net.peer(2).node);
    t.equal(net.raft(2).leader, 1);
    const plain = freshNetwork(3);
    plain.campaign(1);
    forgetLeader(plain.peer(2).node);
    t.equal(plain.raft(2).leader, 0);
  },
);

t.test('what is handed out is handed out once, and nothing is left when there is no more', async t => {
  const { node } = single(1, three);
  t.equal(hasReady(node), false);
  campaign(node);
  t.equal(hasReady(node), true);
  const out = ready(node);
  t.match(out, { softState: { role: 'candidate', leader: 0 }, hardState: { term: 1, vote: 1 }, mustSync: true });
  t.throws(() => ready(node), { code: 'bug' }, 'not before the batch is advanced');
  advance(node);
  t.equal(hasReady(node), false);
  const empty = ready(node);
  t.same(
    [empty.softState, empty.hardState, empty.messages, empty.entries, empty.storageAppend],
    [undefined, undefined, [], [], undefined],
  );
  advance(node);
  const async = single(1, three, { asyncStorage: true }).node;
  t.throws(() => advance(async), { code: 'bug' });
});

t.test('settings that contradict each other are refused', async t => {
  const storage = diskWith(three);
  for (const wrong of [
    { id: 0 },
    { id: 2 ** 53 },
    { heartbeatTicks: 0 },
    { electionTicks: 1 },
    { inflightMessagesMax: 0 },
    { leaseReads: true },
  ]) {
    t.throws(() => createRawNode({ ...configFor(1, storage), ...wrong }), { code: 'bug' }, JSON.stringify(wrong));
  }
});

t.test('the trace tells elections, commits and changes of role, and is the same in every run', async t => {
  const record = () => {
    const events: TraceEvent[] = [];
    const net = new Network(new Map(idsUpTo(3).map(id => [id, diskWith(three)])), {
      trace: event => events.push(event),
    });
    net.campaign(1);
    net.propose(1, 'x');
    net.change(1, { kind: 'remove', peer: 3 });
    return events;
  };
  const events = record();
  t.same(record(), events);
  const kinds = new Set(events.map(({ kind }) => kind));
  for (const kind of [
    'started',
    'became',
    'election-started',
    'vote-cast',
    'vote-counted',
    'replicated',
    'committed',
    'conf-changed',
    'progress',
  ] as const) {
    t.ok(kinds.has(kind), kind);
  }
  t.match(
    events.find(each => each.kind === 'became' && each.role === 'leader'),
    { id: 1, term: 1 },
  );
});

t.test('ticks alone elect a leader, and it stays', async t => {
  for (const options of [{}, { preVote: true }, { checkQuorum: true }, { preVote: true, checkQuorum: true }]) {
    const net = freshNetwork(5, options);
    net.tickAll(60);
    const [leader] = net.leaders();
    t.equal(net.leaders().length, 1);
    const { term } = net.raft(leader!);
    net.tickAll(200);
    t.same([net.leaders(), net.raft(leader!).term], [[leader], term]);
  }
});

t.test('a learner follows and never leads', async t => {
  const disks = idsUpTo(3).map(id => [id, diskWith({ voters: [1, 2], learners: [3] })] as const);
  const net = new Network(new Map(disks));
  net.campaign(1);
  net.propose(1, 'x');
  t.same(net.texts(3), ['x']);
  for (let at = 0; at < 100; at++) tickNode(net.peer(3).node);
  campaign(net.peer(3).node);
  t.equal(net.raft(3).role, 'follower');
  net.isolate(2);
  net.propose(1, 'y');
  t.equal(net.raft(1).log.committed, 2, 'its acknowledgement does not count');
  net.heal();
  net.change(1, { kind: 'add-voter', peer: 3 });
  net.isolate(2);
  net.propose(1, 'z');
  t.ok(net.texts(1).includes('z'), 'now it does');
});
