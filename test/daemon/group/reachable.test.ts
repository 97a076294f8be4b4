/** Which managers answer, by who is asked. */
import t from 'tap';
import { reachableManagers } from '../../../src/daemon/group/reachable.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { node } from '../object-fixtures.js';

const id = (text: string) => asId<NodeId>(text);
const managers = [1, 2, 3].map(raftId => ({ nodeId: id(`m${raftId}`), addresses: [], leader: false, raftId }));
const states = new Map([
  ['m2', 'ready'],
  ['m3', 'lost'],
] as const);

function ask(status: object, reached: readonly number[] = []): readonly NodeId[] {
  return reachableManagers({
    own: id('m1'),
    group: {
      managers: () => managers,
      reached: () => new Set(reached),
      log: { status: () => ({ role: 'follower', leader: 0, peers: [], ...status }) as never },
    },
    view: {
      find: (_table: string, name: string) =>
        ({ ...node(name), status: { state: states.get(name as 'm2'), sinceMs: 0, message: '' } }) as never,
    },
  });
}

t.test('the leader knows by its group', async t => {
  const peers = [
    { id: 2, active: false },
    { id: 3, active: true },
  ];
  t.same(ask({ role: 'leader', leader: 1, peers }, [2]), ['m1', 'm3']);
});

t.test('a follower, which talks to the leader only, takes the word of the leader for the others', async t => {
  t.same(ask({ leader: 2 }), ['m1', 'm2']);
  t.same(ask({ leader: 3 }), ['m1', 'm2', 'm3'], 'the leader leads, whatever its node is said to be');
});

t.test('without a leader those count that answer here', async t => {
  t.same(ask({}), ['m1']);
  t.same(ask({}, [3]), ['m1', 'm3']);
});
