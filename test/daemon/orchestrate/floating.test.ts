/** Who is given a floating address, and when. */
import t from 'tap';
import { isOnNetwork, leaseOf, planFloating } from '../../../src/daemon/orchestrate/floating.js';
import type { FloatingAddress, Node, NodeStatus, Service } from '../../../src/gen/types.js';
import { asId, type NodeId, type ServiceId } from '../../../src/ids.js';
import { openState } from '../../../src/raft/store/tables.js';
import type { View } from '../../../src/raft/store.js';
import { clusterObject, node, service, task } from '../object-fixtures.js';

const address = '192.0.2.10';
const web = asId<ServiceId>('service-web');
const nowMs = 100_000;

function machine(
  name: string,
  over: Partial<Node> & { state?: NodeStatus['state']; silentSinceMs?: number } = {},
): Node {
  const { state = 'ready', silentSinceMs, ...rest } = over;
  const made = node(name, rest);
  return {
    ...made,
    description: { ...made.description, network: { prefixes: ['192.0.2.7/24', '10.1.0.1/16'], listening: [] } },
    status: { state, sinceMs: 0, message: '', ...(silentSinceMs === undefined ? {} : { silentSinceMs }) },
  };
}

function world(
  nodes: readonly Node[],
  options: { readonly holder?: string; readonly on?: readonly string[]; readonly service?: Partial<Service> } = {},
): View {
  const state = openState();
  const one: FloatingAddress = {
    address,
    serviceId: web,
    nodeId: asId<NodeId>(options.holder ?? ''),
    sinceMs: 1,
    message: '',
  };
  state.put('cluster', { ...clusterObject, floating: { list: [one] } });
  state.put('service', service({ id: web, ...options.service }));
  for (const each of nodes) state.put('node', each);
  for (const name of options.on ?? []) state.put('task', task(`on-${name}`, { nodeId: asId<NodeId>(name) }));
  return state.view;
}

const plan = (...args: Parameters<typeof world>) => planFloating(world(...args), nowMs);
const holder = (...args: Parameters<typeof world>) => {
  const { floating } = plan(...args);
  return floating === undefined ? 'as it is' : floating.map(one => one.nodeId).join();
};
const draining = (name: string) => machine(name, { spec: { name, labels: {}, availability: 'drain' } });
const local = { ports: [{ published: 80, target: 80, protocol: 'tcp', mode: 'local' }] } as const;

t.test('a node with a task of the service comes first, then the name decides', async t => {
  t.equal(holder([machine('b'), machine('a')]), 'a');
  t.equal(holder([machine('b'), machine('a')], { on: ['b'] }), 'b');
});

t.test('who has it keeps it while it fits', async t => {
  t.equal(holder([machine('a'), machine('b')], { holder: 'b', on: ['a'] }), 'as it is');
  t.equal(holder([machine('a'), draining('b')], { holder: 'b' }), 'a', 'not while it is emptied');
  t.equal(holder([machine('a'), machine('b', { state: 'left' })], { holder: 'b' }), 'a');
  t.equal(holder([machine('a')], { holder: 'b' }), 'a', 'removed');
  t.equal(holder([machine('a'), machine('b')], { holder: 'b', on: ['a'], service: local }), 'a', 'it could not answer');
  t.equal(holder([machine('a'), machine('b')], { holder: 'b', service: local }), 'as it is', 'nobody could');
});

t.test('of a node that is lost it is taken when its lease is over, not before', async t => {
  const lost = (silentSinceMs: number) => [machine('a'), machine('b', { state: 'lost', silentSinceMs })];
  t.equal(holder(lost(nowMs - 10_000), { holder: 'b' }), 'a', 'lost after 10 s: at once');
  t.match(plan(lost(nowMs - 9_000), { holder: 'b' }), { floating: undefined, wakeAtMs: nowMs + 1_000 });
  const [a, b] = lost(nowMs - 3_000);
  if (a === undefined || b === undefined) throw new Error('two nodes');
  const view = world([a, b], { holder: 'b' });
  t.equal(leaseOf(view, clusterObject, b), 9_000);
  const hasty = { ...clusterObject, spec: { ...clusterObject.spec, lostAfterMs: 3_000 } };
  t.equal(leaseOf(view, hasty, b), 7_000, 'long enough to hear an answer');
});

t.test('after an election nothing moves before a node is heard of, or lost', async t => {
  t.equal(holder([machine('a'), machine('b', { state: 'unknown' })], { holder: 'b' }), 'as it is');
});

t.test('without a node that fits it says why; it goes with its service', async t => {
  const { floating } = plan([draining('a')], { holder: 'a' });
  t.match(floating, [{ nodeId: '', message: /no node fits: 1 looked at, 1 are on its network/ }]);
  const view = world([machine('a')], { holder: 'a', service: { id: asId<ServiceId>('service-other') } });
  t.same(planFloating(view, nowMs).floating, []);
});

t.test('a node is on the networks of its own addresses, not on that of a floating one', async t => {
  const on = (...prefixes: string[]) =>
    isOnNetwork({ description: { ...machine('a').description, network: { prefixes, listening: [] } } }, address);
  t.ok(on('10.0.0.1/8', '192.0.2.200/24'));
  t.notOk(on('192.0.3.1/24'));
  t.notOk(on('192.0.2.10/32'));
  t.notOk(on());
});
