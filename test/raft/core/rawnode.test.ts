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
  stepNode,
} from '../../../src/raft/core/rawnode.js';
import type { TraceEvent } from '../../../src/raft/core/trace.js';
import type { Message } from '../../../src/raft/core/types.js';
import { append, appendReply, heartbeatReply } from './messages.js';
import {
  bytes,
  compactPeer,
  configFor,
  diskWith,
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
