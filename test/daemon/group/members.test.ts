/** What the leader does next so that the members of the Raft group are the managers. */
import t from 'tap';
import { findHeir, planMembers } from '../../../src/daemon/group/members.js';
import type { Node } from '../../../src/gen/types.js';
import type { NodeStatus } from '../../../src/raft/node/types.js';
import { node } from '../object-fixtures.js';

const manager = (raftId: number, over: Partial<Node> = {}): Node =>
  node(`m${raftId}`, { role: 'manager', raftId, ...over });
const peer = (id: number, over: Partial<NodeStatus['peers'][number]> = {}): NodeStatus['peers'][number] => ({
  id,
  match: 100,
  learner: false,
  active: true,
  state: 'replicate',
  ...over,
});

/** As member 1, which leads. */
function status(over: Partial<NodeStatus> & { readonly voters?: number[]; readonly learners?: number[] }): NodeStatus {
  const { voters = [1, 2, 3], learners = [], ...rest } = over;
  return {
    id: 1,
    role: 'leader',
    leader: 1,
    term: 2,
    commit: 100,
    applied: 100,
    firstIndex: 1,
    lastIndex: 100,
    confState: { voters, learners, votersOutgoing: [], learnersNext: [], autoLeave: false },
    lowSpace: false,
    peers: [...voters.map(id => peer(id)), ...learners.map(id => peer(id, { learner: true }))],
    ...rest,
  };
}

const three = [manager(1), manager(2), manager(3)];
const changes = (kind: string, id: number) => ({
  kind: 'change',
  plan: { change: { changes: [{ kind, peer: id }] } },
});

const plan = (nodes: readonly Node[], status: NodeStatus, removed: readonly number[] = []) =>
  planMembers(nodes, { status, removed: new Set(removed) });

t.test('nothing is done when the members are the managers; workers are none', async t => {
  t.equal(plan([...three, node('w1', { role: 'worker' })], status({})), undefined);
});

t.test('a new manager listens first, and votes when it has caught up and answers', async t => {
  const four = [...three, manager(4)];
  t.match(plan(four, status({})), changes('add-learner', 4));
  const learning = status({ learners: [4] });
  t.match(plan(four, learning), changes('add-voter', 4));
  const behind = { ...learning, peers: [...learning.peers.slice(0, 3), peer(4, { learner: true, match: 50 })] };
  t.match(plan(four, behind), { kind: 'wait', why: /50 of 100/ });
  const silent = { ...learning, peers: [...learning.peers.slice(0, 3), peer(4, { learner: true, active: false })] };
  t.match(plan(four, silent), { kind: 'wait', why: /does not answer/ });
});

t.test('a manager that is to go leaves the group first, and its role changes only then', async t => {
  const going = [manager(1), manager(2), manager(3, { demoting: true })];
  t.match(plan(going, status({})), changes('remove', 3));
  t.match(plan(going, status({ voters: [1, 2] })), { kind: 'let-go', nodeId: going[2]?.id });
});

t.test('the leader that is to go hands over first, to the one that has most of the log', async t => {
  const going = [manager(1, { demoting: true }), manager(2), manager(3)];
  const peers = [peer(1), peer(2, { match: 90 }), peer(3, { match: 99 })];
  t.same(plan(going, status({ peers })), { kind: 'hand-over', to: 3 });
  t.equal(findHeir(status({ peers: [peer(1), peer(2, { active: false })] })), undefined);
});

t.test('a member that is no manager any more is taken out', async t => {
  t.match(plan([manager(1), manager(2)], status({})), changes('remove', 3));
});

t.test('nobody is taken out whose going would leave the others without a majority', async t => {
  const peers = [peer(1), peer(2), peer(3, { active: false })];
  const going = [manager(1), manager(2, { demoting: true }), manager(3)];
  t.match(plan(going, status({ peers })), { kind: 'wait', why: /1 answer, 2 are needed/ });
});

t.test('what can be done is done while something else has to wait; a change that goes on is waited for', async t => {
  const nodes = [...three, manager(4), manager(5)];
  const peers = [peer(1), peer(2), peer(3), peer(4, { learner: true, active: false })];
  t.match(plan(nodes, status({ learners: [4], peers })), changes('add-learner', 5));
  const confState = { voters: [1, 2], learners: [], votersOutgoing: [1, 2, 3], learnersNext: [], autoLeave: true };
  t.match(plan(nodes, status({ confState })), { kind: 'wait' });
});
