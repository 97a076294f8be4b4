/** Networks are not laid over what hosts have; and it is told when one is nearly full. */
import t from 'tap';
import { findClash, renderClash } from '../../../src/daemon/allocate/clashes.js';
import { openFullness, planFullness } from '../../../src/daemon/allocate/fullness.js';
import { planSubnets } from '../../../src/daemon/allocate/subnets.js';
import { networkAfter } from '../../../src/daemon/control/network-update.js';
import { poolOf } from '../../../src/daemon/membership/init.js';
import { defaultClusterSpec } from '../../../src/daemon/tables.js';
import type { Node, NodeState, UpdateNetworkRequest } from '../../../src/gen/types.js';
import { openState } from '../../../src/raft/store/tables.js';
import type { View } from '../../../src/raft/store.js';
import { makeTelemetry } from '../../../src/telemetry.js';
import { makeFakeClock } from '../../fake-clock.js';
import { silent, testLifetime } from '../node-fixtures.js';
import { network, networkSpec, node, service, task } from '../object-fixtures.js';

function host(id: string, prefix: string, state: NodeState = 'ready'): Node {
  const made = node(id);
  const description = { ...made.description, routes: [{ prefix, device: 'eth1' }] };
  return { ...made, description, status: { ...made.status, state } };
}

t.test('a prefix clashes with addresses and routes of nodes, and it is said whose', async t => {
  const nodes = [host('a', '192.0.2.0/24'), host('b', '10.20.0.0/16')];
  const clash = findClash(['10.20.4.0/24'], nodes);
  t.equal(clash && renderClash(clash), '10.20.0.0/16 on node "b" (eth1)');
  t.equal(findClash(['10.21.0.0/16'], nodes), undefined);
  t.equal(findClash(['10.20.4.0/24'], [host('b', '10.20.0.0/16', 'left')]), undefined, 'of a node that left');
  t.equal(findClash(['10.20.4.0/24'], [host('b', '10.0.0.0/8')]), undefined, 'a way to somewhere');
  t.equal(findClash(['10.20.4.0/24'], [host('b', 'fd00::/64')]), undefined);
});

t.test('pieces of the pool that a host has are passed over; when all are, it is said which host', async t => {
  const plan = (nodes: readonly Node[], spec = defaultClusterSpec) =>
    planSubnets(network({ subnets: [], spec: networkSpec({ subnets: [] }) }), { networks: [], nodes, spec });
  t.same(plan([host('a', '10.208.3.0/24')]), { kind: 'subnets', subnets: ['10.208.16.0/20'] });
  t.same(plan([host('a', '10.0.0.0/8')]), { kind: 'subnets', subnets: ['10.208.0.0/20'] });
  t.match(plan([host('a', '10.192.0.0/10')]), {
    kind: 'exhausted',
    message: /10\.192\.0\.0\/10 on node "a" \(eth1\)$/,
  });
});

const nothing: UpdateNetworkRequest = { network: 'net', version: 0, labelsAdd: {}, labelsRemove: [], subnetsAdd: [] };

t.test('a network in use is changed: labels, the way out, more addresses', async t => {
  const state = openState();
  state.put('node', host('b', '10.20.0.0/16'));
  state.put('network', network());
  state.put('network', {
    ...network({ subnets: ['10.9.0.0/24'] }),
    id: 'other' as never,
    spec: networkSpec({ name: 'other' }),
  });
  const after = (change: Partial<UpdateNetworkRequest>) =>
    networkAfter(state.view, network(), { ...nothing, ...change });
  t.same(after({}), network());
  t.same(after({ labelsAdd: { a: '1' } }).spec.labels, { a: '1' });
  t.equal(after({ internal: true }).spec.internal, true);
  const grown = after({ subnetsAdd: ['10.5.0.0/24'] });
  t.same(grown.subnets, ['10.1.0.0/24', '10.5.0.0/24']);
  t.same(grown.spec.subnets, network().spec.subnets, 'what was asked for stays as it was');
  t.same(after({ subnetsAdd: ['10.1.0.0/24'] }).subnets, ['10.1.0.0/24'], 'told twice');
  t.throws(() => after({ subnetsAdd: ['10.9.0.128/25'] }), { code: 'subnet-conflict' });
  t.throws(() => after({ subnetsAdd: ['10.20.7.0/24'] }), {
    code: 'subnet-conflict',
    state: /10\.20\.0\.0\/16 on node "b"/,
  });
  t.throws(() => after({ subnetsAdd: ['10.5.0.1/24'] }), { code: 'bad-argument' });
  const fixed = network({ spec: networkSpec({ name: 'default' }) });
  t.throws(() => networkAfter(state.view, fixed, { ...nothing, internal: true }), { code: 'bad-argument' });
});

t.test('the pool of a cluster, and the length of its pieces', async t => {
  t.same(poolOf({ pool: '', poolPieceBits: 0 }), { pool: '10.208.0.0/12', poolPieceBits: 20 });
  t.same(poolOf({ pool: '10.64.0.0/12', poolPieceBits: 24 }), { pool: '10.64.0.0/12', poolPieceBits: 24 });
  t.same(poolOf({ pool: '10.64.0.0/24', poolPieceBits: 0 }), { pool: '10.64.0.0/24', poolPieceBits: 24 });
  t.throws(() => poolOf({ pool: '10.64.0.0/12', poolPieceBits: 8 }), { code: 'bad-argument' });
  t.throws(() => poolOf({ pool: '10.64.0.1/12', poolPieceBits: 0 }), { code: 'bad-argument' });
});

t.test(
  'a network that is nearly full, or hides what a node got later, is a condition that stands until it ends',
  async t => {
    const state = openState();
    const net = network({ subnets: ['10.1.0.0/28'] });
    state.put('network', net);
    state.put('service', service({ vips: [{ networkId: net.id, addresses: ['10.1.0.2'] }] }));
    const put = (at: number, ended = false) =>
      state.put(
        'task',
        task(`t${at}`, {
          state: ended ? 'failed' : 'running',
          endpoints: [{ networkId: net.id, addresses: [`10.1.0.${at}`] }],
        }),
      );
    for (let at = 3; at <= 11; at += 1) put(at);
    t.same(planFullness(state.view), [], '10 of 13');
    put(12);
    t.match(planFullness(state.view), [{ used: 11, total: 13 }]);

    const clock = makeFakeClock();
    const telemetry = makeTelemetry(silent);
    const lifetime = testLifetime([]);
    let changed: ((events: readonly never[]) => void) | undefined;
    const store = {
      view: () => state.view,
      watch: (call: (events: readonly never[], view: View) => void) => {
        changed = events => call(events, state.view);
        return { [Symbol.dispose]: () => undefined };
      },
    };
    openFullness({ store, clock, telemetry, lifetime });
    await clock.advance(3_000);
    t.match(telemetry.warnings(), [{ code: 'network-nearly-full', message: /"net" \(10\.1\.0\.0\/28: 80 % of 13/ }]);
    put(12, true);
    changed?.([{ table: 'task' } as never]);
    await clock.advance(3_000);
    t.same(telemetry.warnings(), []);
    state.put('node', host('b', '10.1.0.0/24'));
    changed?.([{ table: 'node', kind: 'put', object: host('b', '10.1.0.0/24') } as never]);
    await clock.advance(3_000);
    t.match(telemetry.warnings(), [
      {
        code: 'subnet-conflict',
        message: 'network "net" (10.1.0.0/28) hides 10.1.0.0/24 on node "b" (eth1) from its containers there',
      },
    ]);
    await lifetime[Symbol.asyncDispose]();
  },
);
