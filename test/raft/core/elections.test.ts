/**
 * Elections where the paper leaves off: pre-vote, split votes, answers that come late, learners.
 */
import t from 'tap';
import { campaign, ready, stepDown, stepNode, tickNode } from '../../../src/raft/core/rawnode.js';
import type { StorageResponse } from '../../../src/raft/core/types.js';
import { append, heartbeat, voteReply, voteRequest } from './messages.js';
import { diskWith, entry, freshNetwork, idsUpTo, Network, single, takeMessages } from './network.js';

const three = { voters: [1, 2, 3] };

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

t.test('a leader that cannot work steps down and lets others lead', async t => {
  const net = freshNetwork(3, { preVote: true, checkQuorum: true });
  net.campaign(1);
  stepDown(net.peer(1).node);
  t.same([net.raft(1).role, net.raft(1).leader, net.raft(1).term, net.raft(1).vote], ['follower', 0, 1, 1]);
  stepDown(net.peer(2).node);
  t.equal(net.raft(2).leader, 1, 'for others it means nothing');
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
