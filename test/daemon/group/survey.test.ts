/** When a group of managers counts as alive. */
import t from 'tap';
import { noteNewGroup, noteRemoved } from '../../../src/daemon/group/history.js';
import { surveyOf } from '../../../src/daemon/group/survey.js';
import { planSoleManager } from '../../../src/daemon/membership/new-group.js';
import type { NodeStatus } from '../../../src/raft/node/types.js';
import type { View } from '../../../src/raft/store.js';
import { openRebuild } from '../../../src/raft/store.js';
import { wire } from '../node-fixtures.js';
import { clusterObject, node } from '../object-fixtures.js';

const nodes = [1, 2, 3].map(raftId => node(`m${raftId}`, { role: 'manager', raftId }));

function storeWith(over: { readonly removed?: readonly number[] } = {}) {
  const rebuild = openRebuild(wire);
  const group = over.removed === undefined ? undefined : { generation: 2, removed: over.removed };
  const cluster = { ...clusterObject, ...(group === undefined ? {} : { group }) };
  rebuild.machine.apply(
    1,
    rebuild.entryOf(
      [
        { kind: 'put', table: 'cluster', object: cluster },
        ...nodes.map(object => ({ kind: 'put' as const, table: 'node' as const, object })),
      ],
      5_000,
    ),
  );
  rebuild.checkApplied();
  return rebuild;
}

const status = (over: Partial<NodeStatus> = {}): NodeStatus => ({
  id: 1,
  role: 'candidate',
  leader: 0,
  term: 7,
  commit: 98,
  applied: 98,
  firstIndex: 1,
  lastIndex: 100,
  confState: { voters: [1, 2, 3], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
  lowSpace: false,
  peers: [],
  ...over,
});

t.test(
  'a majority is alive when a leader has confirmed a read, or when enough managers answer to choose one',
  async t => {
    const view: View = storeWith().view();
    const none = surveyOf(view, { status: status(), reached: new Set(), read: 'no-leader' });
    t.match(none, { alive: '', uncommitted: 2, lastIndex: 100 });
    t.same(
      none.managers.map(({ name, own, answers }) => [name, own, answers]),
      [
        ['m1', true, true],
        ['m2', false, false],
        ['m3', false, false],
      ],
    );
    t.match(
      surveyOf(view, { status: status(), reached: new Set([3]), read: 'no-leader' }).alive,
      /2 of 3 managers answer/,
    );
    const led = surveyOf(view, { status: status({ leader: 2 }), reached: new Set([2]), read: 'ready' });
    t.match(led.alive, /manager m2 leads in term 7 and has just confirmed it/);
  },
);

t.test('the survivor alone is a manager in the group made anew, and no old id is ever used again', async t => {
  const { machine, view, entryOf, checkApplied } = storeWith({ removed: [9] });
  machine.apply(2, entryOf(planSoleManager(view(), { nodeId: 'm2', raftId: 77 }), 6_000));
  checkApplied();
  t.same(
    [...view().list('node')].map(({ id, role, raftId }) => [id, role, raftId]),
    [
      ['m1', 'worker', 0],
      ['m2', 'manager', 77],
      ['m3', 'worker', 0],
    ],
  );
  t.same([...view().list('cluster')][0]?.group, { generation: 3, removed: [9, 1, 2, 3] });
});

t.test('ids that were removed are remembered once, the last thousand of them', async t => {
  const view = storeWith({ removed: Array.from({ length: 1_000 }, (_, at) => 100 + at) }).view();
  t.match(noteRemoved(view, [5, 101]), { object: { group: { generation: 2 } } });
  const write = noteNewGroup(view, [5, 101]);
  const group = write.kind === 'put' && write.table === 'cluster' ? write.object.group : undefined;
  t.equal(group?.generation, 3);
  t.equal(group?.removed.length, 1_000);
  t.equal(group?.removed.at(-1), 5);
});
