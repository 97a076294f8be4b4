/** Which silence of a node counts, how often it is heard of, and what is gone when it comes back. */
import t from 'tap';
import { findAbsent } from '../../../src/daemon/dispatcher/absent.js';
import { planPatience } from '../../../src/daemon/dispatcher/patience.js';
import { lookEveryMs, nextSilenceMs, planSilence } from '../../../src/daemon/dispatcher/presence.js';
import type { Node, Task } from '../../../src/gen/types.js';
import { asId, type NodeId } from '../../../src/ids.js';
import type { View } from '../../../src/raft/store.js';
import { node, task } from '../object-fixtures.js';

const [a, b, c] = ['a', 'b', 'c'].map(name => asId<NodeId>(name)) as [NodeId, NodeId, NodeId];
const as = (state: Node['status']['state']): Partial<Node> => ({ status: { state, sinceMs: 0, message: '' } });

t.test('a node is lost after a silence, once, and never without having had its full time', async t => {
  const nodes = [node('a', { id: a }), node('b', { id: b, ...as('lost') }), node('c', { id: c, ...as('unknown') })];
  const all = new Map([a, b, c].map(id => [id, 0]));
  const silent = (nowMs: number, over: Partial<Parameters<typeof planSilence>[0]> = {}): readonly string[] =>
    planSilence({
      nodes,
      heardMs: all,
      met: new Set(all.keys()),
      nowMs,
      patience: () => ({ silentMs: 10_000, lostMs: 10_000 }),
      ...over,
    }).map(({ nodeId, kind }) => `${nodeId} ${kind}`);
  t.same(silent(10_000), []);
  t.same(silent(10_001), ['a lost', 'c lost']);
  t.same(silent(10_001, { heardMs: new Map([['a', 5_000]]) }), [], 'nobody knows since when the others are silent');
  t.same(silent(10_001, { ownNodeId: a }), ['c lost'], 'a manager never takes its own node for lost');
  t.same(silent(20_000, { met: new Set([a]) }), ['a lost'], 'twice the time for who has not come to a new leader yet');
  t.same(silent(20_001, { met: new Set([a]) }), ['a lost', 'c lost']);
  const quick = { patience: () => ({ silentMs: 2_000, lostMs: 10_000 }) };
  t.same(silent(2_001, quick), ['a silent', 'c silent'], 'for services with a shorter patience');
  t.same(silent(10_000, { ...quick, met: new Set() }), [], 'nobody less than 10 s after an election');
});

t.test('heartbeats: by link and by service, and no more than a manager bears', async t => {
  const cluster = { heartbeatMs: 1_000, lostAfterMs: 10_000 };
  const table: readonly [string, Partial<Parameters<typeof planPatience>[0]>, readonly number[]][] = [
    ['lan', {}, [1_000, 10_000, 10_000]],
    ['wan', { link: 'wan' }, [5_000, 30_000, 30_000]],
    ['metered', { link: 'metered' }, [30_000, 120_000, 120_000]],
    ['a service with 2 s', { shortestMs: 2_000 }, [666, 2_000, 10_000]],
    ['such a service on a metered node', { link: 'metered', shortestMs: 60_000 }, [20_000, 60_000, 120_000]],
    ['a service with a long patience', { shortestMs: 60_000 }, [1_000, 10_000, 10_000]],
    ['1,000 nodes', { nodeCount: 1_000 }, [1_000, 10_000, 10_000]],
    ['5,000 nodes', { nodeCount: 5_000 }, [5_000, 12_500, 12_500]],
    ['5,000 nodes, a service with 2 s', { nodeCount: 5_000, shortestMs: 2_000 }, [5_000, 12_500, 12_500]],
    ['1,500 nodes, a service with 2 s', { nodeCount: 1_500, shortestMs: 2_000 }, [1_500, 3_750, 10_000]],
  ];
  for (const [what, over, expected] of table) {
    const planned = planPatience({ link: 'lan', cluster, nodeCount: 3, shortestMs: undefined, ...over });
    t.same([planned.heartbeatMs, planned.silentMs, planned.lostMs], expected, what);
  }
});

t.test('a manager looks when the next silence would be too long, and every so often', async t => {
  const noted = { status: { state: 'ready', sinceMs: 0, message: '', silentSinceMs: 1 } } as const;
  const due = (over: Partial<Parameters<typeof nextSilenceMs>[0]>): number =>
    nextSilenceMs({
      nodes: [node('a', { id: a }), node('b', { id: b, ...as('lost') })],
      heardMs: new Map([
        ['a', 1_000],
        ['b', 0],
      ]),
      met: new Set(['a', 'b']),
      nowMs: 1_500,
      patience: () => ({ silentMs: 2_000, lostMs: 10_000 }),
      ...over,
    });
  t.equal(due({}), 1_500);
  t.equal(due({ nodes: [node('a', { id: a, ...noted })] }), 9_500, 'its silence is noted: then comes the loss');
  t.equal(due({ met: new Set() }), 9_500, 'longer after an election');
  t.equal(due({ nowMs: 12_000 }), Number.POSITIVE_INFINITY, 'what is over is being written down');
  t.equal(due({ ownNodeId: a }), Number.POSITIVE_INFINITY, 'nobody waits for the own node');
  t.equal(lookEveryMs(10_000), 1_000);
  t.equal(lookEveryMs(1_000), 250);
});

t.test('a task that was filled a second time is gone when its node comes back without it', async t => {
  const tasks = (['assigned', 'accepted', 'running', 'failed'] as const).map(state => ({
    ...task(state, { nodeId: a, state }),
    superseded: true,
  }));
  const others = [task('plain', { nodeId: a })];
  const view = { tasksOfNode: () => [...tasks, ...others] } as unknown as View;
  const absent = (said: readonly Task[]): readonly string[] =>
    findAbsent(view, a, { tasks: said.map(({ id, status }) => ({ taskId: id, status })) }).map(({ id }) => id);
  t.same(
    absent([]),
    ['accepted', 'running'],
    'not those that it may never have heard of, or that others know to be over',
  );
  t.same(absent(tasks), []);
});
