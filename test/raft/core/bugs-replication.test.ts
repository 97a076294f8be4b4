/**
 * Bugs that other implementations had in replication and commitment (numbers as in test/raft/bugs.md).
 */
import fc from 'fast-check';
import t from 'tap';
import { createProgress, type ProgressState, reject } from '../../../src/raft/core/progress.js';
import { sendAppendRequest } from '../../../src/raft/core/raft/send.js';
import { propose, stepDown, stepNode, tickNode } from '../../../src/raft/core/rawnode.js';
import type { Message } from '../../../src/raft/core/types.js';
import { append, appendReply, heartbeat, heartbeatReply } from './messages.js';
import {
  bytes,
  compactPeer,
  diskWith,
  entry,
  freshNetwork,
  idsUpTo,
  networkWithLogs,
  single,
  takeMessages,
  unlimited,
} from './network.js';
import { randomFrom } from './random.js';

const three = { voters: [1, 2, 3] };

t.test('B7: a refusal never raises what a member is known to have', async t => {
  const states: readonly ProgressState[] = ['probe', 'replicate', 'snapshot'];
  fc.assert(
    fc.property(
      fc.constantFrom(...states),
      fc.nat(9),
      fc.nat(9),
      fc.nat(30),
      fc.nat(30),
      (state, match, ahead, rejected, hint) => {
        const progress = createProgress({
          id: 2,
          next: 1,
          learner: false,
          recentActive: true,
          inflightMessagesMax: 4,
          inflightBytesMax: 99,
        });
        Object.assign(progress, { state, match, next: match + 1 + ahead });
        const next = progress.next;
        reject(progress, rejected, hint);
        return progress.match === match && progress.next > progress.match && progress.next <= next;
      },
    ),
    { numRuns: 2_000 },
  );
  const net = freshNetwork(3);
  net.campaign(1);
  const { committed } = net.raft(1).log;
  net.filter = message => (message.kind === 'append-reply' ? 'drop' : 'pass');
  net.propose(1, 'x');
  for (const from of [2, 3])
    stepNode(
      net.peer(1).node,
      appendReply({ from, to: 1, term: 1, index: 2, reject: true, hintIndex: 2, hintTerm: 1 }),
    );
  t.equal(net.raft(1).log.committed, committed);
});

t.test('B8: a leader that steps down keeps all that it had committed', async t => {
  const net = freshNetwork(5);
  net.campaign(1);
  net.propose(1, 'committed');
  net.filter = message => (message.kind === 'append' ? 'drop' : 'pass');
  net.propose(1, 'not committed');
  stepDown(net.peer(1).node);
  net.heal();
  t.equal(net.raft(1).log.committed, 2);
  net.isolate(1);
  net.campaign(2);
  net.propose(2, 'other');
  net.heal();
  net.tickAll(3);
  for (const id of idsUpTo(5)) t.same(net.texts(id), ['committed', 'other']);
});

t.test('B9: figure 8: an old entry on a majority is not committed by counting, and may still be replaced', async t => {
  // S1 and S2 have entry 2 of term 2, S5 has another one of term 3.
  const logs = [[1, 2], [1, 2], [1], [1], [1, 3]];
  const net = networkWithLogs(logs, { messageBytesMax: 0 });
  for (const id of idsUpTo(5)) net.raft(id).term = 3;
  // Entry 3, of term 4, reaches nobody who has entry 2.
  net.filter = message =>
    message.kind === 'append' && message.prevIndex > 1 && net.peer(message.to).storage.lastIndex() > 1
      ? 'drop'
      : 'pass';
  net.campaign(1);
  net.tick(1, 3);
  t.equal(net.raft(1).role, 'leader');
  t.same(
    [2, 3, 4].map(id => net.terms(id)[1]),
    [2, 2, 2],
    'entry 2 of term 2 is on a majority',
  );
  t.ok(net.raft(1).log.committed < 2, 'yet not committed');
  // So S5 may win and replace it.
  net.heal();
  net.isolate(1);
  for (const id of [3, 4]) {
    const storage = diskWith({ voters: idsUpTo(5), terms: [1], term: 4, vote: 1 });
    net.add(id, storage, { messageBytesMax: 0 });
  }
  net.campaign(5);
  net.propose(5, 'x');
  net.heal();
  net.tickAll(3);
  for (const id of idsUpTo(5)) t.same(net.terms(id).slice(0, 2), [1, 3]);
});

