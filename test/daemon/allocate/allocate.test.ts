/** Addresses, prefixes and ports. */
import t from 'tap';
import { ledgerAfter, openAddressPool, reuseDelayMs } from '../../../src/daemon/allocate/ipam.js';
import { planPorts } from '../../../src/daemon/allocate/ports.js';
import {
  findFreePiece,
  parseAddress,
  parsePrefix,
  renderAddress,
  renderPrefix,
} from '../../../src/daemon/allocate/prefix.js';
import { findOverlap, planSubnets } from '../../../src/daemon/allocate/subnets.js';
import { defaultClusterSpec } from '../../../src/daemon/tables.js';
import type { Network, Node, PortSpec, Service, Task } from '../../../src/gen/types.js';
import type { View } from '../../../src/raft/store.js';
import { meta, network, networkSpec, node, service, serviceSpec, task } from '../object-fixtures.js';

const view = (tasks: readonly Task[], services: readonly Service[] = []): View =>
  ({ list: (table: string) => (table === 'task' ? tasks : table === 'service' ? services : []) }) as unknown as View;
const has = (address: string, over: Parameters<typeof task>[1] = {}): Task =>
  task(`t-${address}`, { endpoints: [{ networkId: network().id, addresses: [address] }], ...over });

function takeAll(net: Network, state: View, nowMs: number): readonly string[] {
  const pool = openAddressPool(net, state);
  const taken: string[] = [];
  for (;;) {
    const next = pool.take(nowMs);
    if (next.kind === 'exhausted') return taken;
    taken.push(next.address);
  }
}

const tiny = network({ subnets: ['10.1.0.0/29'] });

t.test('addresses are given from the lowest; the first two and the last stay free', async t => {
  t.same(takeAll(tiny, view([]), 0), ['10.1.0.2', '10.1.0.3', '10.1.0.4', '10.1.0.5', '10.1.0.6']);
  t.same(
    takeAll(network({ subnets: ['10.1.0.0/30', '10.2.0.0/30'] }), view([]), 0),
    ['10.1.0.2', '10.2.0.2'],
    'one prefix after the other',
  );
});

t.test('tasks and virtual addresses hold what they have', async t => {
  const web = service({ vips: [{ networkId: tiny.id, addresses: ['10.1.0.2'] }] });
  t.same(takeAll(tiny, view([has('10.1.0.4')], [web]), 0), ['10.1.0.3', '10.1.0.5', '10.1.0.6']);
  t.equal(openAddressPool(tiny, view([has('10.1.0.4')], [web])).usedCount, 2);
});

t.test('a freed address is given after ten seconds, the one that is free for longest first', async t => {
  const ended = (address: string, updatedAtMs: number): Task =>
    has(address, { state: 'failed', meta: { ...meta, updatedAtMs } });
  const freed = { freed: [{ address: '10.1.0.3', atMs: 5_000 }] };
  const net = { ...tiny, ledger: freed };
  const state = view([ended('10.1.0.2', 9_000), ended('10.1.0.4', 2_000), has('10.1.0.5'), has('10.1.0.6')]);
  t.same(takeAll(net, state, 0), []);
  t.same(takeAll(net, state, 2_000 + reuseDelayMs), ['10.1.0.4']);
  t.same(takeAll(net, state, 9_000 + reuseDelayMs), ['10.1.0.4', '10.1.0.3', '10.1.0.2']);
  t.same(openAddressPool(net, state).take(0), {
    kind: 'exhausted',
    message: 'no free address on network "net": 10.1.0.0/29: 2 of 5 in use, 3 free again within 10 s',
    retryAtMs: 12_000,
  });
});

t.test('an address in use is never given, whatever the ledger says', async t => {
  const net = { ...tiny, ledger: { freed: [{ address: '10.1.0.2', atMs: 0 }] } };
  t.same(takeAll(net, view([has('10.1.0.2')]), 100_000), ['10.1.0.3', '10.1.0.4', '10.1.0.5', '10.1.0.6']);
});

t.test('the ledger keeps the young ones whole and the old ones up to its limit', async t => {
  const many = (count: number, atMs: number) =>
    Array.from({ length: count }, (_, at) => ({ address: renderAddress(at), atMs: atMs + at }));
  t.equal(ledgerAfter(undefined, many(2_000, 50_000), 50_000).freed.length, 2_000);
  t.equal(ledgerAfter(undefined, many(2_000, 0), 1_000_000).freed.length, 512);
  t.same(ledgerAfter({ freed: [{ address: '10.1.0.2', atMs: 1 }] }, [{ address: '10.1.0.2', atMs: 5 }], 5).freed, [
    { address: '10.1.0.2', atMs: 5 },
  ]);
});

