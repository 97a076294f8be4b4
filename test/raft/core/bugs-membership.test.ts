/**
 * Bugs that other implementations had in membership changes and leadership transfer (numbers as in test/raft/bugs.md).
 */
import t from 'tap';
import { confStateOf } from '../../../src/raft/core/confchange.js';
import { proposeConfChange, readIndex, stepDown, stepNode, transferLeader } from '../../../src/raft/core/rawnode.js';
import type { ConfChangeSingle, ConfChangeV2 } from '../../../src/raft/core/types.js';
import { snapshotRequest } from './messages.js';
import { change, compactPeer, diskWith, freshNetwork, idsUpTo, type Network, single, takeMessages } from './network.js';

const careful = { preVote: true, checkQuorum: true };
const addFour: ConfChangeSingle = { kind: 'add-voter', peer: 4 };
const removeThree: ConfChangeSingle = { kind: 'remove', peer: 3 };
const noContext = new Uint8Array(0);
const replaceThree: ConfChangeV2 = { transition: 'implicit', changes: [addFour, removeThree], context: noContext };

/** Members 1 to 3, and a fourth that nobody knows yet: its log is empty, it starts from the group's first configuration. */
function withSpare(overrides = {}): Network {
  const net = freshNetwork(3, overrides);
  net.add(4, diskWith({ voters: [1, 2, 3] }), overrides);
  return net;
}

/** How often the log of `id` asks to leave a joint configuration. */
function leavesIn(net: Network, id: number): number {
  return net.peer(id).applied.filter(each => each.kind === 'conf-change-v2' && each.change.changes.length === 0).length;
}

t.test('B3: a new leader takes no change before the one that it found in its log is applied', async t => {
  const net = withSpare();
  net.campaign(1);
  net.filter = message => (message.kind === 'append-reply' ? 'drop' : 'pass');
  t.equal(net.change(1, addFour).kind, 'appended');
  net.isolate(1);
  net.filter = message => (message.kind === 'append-reply' ? 'hold' : 'pass');
  net.campaign(2);
  t.equal(net.raft(2).role, 'leader');
  t.match(net.change(2, removeThree), { kind: 'refused', because: 'pending-change' });
  net.filter = () => 'pass';
  net.release();
  net.tickAll(2);
  t.same(net.raft(2).tracker.config.voters.incoming, [1, 2, 3, 4], 'the old one takes effect first');
  t.match(net.change(2, removeThree), { kind: 'appended' });
  t.same(net.raft(2).tracker.config.voters.incoming, [1, 2, 4]);
});

t.test('B3: four members, two leaders, two changes: only one of them can come through', async t => {
  const net = freshNetwork(4);
  net.add(5, diskWith({ voters: idsUpTo(4) }));
  net.campaign(1);
  // The first leader adds a fifth member and is cut off; the second removes the first.
  net.isolate(1);
  t.equal(net.change(1, { kind: 'add-voter', peer: 5 }).kind, 'appended');
  net.cut(2, 4);
  net.campaign(2);
  t.equal(net.raft(2).role, 'candidate', 'two of four are no majority');
  net.heal();
  net.isolate(1);
  net.campaign(2);
  net.cut(2, 4);
  net.change(2, { kind: 'remove', peer: 1 });
  t.same(net.raft(2).tracker.config.voters.incoming, [1, 2, 3, 4], 'nor are they to commit the removal');
  // The first leader comes back and asks 4 and 5; the new configuration is not applied, so 5 does not count.
  net.heal();
  net.isolate(2);
  net.isolate(3);
  stepDown(net.peer(1).node);
  net.campaign(1);
  net.campaign(1);
  t.equal(net.raft(1).role, 'candidate');
  net.heal();
  net.tickAll(60);
  const [leader = 0] = net.leaders();
  const settled = net.raft(leader).tracker.config.voters.incoming;
  t.same(settled, [2, 3, 4], 'the removal was the one that a majority could know of');
  for (const id of settled) t.same(net.raft(id).tracker.config.voters.incoming, settled);
});

t.test('B3: only one change is on its way at a time', async t => {
  const net = withSpare();
  net.campaign(1);
  net.filter = message => (message.kind === 'append-reply' ? 'hold' : 'pass');
  t.equal(net.change(1, addFour).kind, 'appended');
  t.match(net.change(1, removeThree), { kind: 'refused', because: 'pending-change' });
  net.filter = () => 'pass';
  net.release();
  net.tickAll(2);
  t.equal(net.change(1, removeThree).kind, 'appended');
});

