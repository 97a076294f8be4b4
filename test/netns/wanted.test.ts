import t from 'tap';
import type { ServiceId } from '../../src/ids.js';
import { planAttachment } from '../../src/netns/attachment.js';
import { describe } from '../../src/netns/fabric-object.js';
import { parseTables, renderTables } from '../../src/netns/tables-file.js';
import { vnisOf } from '../../src/netns/vnis.js';
import { planWanted, type Wanted, type WantedInput } from '../../src/netns/wanted.js';
import { endpointItem, id, type LabNode, networkItem, nodeId, nodeItem, serviceItem, tables, taskOf } from './lab.js';

const machine = (number: number) => nodeItem({ number, address: `192.0.2.${number}` } as LabNode);
const identity = {
  nodeId: nodeId(1),
  tunnelIndex: 1,
  dataAddress: '192.0.2.1',
  dataPort: 7378,
  vniOverlay: 2,
  vniIngress: 3,
};
const hostLink = { hostAddress: '169.254.2.1', fabricAddress: '169.254.2.2' };
const local = { task: 'a', service: 'web', node: 1, slot: 1, address: '10.0.1.11' };
const remote = { task: 'b', service: 'web', node: 2, slot: 2, address: '10.0.1.21' };

function attachmentOf(options: typeof local) {
  const plan = planAttachment(taskOf(options), new Map(), 1_450);
  if (plan.kind !== 'attach') throw new Error('no attachment');
  return plan.attachment;
}

function plan(items: WantedInput['tables'], attachments = [attachmentOf(local)]): Wanted {
  return planWanted({ identity, hostLink, tables: items, attachments, hostAddresses: ['192.0.2.1'] });
}

function elements(wanted: Wanted, set: string): Record<string, string> {
  return Object.fromEntries(wanted.fabricRules.sets[set] ?? []);
}

const lines = (wanted: Wanted): string[] => [...wanted.objects.values()].map(describe);

t.test('each address of another node is a route, a second one when a published port leads there', async t => {
  const common = [
    machine(1),
    machine(2),
    networkItem('net1', '10.0.1.0/24'),
    endpointItem(local),
    endpointItem(remote),
  ];
  const quiet = lines(plan(tables(...common, serviceItem({ name: 'web', vip: '10.0.1.200' }))));
  t.ok(quiet.includes('route 254 10.0.1.21/32 cv0 169.254.64.2'));
  t.ok(quiet.includes('route 254 10.0.1.11/32 va0000000000000'));
  t.ok(
    quiet.some(line => line.startsWith('route 254 10.0.1.0/24')),
    'the rest of the subnet is unreachable',
  );
  t.notOk(quiet.some(line => line.startsWith('route 1001')));
  const published = lines(
    plan(tables(...common, serviceItem({ name: 'web', ports: [{ published: 80, target: 80 }] }))),
  );
  t.ok(published.includes('route 1001 10.0.1.21/32 cv1 169.254.64.2'));
  t.notOk(
    published.some(line => line.startsWith('route 1001 10.0.1.11')),
    'not for local ones',
  );
});

t.test('only serving tasks are backends; all keep their route', async t => {
  const items = tables(
    machine(2),
    serviceItem({ name: 'web', vip: '10.0.1.200' }),
    endpointItem(local),
    endpointItem({ ...remote, serving: false }),
  );
  const wanted = plan(items);
  t.same(elements(wanted, 'vips'), { '10.0.1.200': 'goto pick1' });
  t.same(elements(wanted, 'backends'), { '10.0.1.200 . 0': '10.0.1.11' });
  t.ok(lines(wanted).some(line => line.startsWith('route 254 10.0.1.21/32')));
  t.same([...wanted.serving], ['10.0.1.11']);
  t.same([...wanted.endpoints].sort(), ['10.0.1.11', '10.0.1.21']);
});

t.test('a service without backends is refused, by its VIP and its ports', async t => {
  const wanted = plan(
    tables(serviceItem({ name: 'web', vip: '10.0.1.200', ports: [{ published: 80, target: 8080 }] })),
  );
  t.same(elements(wanted, 'refused-vips'), { '10.0.1.200': '' });
  t.same(elements(wanted, 'refused-ports'), { 'tcp . 80': '' });
  t.same([...wanted.published], ['tcp . 80'], 'the fabric gets the packets and refuses them');
  t.same(elements(wanted, 'vips'), {});
});