t.test(
  'B9: figure 8: once an entry of its own term is on a majority, a leader commits the old one with it',
  async t => {
    const net = networkWithLogs([[1, 2], [1, 2], [1], [1], [1, 3]]);
    for (const id of idsUpTo(5)) net.raft(id).term = 3;
    net.isolate(5);
    net.campaign(1);
    t.equal(net.raft(1).log.committed, 3);
    net.heal();
    net.campaign(5);
    t.equal(net.raft(5).role === 'leader', false, 'its log is no longer good enough');
  },
);

t.test('B10: the commit index stops at what the message proves, not at the end of one’s own log', async t => {
  const peer = single(1, { ...three, terms: [1, 2, 2] });
  stepNode(peer.node, append({ from: 2, to: 1, term: 3, prevIndex: 1, prevTerm: 1, commit: 3 }));
  t.equal(peer.node.raft.log.committed, 1);
  stepNode(
    peer.node,
    append({ from: 2, to: 1, term: 3, prevIndex: 1, prevTerm: 1, commit: 3, entries: [entry(2, 3)] }),
  );
  t.equal(peer.node.raft.log.committed, 2);
  takeMessages(peer);
  t.same(
    peer.applied.map(each => each.term),
    [1, 3],
  );
});

t.test('B10: a heartbeat carries no commit index beyond what the follower is known to have', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.filter = message => (message.kind === 'append' && message.to === 3 ? 'drop' : 'pass');
  net.propose(1, 'x');
  net.tick(1);
  const beat = net.delivered.filter(each => each.kind === 'heartbeat' && each.to === 3).at(-1);
  t.match(beat, { commit: 1 });
});

t.test('B11: an append that begins below the snapshot takes nothing away', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  for (const text of ['a', 'b', 'c', 'd', 'e']) net.propose(1, text);
  compactPeer(net.peer(2), 4);
  const before = net.terms(2);
  const late = [3, 4, 5].map(index => entry(index, 1));
  stepNode(net.peer(2).node, append({ from: 1, to: 2, term: 1, prevIndex: 2, prevTerm: 1, entries: late, commit: 2 }));
  const [reply] = takeMessages(net.peer(2));
  t.match(reply, { kind: 'append-reply', reject: false, index: 6 });
  t.same(net.terms(2), before);
});

t.test(
  'B12: whatever appends come late, twice or in another order, the log only ever grows toward the leader’s',
  async t => {
    const leader = [1, 1, 2, 2, 2, 4, 4].map((term, at) => entry(at + 1, term, `e${at + 1}`));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { minLength: 1, maxLength: 20 }),
        fc.constantFrom([], [1, 1, 1], [1, 3, 3, 3, 3, 3, 3, 3]),
        (cuts, terms) => {
          const peer = single(1, { ...three, terms });
          let matched = 0;
          for (const [from, length] of cuts) {
            const entries = leader.slice(from, from + length);
            stepNode(
              peer.node,
              append({ from: 2, to: 1, term: 4, prevIndex: from, prevTerm: leader[from - 1]?.term ?? 0, entries }),
            );
            for (const reply of takeMessages(peer))
              if (reply.kind === 'append-reply' && !reply.reject) matched = Math.max(matched, reply.index);
            for (let at = 1; at <= matched; at++) if (peer.storage.term(at) !== leader[at - 1]?.term) return false;
          }
          stepNode(peer.node, append({ from: 2, to: 1, term: 4, entries: leader }));
          takeMessages(peer);
          return (
            leader.every(each => peer.storage.term(each.index) === each.term) &&
            (matched === 0 || peer.storage.lastIndex() >= matched)
          );
        },
      ),
      { numRuns: 300 },
    );
    t.pass();
  },
);