t.test('a change that the configuration does not allow now is refused with the reason', async t => {
  const net = withSpare();
  net.campaign(1);
  const leave = change();
  t.match(proposeConfChange(net.peer(1).node, leave), { kind: 'refused', because: 'not-joint' });
  net.settle();
  proposeConfChange(net.peer(1).node, { ...replaceThree, transition: 'explicit' });
  net.settle();
  t.match(net.change(1, { kind: 'remove', peer: 2 }), { kind: 'refused', because: 'must-leave-joint' });
  t.match(proposeConfChange(net.peer(1).node, leave), { kind: 'appended' });
  net.settle();
  t.same(net.raft(1).tracker.config.voters, { incoming: [1, 2, 4], outgoing: [] });
});

t.test('B16: after a snapshot the configuration is the snapshot’s, whatever it was before', async t => {
  const peer = single(1, { voters: [1, 2, 3] });
  const confState = { voters: [1, 4, 5], learners: [6], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const snapshot = { version: 1, index: 7, term: 2, confState, data: noContext };
  stepNode(peer.node, snapshotRequest({ from: 4, to: 1, term: 2, snapshot }));
  takeMessages(peer);
  t.same(confStateOf(peer.node.raft.tracker.config), confState);
  t.same(
    peer.node.raft.tracker.peers.map(({ id }) => id),
    [1, 4, 5, 6],
  );
  const stranger = { ...snapshot, index: 9, confState: { ...confState, voters: [4, 5] } };
  stepNode(peer.node, snapshotRequest({ from: 4, to: 1, term: 2, snapshot: stranger }));
  t.equal(peer.node.raft.log.committed, 7, 'one that does not know this member is not taken');
});

t.test('B22: a leader that was removed stops leading and beating', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  t.equal(net.change(1, { kind: 'remove', peer: 1 }).kind, 'appended');
  t.equal(net.raft(1).role, 'follower');
  const before = net.delivered.length;
  net.tick(1, 50);
  t.equal(net.delivered.length, before, 'it says nothing any more');
  t.match(net.propose(1), { kind: 'dropped' });
  net.tick(2, 25);
  t.same(net.leaders(), [2]);
  t.same(net.propose(2).kind, 'appended');
});

t.test('B22: without stepping down a removed leader takes no proposals and does not count itself', async t => {
  const net = freshNetwork(3, { stepDownOnRemoval: false });
  net.campaign(1);
  net.change(1, { kind: 'remove', peer: 1 });
  t.equal(net.raft(1).role, 'leader');
  t.match(net.propose(1), { kind: 'dropped', because: 'not-member' });
});

t.test('B25: a joint configuration that leaves itself is left once', async t => {
  const net = withSpare();
  net.campaign(1);
  proposeConfChange(net.peer(1).node, replaceThree);
  net.settle();
  net.tickAll(20);
  t.same(net.raft(1).tracker.config.voters, { incoming: [1, 2, 4], outgoing: [] });
  t.equal(leavesIn(net, 1), 1);
});

t.test('B25: a leader change inside it neither forgets nor repeats that', async t => {
  const net = withSpare();
  net.campaign(1);
  // The proposal to leave reaches nobody.
  net.filter = message =>
    message.kind === 'append' &&
    message.entries.some(each => each.kind === 'conf-change-v2' && each.change.changes.length === 0)
      ? 'drop'
      : 'pass';
  proposeConfChange(net.peer(1).node, replaceThree);
  net.settle();
  t.equal(net.raft(1).tracker.config.voters.outgoing.length, 3);
  net.heal();
  net.isolate(1);
  net.campaign(2);
  net.tickAll(5);
  t.same(net.raft(2).tracker.config.voters, { incoming: [1, 2, 4], outgoing: [] });
  net.heal();
  net.tickAll(30);
  t.equal(leavesIn(net, 2), 1);
  t.same(net.raft(1).tracker.config.voters, { incoming: [1, 2, 4], outgoing: [] });
});

t.test('B25: a transfer in the way of leaving only delays it', async t => {
  const net = withSpare();
  net.campaign(1);
  net.filter = message => (message.kind === 'append-reply' ? 'hold' : 'pass');
  proposeConfChange(net.peer(1).node, replaceThree);
  net.settle();
  // Member 3 never hears that it should campaign, so the transfer blocks proposals until it is given up.
  net.filter = message => (message.kind === 'timeout-now' ? 'drop' : 'pass');
  transferLeader(net.peer(1).node, 3);
  net.release();
  t.equal(net.raft(1).tracker.config.voters.outgoing.length, 3, 'joint');
  t.equal(leavesIn(net, 1), 0);
  net.tickAll(15);
  t.equal(leavesIn(net, 1), 1);
  t.equal(net.raft(1).tracker.config.voters.outgoing.length, 0);
});

