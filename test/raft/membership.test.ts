/** Which changes of the members are wise. */
import t from 'tap';
import {
  type MembershipPlan,
  newPeerId,
  planDemote,
  planJoin,
  planPromote,
  planRemove,
  planReplace,
} from '../../src/raft/membership.js';
import type { NodeStatus } from '../../src/raft/node/types.js';

const noIds = new Set<number>();

function status(changes: Partial<NodeStatus> = {}): NodeStatus {
  const peer = (id: number, active = true, match = 100) => ({
    id,
    match,
    active,
    learner: id > 3,
    state: 'replicate' as const,
  });
  return {
    id: 1,
    role: 'leader',
    leader: 1,
    term: 3,
    commit: 100,
    applied: 100,
    firstIndex: 1,
    lastIndex: 100,
    confState: { voters: [1, 2, 3], learners: [4], votersOutgoing: [], learnersNext: [], autoLeave: false },
    lowSpace: false,
    peers: [peer(1), peer(2), peer(3), peer(4, true, 95)],
    ...changes,
  };
}
const silent = (...ids: readonly number[]) =>
  status({ peers: status().peers.map(peer => ({ ...peer, active: !ids.includes(peer.id) })) });
const behind = status({ peers: status().peers.map(peer => ({ ...peer, match: peer.id === 4 ? 60 : 100 })) });
const joint = status({ confState: { ...status().confState, votersOutgoing: [1, 2] } });
const follower = status({ role: 'follower', leader: 2 });
const alone = status({ confState: { ...status().confState, voters: [1] } });

const rows: readonly (readonly [string, MembershipPlan, string])[] = [
  ['a new member joins as a learner', planJoin({ status: status(), removed: noIds }, 9), 'add-learner 9'],
  ['a member cannot join twice', planJoin({ status: status(), removed: noIds }, 2), 'already-member'],
  [
    'B42: an id that was removed never comes back',
    planJoin({ status: status(), removed: new Set([9]) }, 9),
    'was-removed',
  ],
  ['nobody joins while members change', planJoin({ status: joint, removed: noIds }, 9), 'change-pending'],
  ['a learner that has caught up is promoted', planPromote({ status: status(), removed: noIds }, 4), 'add-voter 4'],
  ['a learner that is behind is not', planPromote({ status: behind, removed: noIds }, 4), 'not-caught-up'],
  ['a learner that does not answer is not', planPromote({ status: silent(4), removed: noIds }, 4), 'not-active'],
  ['a voter is not promoted', planPromote({ status: status(), removed: noIds }, 2), 'not-learner'],
  ['only the leader judges', planPromote({ status: follower, removed: noIds }, 4), 'not-leader'],
  ['a voter goes when the others are a majority', planRemove({ status: status(), removed: noIds }, 3), 'remove 3'],
  ['a silent voter goes when the others answer', planRemove({ status: silent(3), removed: noIds }, 3), 'remove 3'],
  [
    'a voter stays when the others would be no majority',
    planRemove({ status: silent(2), removed: noIds }, 3),
    'would-lose-quorum',
  ],
  ['the last voter stays', planRemove({ status: alone, removed: noIds }, 1), 'last-voter'],
  ['a stranger cannot be removed', planRemove({ status: status(), removed: noIds }, 8), 'not-member'],
  ['a learner may always go', planRemove({ status: silent(2), removed: noIds }, 4), 'remove 4'],
  ['a voter is demoted under the same rule', planDemote({ status: silent(2), removed: noIds }, 3), 'would-lose-quorum'],
  [
    'one goes as another comes',
    planReplace({ status: silent(2), removed: noIds }, { out: 2, in: 4 }),
    'add-voter 4, remove 2',
  ],
  ['nobody comes who is behind', planReplace({ status: behind, removed: noIds }, { out: 2, in: 4 }), 'not-caught-up'],
];

for (const [title, plan, expected] of rows) {
  t.test(title, async t => {
    const got =
      plan.kind === 'propose'
        ? plan.change.changes.map(({ kind, peer }) => `${kind} ${peer}`).join(', ')
        : plan.because;
    t.equal(got, expected);
    if (plan.kind === 'refused') t.ok(plan.state.length > 10, 'it says why');
  });
}

t.test('new ids are whole, positive, and never one that was used', async t => {
  let calls = 0;
  const bytes = () => new Uint8Array(8).fill(calls++ < 2 ? 0 : 0xff);
  t.equal(
    newPeerId(bytes, () => false),
    2 ** 53 - 1,
  );
  const seen = new Set([2 ** 53 - 1]);
  let value = 0xff;
  t.equal(
    newPeerId(
      () => new Uint8Array(8).fill(value--),
      id => seen.has(id),
    ) <
      2 ** 53 - 1,
    true,
  );
});