t.test('a port of mode host has local backends only, and is not there without any', async t => {
  const ports = [{ published: 53, target: 5353, protocol: 'udp', mode: 'host' }] as const;
  const items = tables(machine(2), serviceItem({ name: 'web', ports }), endpointItem(local), endpointItem(remote));
  t.same(elements(plan(items), 'port-backends'), { 'udp . 53 . 0': '10.0.1.11 . 5353' });
  const away = plan(tables(machine(2), serviceItem({ name: 'web', ports }), endpointItem(remote)));
  t.same([...away.published], []);
  t.same(elements(away, 'refused-ports'), {});
});

t.test('a port of mode local has local backends only, and is refused without any', async t => {
  const ports = [{ published: 80, target: 8080, mode: 'local' }] as const;
  const items = tables(machine(2), serviceItem({ name: 'web', ports }), endpointItem(local), endpointItem(remote));
  t.same(elements(plan(items), 'port-backends'), { 'tcp . 80 . 0': '10.0.1.11 . 8080' });
  const away = plan(tables(machine(2), serviceItem({ name: 'web', ports }), endpointItem(remote)));
  t.same([...away.published], ['tcp . 80']);
  t.same(elements(away, 'refused-ports'), { 'tcp . 80': '' });
});

t.test('a sticky service leads to places that the address of the client chooses', async t => {
  const ports = [{ published: 80, target: 8080 }];
  const service = serviceItem({ name: 'web', vip: '10.0.1.200', sticky: true, ports });
  const wanted = plan(tables(machine(2), service, endpointItem(local), endpointItem(remote)));
  t.same(elements(wanted, 'vips'), { '10.0.1.200': 'goto stick64' });
  t.same(elements(wanted, 'ports'), { 'tcp . 80': 'goto hold64' });
  t.same(new Set(Object.values(elements(wanted, 'backends'))), new Set(['10.0.1.11', '10.0.1.21']));
  t.equal(Object.keys(elements(wanted, 'port-backends')).length, 64);
});

t.test('a port has one owner: a second service that claims it is not mixed in', async t => {
  const ports = [{ published: 80, target: 80 }];
  const other = { ...remote, task: 'c', service: 'second', address: '10.0.1.33' };
  const wanted = plan(
    tables(
      machine(2),
      serviceItem({ name: 'web', ports }),
      serviceItem({ name: 'second', ports }),
      endpointItem(local),
      endpointItem(other),
    ),
  );
  t.same(elements(wanted, 'port-backends'), { 'tcp . 80 . 0': '10.0.1.11 . 80' });
});

t.test('networks pair with themselves alone, and a task with its own addresses', async t => {
  const wanted = plan(tables(networkItem('net1', '10.0.1.0/24'), networkItem('net2', '10.0.2.0/24', true)));
  t.same(elements(wanted, 'pairs'), { '10.0.1.0/24 . 10.0.1.0/24': '', '10.0.2.0/24 . 10.0.2.0/24': '' });
  t.same(elements(wanted, 'internal'), { '10.0.2.0/24': '' });
  t.same(elements(wanted, 'hairpin'), { '10.0.1.11 . 10.0.1.11': '' });
});

t.test('a network with a policy pairs with nothing; its services have numbers, and what they reach', async t => {
  const [web, db] = [id<ServiceId>('web'), id<ServiceId>('db')];
  const ports = [
    { protocol: 'tcp' as const, first: 80, last: 80 },
    { protocol: 'udp' as const, first: 53, last: 60 },
  ];
  const policy = {
    closed: true,
    metadata: true,
    allowed: [
      { fromService: web, toService: db, ports },
      { fromService: web, toService: web, ports: [] },
    ],
  };
  const wanted = plan(
    tables(
      machine(2),
      networkItem('net1', '10.0.1.0/24', false, policy),
      serviceItem({ name: 'web' }),
      serviceItem({ name: 'db' }),
      endpointItem(local),
      endpointItem({ ...remote, task: 'c', service: 'db', address: '10.0.1.22' }),
      endpointItem({ ...remote, task: 'd', service: 'db', address: '10.0.2.22', network: 'net2' }),
    ),
  );
  t.same(elements(wanted, 'pairs'), {});
  t.same(elements(wanted, 'metadata'), { '10.0.1.0/24': '' });
  t.same(elements(wanted, 'groups'), { '10.0.1.11': '1' });
  t.same(elements(wanted, 'allowed'), { '1 . 10.0.1.11': '' });
  t.same(elements(wanted, 'allowed-ports'), { '1 . 10.0.1.22 . tcp . 80': '', '1 . 10.0.1.22 . udp . 53-60': '' });
});

