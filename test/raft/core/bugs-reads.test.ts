/**
 * Bugs that other implementations had in linearizable reads (numbers as in test/raft/bugs.md).
 */
import t from 'tap';
import {
  campaign,
  createRawNode,
  proposeConfChange,
  readIndex,
  ready,
  stepNode,
} from '../../../src/raft/core/rawnode.js';
import { heartbeatReply } from './messages.js';
import { change, configFor, diskWith, freshNetwork } from './network.js';

t.test('B1: late answers to an earlier heartbeat confirm no later read, even with the same request number', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.filter = message => (message.kind === 'heartbeat-reply' ? 'hold' : 'pass');
  readIndex(net.peer(1).node, 5);
  net.settle();
  t.same(net.peer(1).reads, []);
  // A new leader commits; the old one does not know.
  net.isolate(1);
  net.campaign(2);
  net.propose(2, 'newer');
  t.ok(net.raft(2).log.committed > net.raft(1).log.committed);
  readIndex(net.peer(1).node, 5);
  net.settle();
  for (const message of net.held) stepNode(net.peer(1).node, message);
  net.settle();
  t.equal(net.peer(1).reads.length, 1, 'the first read, which came before the new commit, and only that');
});

t.test('B1: the number in a heartbeat is the core’s own and only ever rises', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.filter = message => (message.kind === 'heartbeat-reply' ? 'drop' : 'pass');
  for (const request of [7, 7, 3]) readIndex(net.peer(1).node, request);
  net.settle();
  const counts = net.delivered.flatMap(each => (each.kind === 'heartbeat' && each.to === 2 ? [each.readCount] : []));
  t.same(counts, [1, 2, 3]);
  net.filter = () => 'pass';
  const { term } = net.raft(1);
  stepNode(net.peer(1).node, heartbeatReply({ from: 2, to: 1, term, readCount: 2 }));
  net.settle();
  t.same(
    net.peer(1).reads.map(({ request }) => request),
    [7, 7],
  );
  net.tick(1);
  t.same(
    net.peer(1).reads.map(({ request }) => request),
    [7, 7, 3],
    'the next beat confirms the rest',
  );
});

t.test('B2: a new leader answers no read before it has committed an entry of its own term', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.propose(1, 'old');
  net.filter = message => (message.kind === 'append' && message.from === 2 ? 'hold' : 'pass');
  net.campaign(2);
  t.equal(net.raft(2).role, 'leader');
  readIndex(net.peer(2).node, 9);
  net.tick(2, 3);
  t.same(net.peer(2).reads, []);
  net.filter = () => 'pass';
  net.release();
  t.same(net.peer(2).reads, [{ request: 9, index: 3 }], 'the index of its own first entry or later');
});

t.test('B44: a smaller configuration confirms the reads that were waiting for the members it lost', async t => {
  const net = freshNetwork(4);
  net.campaign(1);
  net.filter = message => (message.kind === 'heartbeat-reply' && message.from !== 2 ? 'drop' : 'pass');
  readIndex(net.peer(1).node, 1);
  net.settle();
  t.same(net.peer(1).reads, [], 'two of four are not enough');
  proposeConfChange(net.peer(1).node, change({ kind: 'remove', peer: 4 }));
  net.settle();
  t.equal(net.peer(1).reads.length, 1, 'two of three are');
});

t.test(
  'B44: a read without a leader is turned away at once, and one that a leader forgot can be asked again',
  async t => {
    const net = freshNetwork(3);
    t.equal(readIndex(net.peer(2).node, 1), false);
    net.campaign(1);
    net.filter = message => (message.kind === 'heartbeat-reply' ? 'drop' : 'pass');
    t.equal(readIndex(net.peer(2).node, 2), true);
    net.settle();
    net.filter = () => 'pass';
    net.campaign(3);
    net.tickAll(5);
    t.same(net.peer(2).reads, [], 'the old leader forgot it');
    t.equal(readIndex(net.peer(2).node, 2), true);
    net.settle();
    t.equal(net.peer(2).reads.length, 1);
  },
);

t.test('reads on a follower go through the leader and come back to it', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.propose(1, 'x');
  readIndex(net.peer(3).node, 77);
  net.settle();
  t.same(net.peer(3).reads, [{ request: 77, index: 2 }]);
  t.same(net.peer(1).reads, []);
});

t.test(
  'B2: a leader alone waits for its first commit too: after a restart it may not know what it had committed',
  async t => {
    const storage = diskWith({ voters: [1], terms: [1, 1, 1], term: 1, vote: 1, commit: 1 });
    const node = createRawNode(configFor(1, storage, { asyncStorage: true }));
    campaign(node);
    const stored = () => {
      for (const response of ready(node).storageAppend?.responses ?? []) stepNode(node, response);
    };
    stored();
    t.equal(node.raft.role, 'leader');
    readIndex(node, 8);
    t.same(node.raft.readStates, []);
    stored();
    t.same(node.raft.readStates, [{ request: 8, index: 4 }]);
  },
);

t.test('a leader alone answers at once', async t => {
  const net = freshNetwork(1);
  net.campaign(1);
  readIndex(net.peer(1).node, 1);
  net.settle();
  t.same(net.peer(1).reads, [{ request: 1, index: 1 }]);
});