t.test('B15: what cannot be read is not sent, and what is sent is contiguous', async t => {
  const net = networkWithLogs([[1, 1, 1, 1], [1], [1, 1, 1, 1]]);
  net.filter = message => (message.to === 2 && message.kind === 'append' ? 'hold' : 'pass');
  net.campaign(1);
  const { storage, node } = net.peer(1);
  storage.entries = () => {
    throw new Error('EIO');
  };
  const refusal = appendReply({ from: 2, to: 1, term: 2, index: 4, reject: true, hintIndex: 1, hintTerm: 1 });
  t.throws(() => stepNode(node, refusal), /EIO/);
  t.same(node.raft.messages, []);
  const body = { to: 2, prevIndex: 3, prevTerm: 1, commit: 0 };
  t.throws(() => sendAppendRequest(node.raft, { ...body, entries: [entry(5, 1)] }), { code: 'bug' });
  t.throws(() => sendAppendRequest(node.raft, { ...body, entries: [entry(4, 1), entry(6, 1)] }), { code: 'bug' });
  t.equal(
    stepNode(node, append({ from: 3, to: 1, term: 9, prevIndex: 3, prevTerm: 1, entries: [entry(5, 1)] })).kind,
    'malformed',
  );
  t.equal(node.raft.term, 2, 'a malformed message changes nothing');
});

t.test('B29: a window whose messages were all lost opens again, in messages and in bytes', async t => {
  for (const limits of [
    { inflightMessagesMax: 2, inflightBytesMax: unlimited },
    { inflightMessagesMax: 100, inflightBytesMax: 10 },
  ]) {
    const net = freshNetwork(3, { ...limits, messageBytesMax: 0 });
    net.campaign(1);
    net.filter = message => (message.to === 3 && message.kind === 'append' ? 'drop' : 'pass');
    for (let at = 0; at < 12; at++) net.propose(1, '0123456789');
    const progress = net.raft(1).tracker.byId.get(3)!;
    t.equal(progress.flowPaused, true);
    net.filter = () => 'pass';
    net.tickAll(8);
    t.equal(net.raft(3).log.committed, 13);
    const after = net.raft(1).tracker.byId.get(3)!;
    t.same([after.inflights.count, after.inflights.bytes, after.flowPaused], [0, 0, false]);
  }
});

t.test('B31: nothing counts as uncommitted once everything is committed', async t => {
  const random = randomFrom(31);
  const net = freshNetwork(3, { uncommittedBytesMax: 200 });
  net.campaign(1);
  let dropped = 0;
  for (let round = 0; round < 300; round++) {
    const leader = net.leaders()[0]!;
    net.filter = message => (message.kind === 'append-reply' && random(3) > 0 ? 'hold' : 'pass');
    const outcome = propose(net.peer(leader).node, [bytes('x'.repeat(random(90)))]);
    if (outcome.kind === 'dropped') dropped++;
    net.settle();
    if (random(12) === 0) {
      net.filter = () => 'pass';
      net.release();
      if (random(2) === 0) net.campaign(1 + random(3));
      net.tickAll(2);
      const at = net.leaders()[0]!;
      t.equal(net.raft(at).log.committed, net.peer(at).storage.lastIndex());
      t.equal(net.raft(at).uncommittedBytes, 0);
    }
  }
  t.ok(dropped > 0, 'the limit was met');
});

t.test('B47: one entry a message reaches a conflict however far back it lies', async t => {
  const own = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5];
  const net = networkWithLogs([own, own, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]], { messageBytesMax: 0 });
  net.campaign(1);
  net.propose(1, 'x');
  net.tickAll(3);
  t.same(net.terms(3), net.terms(1));
});

t.test('a leader of an older term is told of the newer one instead of being ignored', async t => {
  const peer = single(1, { ...three, term: 5 }, { checkQuorum: true });
  for (const message of [
    append({ from: 2, to: 1, term: 3 }),
    heartbeat({ from: 2, to: 1, term: 3 }),
  ] satisfies Message[]) {
    stepNode(peer.node, message);
    t.match(takeMessages(peer), [{ kind: 'append-reply', to: 2, term: 5, index: 0 }]);
  }
});

t.test('a probed follower gets one append for each heartbeat that it answers', async t => {
  const net = freshNetwork(2);
  net.campaign(1);
  const { node } = net.peer(1);
  net.raft(1).tracker.byId.get(2)!.state = 'probe';
  const sent = () => takeMessages(net.peer(1)).filter(each => each.kind === 'append').length;
  propose(node, [bytes('a')]);
  propose(node, [bytes('b')]);
  t.equal(sent(), 1);
  tickNode(node);
  t.equal(sent(), 0);
  stepNode(node, heartbeatReply({ from: 2, to: 1, term: 1 }));
  t.equal(sent(), 1);
});