t.test('other nodes: two ways there, one way back; this node and impossible ones are left out', async t => {
  const broken = {
    key: 'node/x',
    value: {
      kind: 'node' as const,
      nodeId: id<ReturnType<typeof nodeId>>('x'),
      name: 'x',
      tunnelIndex: 99_999,
      dataAddresses: ['192.0.2.9'],
      dataPort: 1,
    },
  };
  const wanted = plan(tables(machine(1), machine(2), broken), []);
  t.same(
    lines(wanted)
      .filter(line => line.includes('.64.2') || line.includes('192.0.2.2') || line.includes('rule 102'))
      .sort(),
    [
      'forwarding cv0 02:c0:00:00:00:02 192.0.2.2',
      'forwarding cv1 02:c0:00:00:00:02 192.0.2.2',
      'neighbour cv0 169.254.64.2 02:c0:00:00:00:02',
      'neighbour cv1 169.254.64.2 02:c0:00:00:00:02',
      'route 254 169.254.64.2/32 cv0',
      'route 262146 0.0.0.0/0 cv1 169.254.64.2',
      'rule 102 262146 262146',
    ],
  );
  t.same(elements(wanted, 'entries'), { '02:c0:00:00:00:02': '262146' });
  t.same(elements(wanted, 'zones'), { '02:c0:00:00:00:02': '2' });
});

t.test('a task with several addresses leaves by the network that has a way out', async t => {
  const two = taskOf(local);
  const task = {
    ...two,
    endpoints: [
      { networkId: id<(typeof two.endpoints)[0]['networkId']>('net2'), addresses: ['10.0.2.11'] },
      ...two.endpoints,
    ],
  };
  t.match(planAttachment(task, new Map(), 1_450), { kind: 'wait' }, 'not before its networks are known');
  const known = tables(networkItem('net1', '10.0.1.0/24'), networkItem('net2', '10.0.2.0/24', true));
  t.match(planAttachment(task, known, 1_450), {
    kind: 'attach',
    attachment: {
      endpoints: [{ addresses: ['10.0.1.11'] }, { addresses: ['10.0.2.11'] }],
      sources: [{ subnet: '10.0.2.0/24', source: '10.0.2.11' }],
    },
  });
});

t.test('the driver decides for a task without addresses', async t => {
  const task = { ...taskOf(local), endpoints: [] };
  const net = networkItem('net1', '');
  if (net.value?.kind !== 'network') throw new Error('no network');
  t.match(planAttachment(task, new Map(), 1_450), { kind: 'wait' });
  t.match(planAttachment(task, tables({ ...net, value: { ...net.value, driver: 'host' } }), 1_450), { kind: 'host' });
  t.match(planAttachment(task, tables({ ...net, value: { ...net.value, driver: 'none' } }), 1_450), {
    kind: 'attach',
    attachment: { kind: 'none' },
  });
  t.match(planAttachment({ ...task, spec: { ...task.spec, networks: [] } }, new Map(), 1_450), {
    kind: 'attach',
    attachment: { kind: 'none' },
  });
});

t.test('the tables are the same after the disk', async t => {
  const items = tables(
    machine(1),
    networkItem('net1', '10.0.1.0/24'),
    serviceItem({ name: 'web', vip: '10.0.1.200' }),
    endpointItem(local),
  );
  t.same(parseTables(renderTables({ identity, tables: items })), { identity, tables: items });
  for (const text of ['', '{', '{"version":2,"items":[]}', '{"version":1}'])
    t.equal(parseTables(text), undefined, text);
});

t.test('a cluster has two identifiers of its own, beyond those that others count up from', async t => {
  const seen = new Set<number>();
  for (let number = 0; number < 1_000; number += 1) {
    const { overlay, ingress } = vnisOf(id(`${number}x`));
    t.ok(overlay >= 0x100000 && ingress <= 0xffffff && ingress === overlay + 1 && overlay % 2 === 0);
    seen.add(overlay);
  }
  t.ok(seen.size > 995, `${seen.size} of 1,000 apart`);
});