t.test('addresses and prefixes are read and written', async t => {
  for (const text of ['0.0.0.0', '10.208.0.1', '255.255.255.255'])
    t.equal(renderAddress(parseAddress(text) ?? -1), text);
  for (const text of ['', '10.1.1', '10.1.1.256', '010.1.1.1', '10.1.1.1.1', 'a.b.c.d'])
    t.equal(parseAddress(text), undefined, text);
  for (const text of ['10.0.0.0/8', '0.0.0.0/0', '1.2.3.4/32']) t.equal(renderPrefix(parsePrefix(text)!), text);
  for (const text of ['10.0.0.1/8', '10.0.0.0', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/8/8', 'fd00::/8'])
    t.equal(parsePrefix(text), undefined, text);
});

t.test('pieces of the pool: the first that overlaps with nothing', async t => {
  const pool = parsePrefix('10.208.0.0/12')!;
  const piece = (...taken: readonly string[]): string | undefined => {
    const found = findFreePiece(
      pool,
      20,
      taken.map(text => parsePrefix(text)!),
    );
    return found === undefined ? undefined : renderPrefix(found);
  };
  t.equal(piece(), '10.208.0.0/20');
  t.equal(piece('10.208.0.0/20'), '10.208.16.0/20');
  t.equal(piece('10.208.0.0/20', '10.208.32.0/20'), '10.208.16.0/20');
  t.equal(piece('10.208.5.0/24'), '10.208.16.0/20', 'a small one in the way');
  t.equal(piece('10.208.0.0/13'), '10.216.0.0/20', 'a large one');
  t.equal(piece('10.208.0.0/12'), undefined);
  t.equal(piece('10.0.0.0/8'), undefined);
});

t.test('prefixes of a network: as asked, from the pool, or none', async t => {
  const plan = (spec: Partial<Network['spec']>, others: readonly Network[] = []) =>
    planSubnets(network({ subnets: [], spec: networkSpec(spec) }), {
      networks: others,
      nodes: [],
      spec: defaultClusterSpec,
    });
  t.same(plan({ driver: 'host' }), { kind: 'subnets', subnets: [] });
  t.same(plan({ subnets: ['10.5.0.0/24'] }), { kind: 'subnets', subnets: ['10.5.0.0/24'] });
  t.same(plan({}, [network({ subnets: ['10.208.0.0/20'] })]), { kind: 'subnets', subnets: ['10.208.16.0/20'] });
  t.match(plan({}, [network({ subnets: ['10.208.0.0/12'] })]), {
    kind: 'exhausted',
    message: 'no free piece of /20 is left in the pool 10.208.0.0/12',
  });
  t.equal(findOverlap(['10.1.0.128/25'], [network()])?.id, network().id);
  t.equal(findOverlap(['10.1.1.0/24'], [network()]), undefined);
});

const port = (published: number, over: Partial<PortSpec> = {}): PortSpec => ({
  published,
  target: 80,
  protocol: 'tcp',
  mode: 'ingress',
  ...over,
});
const ports = (
  wanted: readonly PortSpec[],
  given: readonly PortSpec[] = [],
  others: readonly Service[] = [],
  nodes: readonly Node[] = [],
) => {
  const plan = planPorts(wanted, given, { others: () => others, nodes: () => nodes });
  return plan.kind === 'ports' ? plan.ports.map(({ published }) => published) : plan.message;
};

t.test('ports: as asked, or the lowest free one from 30000', async t => {
  t.same(ports([port(8_080)]), [8_080]);
  t.same(ports([port(0), port(0, { target: 81 })]), [30_000, 30_001]);
  t.same(ports([port(0), port(30_000, { target: 81 })]), [30_001, 30_000], 'an asked one is not taken by chance');
  t.same(
    ports(
      [port(0)],
      [],
      [service({ ports: [port(30_000)] }), service({ spec: serviceSpec({ ports: [port(30_001)] }) })],
    ),
    [30_002],
  );
  t.same(
    ports([port(0, { protocol: 'udp' })], [], [service({ ports: [port(30_000)] })]),
    [30_000],
    'protocols are apart',
  );
});

t.test('a port on which a program of some machine listens is not chosen', async t => {
  const listening = [{ protocol: 'tcp' as const, port: 30_000, program: 'nginx (pid 812)' }];
  const made = node('a');
  const busy = { ...made, description: { ...made.description, network: { prefixes: [], listening } } };
  t.same(ports([port(0), port(0, { protocol: 'udp' })], [], [], [node('b'), busy]), [30_001, 30_000]);
});

t.test('a number that was given once is kept', async t => {
  t.same(ports([port(0)], [port(30_007)]), [30_007]);
  t.same(ports([port(9_000, { target: 9 }), port(0)], [port(30_007)]), [9_000, 30_007]);
  t.same(ports([port(0, { target: 81 })], [port(30_007)]), [30_000], 'it was given for another target');
});

t.test('no port left is a reason', async t => {
  const all = service({ ports: Array.from({ length: 2_768 }, (_, at) => port(30_000 + at)) });
  t.equal(ports([port(0)], [], [all]), 'no free port from 30000 to 32767/tcp');
});