t.test('B26: a restart inside a joint configuration comes back inside it, from the log or from a snapshot', async t => {
  for (const fromSnapshot of [false, true]) {
    const net = withSpare();
    net.campaign(1);
    proposeConfChange(net.peer(1).node, { ...replaceThree, transition: 'explicit' });
    net.settle();
    const joint = { incoming: [1, 2, 4], outgoing: [1, 2, 3] };
    t.same(net.raft(2).tracker.config.voters, joint);
    const { applied } = net.raft(2).log;
    if (fromSnapshot) compactPeer(net.peer(2), applied);
    net.restart(2, fromSnapshot ? { applied } : {});
    net.settle();
    t.same(net.raft(2).tracker.config.voters, joint, fromSnapshot ? 'snapshot' : 'log');
    net.campaign(2);
    proposeConfChange(net.peer(2).node, change());
    net.settle();
    t.same(net.raft(2).tracker.config.voters, { incoming: [1, 2, 4], outgoing: [] });
  }
});

t.test('B26: a snapshot brings a joint configuration to a member that needs one', async t => {
  const net = withSpare();
  net.campaign(1);
  net.isolate(4);
  proposeConfChange(net.peer(1).node, { ...replaceThree, transition: 'explicit' });
  net.settle();
  compactPeer(net.peer(1), net.raft(1).log.applied);
  net.heal();
  net.tickAll(5);
  t.same(confStateOf(net.raft(4).tracker.config), confStateOf(net.raft(1).tracker.config));
  t.equal(net.raft(4).tracker.config.voters.outgoing.length, 3);
});

t.test(
  'B24: a transfer that cannot succeed is given up after an election timeout, and proposals pass again',
  async t => {
    for (const breakIt of [
      (net: Network) => net.isolate(3),
      (net: Network) => {
        net.filter = message => (message.kind === 'timeout-now' ? 'drop' : 'pass');
      },
      (net: Network) => {
        net.filter = message => (message.kind === 'append' && message.to === 3 ? 'drop' : 'pass');
      },
    ]) {
      const net = freshNetwork(3, careful);
      net.campaign(1);
      breakIt(net);
      net.propose(1, 'before');
      t.same(transferLeader(net.peer(1).node, 3), { kind: 'started' });
      net.settle();
      t.match(net.propose(1), { kind: 'dropped', because: 'transfer' });
      t.same(transferLeader(net.peer(1).node, 3), { kind: 'in-progress' });
      // Reads go on and do not keep the transfer alive.
      for (let at = 0; at < 10; at++) {
        readIndex(net.peer(1).node, at);
        net.tickAll();
      }
      t.equal(net.propose(1, 'after').kind, 'appended');
      t.ok(net.peer(1).reads.length > 0);
    }
  },
);

t.test('B24: losing leadership in the middle of a transfer leaves nothing behind', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.filter = message => (message.kind === 'timeout-now' ? 'drop' : 'pass');
  transferLeader(net.peer(1).node, 3);
  net.settle();
  stepDown(net.peer(1).node);
  net.campaign(1);
  t.same(net.leaders(), [1]);
  t.equal(net.propose(1).kind, 'appended');
});

t.test('B24: who is too far behind, a learner or no member is refused at once, with the lag', async t => {
  const net = freshNetwork(3, { transferLagMax: 3 });
  net.add(9, diskWith({ voters: [1, 2, 3] }));
  net.campaign(1);
  net.isolate(3);
  for (const text of ['a', 'b', 'c', 'd']) net.propose(1, text);
  t.same(transferLeader(net.peer(1).node, 3), { kind: 'refused', because: 'too-far-behind', lag: 4 });
  net.change(1, { kind: 'add-learner', peer: 9 });
  t.match(transferLeader(net.peer(1).node, 9), { kind: 'refused', because: 'not-voter' });
  t.match(transferLeader(net.peer(1).node, 77), { kind: 'refused', because: 'not-voter' });
  t.same(transferLeader(net.peer(1).node, 1), { kind: 'already-leader' });
  t.equal(net.propose(1).kind, 'appended', 'and nothing is blocked');
});

t.test('B24: removing the transferee ends the transfer', async t => {
  const net = freshNetwork(3);
  net.campaign(1);
  net.filter = message => (message.kind === 'append-reply' ? 'hold' : 'pass');
  net.change(1, removeThree);
  net.filter = message => (message.kind === 'timeout-now' ? 'drop' : 'pass');
  transferLeader(net.peer(1).node, 3);
  net.release();
  t.equal(net.raft(1).transferee, 0);
  t.equal(net.propose(1).kind, 'appended');
});

t.test('a transfer brings its target up to date first, and works through a follower', async t => {
  const net = freshNetwork(3, careful);
  net.campaign(1);
  net.isolate(3);
  net.propose(1, 'a');
  net.heal();
  t.same(transferLeader(net.peer(2).node, 3), { kind: 'forwarded', leader: 1 });
  net.tickAll(3);
  t.same(net.leaders(), [3]);
  t.same(net.texts(3), ['a']);
  for (const id of idsUpTo(3)) t.equal(net.raft(id).leader, 3);
});
