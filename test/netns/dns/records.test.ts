import t from 'tap';
import type { NetworkId } from '../../../src/ids.js';
import { type Answer, buildRecords, findAnswer, type QuestionType } from '../../../src/netns/dns/records.js';
import { endpointItem, id, type LabNode, networkItem, nodeItem, serviceItem, tables } from '../lab.js';

const upstreams: string[] = [];
const demo = { stack: 'demo', networks: new Set([id<NetworkId>('net1')]), upstreams };
const shop = { stack: 'shop', networks: new Set([id<NetworkId>('net1'), id<NetworkId>('net2')]), upstreams };
const lonely = { stack: '', networks: new Set([id<NetworkId>('net3')]), upstreams };

const records = buildRecords(
  tables(
    nodeItem({ number: 2, address: '192.0.2.2' } as LabNode),
    networkItem('net1', '10.0.1.0/24'),
    networkItem('net2', '10.0.2.0/24'),
    networkItem('net3', '10.0.3.0/24', true),
    serviceItem({ name: 'demo_web', stack: 'demo', vip: '10.0.1.200', aliases: ['web', 'www'] }),
    serviceItem({ name: 'shop_web', stack: 'shop', network: 'net2', vip: '10.0.2.200', aliases: ['web'] }),
    serviceItem({ name: 'list', aliases: ['Many'] }),
    serviceItem({ name: 'empty', vip: '10.0.1.210' }),
    serviceItem({ name: 'every', vip: '10.0.1.220' }),
    endpointItem({ task: 'a', service: 'demo_web', node: 1, slot: 1, address: '10.0.1.11' }),
    endpointItem({ task: 'b', service: 'demo_web', node: 1, slot: 2, address: '10.0.1.12', serving: false }),
    endpointItem({ task: 'c', service: 'list', node: 1, slot: 1, address: '10.0.1.31' }),
    endpointItem({ task: 'd', service: 'list', node: 1, slot: 2, address: '10.0.1.32' }),
    endpointItem({ task: 'e', service: 'shop_web', node: 1, slot: 1, address: '10.0.2.11', network: 'net2' }),
    endpointItem({ task: 'f', service: 'every', node: 2, slot: 0, address: '10.0.1.41' }),
  ),
);

const ask = (name: string, asker: typeof demo = demo, type: QuestionType = 'A'): Answer =>
  findAnswer(records, asker, { name, type });
const addresses = (...list: string[]) => ({ kind: 'addresses', addresses: list });

for (const [what, answer, wanted] of [
  ['the short name of a service of the own stack', ask('web'), { ...addresses('10.0.1.200'), ttl: 30 }],
  ['the same short name in another stack is the other service', ask('web', shop), addresses('10.0.2.200')],
  ['the full name of a service of another stack on a shared network', ask('demo_web', shop), addresses('10.0.1.200')],
  ['an alias', ask('www'), addresses('10.0.1.200')],
  ['any case of letters', ask('WeB'), addresses('10.0.1.200')],
  ['a service on no network of the asker', ask('shop_web'), { kind: 'no-such-name' }],
  ['the tasks that serve', ask('tasks.web'), { ...addresses('10.0.1.11'), ttl: 1 }],
  ['one slot', ask('1.web'), addresses('10.0.1.11')],
  ['a slot that does not serve', ask('2.web'), { kind: 'no-such-name' }],
  ['the task of a global service on a node', ask('rack2.every'), addresses('10.0.1.41')],
  ['dnsrr gives the tasks', ask('list'), { ...addresses('10.0.1.31', '10.0.1.32'), ttl: 1 }],
  ['an alias of a dnsrr service in any case', ask('many'), addresses('10.0.1.31', '10.0.1.32')],
  ['a VIP stays though nobody serves', ask('empty'), addresses('10.0.1.210')],
  ['its tasks are none', ask('tasks.empty'), { kind: 'empty' }],
  ['a name without another type', ask('web', demo, 'AAAA'), { kind: 'empty' }],
  ['TXT and the like', ask('web', demo, 'other'), { kind: 'empty' }],
  ['a name without a dot that nobody has', ask('nobody'), { kind: 'no-such-name' }],
  ['a name outside', ask('www.example.org'), { kind: 'outside' }],
  ['a label of a known service that is no slot', ask('www.web'), { kind: 'outside' }],
  ['a name outside, asked from internal networks', ask('www.example.org', lonely), { kind: 'no-such-name' }],
  ['the domain of the own stack', ask('web.demo.internal'), { ...addresses('10.0.1.200'), ttl: 30 }],
  ['the domain of another stack', ask('WEB.Demo.internal', shop), addresses('10.0.1.200')],
  ['a service of another stack under the own domain', ask('list.demo.internal'), { kind: 'no-such-name' }],
  ['a slot under the domain', ask('1.web.demo.internal'), addresses('10.0.1.11')],
  ['tasks under the domain', ask('tasks.web.demo.internal', shop), addresses('10.0.1.11')],
  ['nobody under the domain', ask('www.example.org.demo.internal'), { kind: 'no-such-name' }],
  ['the domain itself', ask('demo.internal'), { kind: 'empty' }],
  ['no AAAA under the domain', ask('web.demo.internal', demo, 'AAAA'), { kind: 'empty' }],
  ['SRV under the domain', ask('_80._tcp.web.demo.internal', demo, 'SRV'), { kind: 'services' }],
  ['SRV of nobody under the domain', ask('_80._tcp.x.demo.internal', demo, 'SRV'), { kind: 'no-such-name' }],
  ['a stack that has nothing on networks of the asker', ask('web.shop.internal'), { kind: 'outside' }],
  ['names of others under internal', ask('metadata.google.internal'), { kind: 'outside' }],
  [
    'SRV',
    ask('_8080._tcp.list', demo, 'SRV'),
    { kind: 'services', targets: [{ name: '1.list', port: 8080, addresses: ['10.0.1.31'] }, { name: '2.list' }] },
  ],
  ['A of an SRV name', ask('_8080._tcp.list'), { kind: 'empty' }],
  ['SRV of a name outside', ask('_25._tcp.example.org', demo, 'SRV'), { kind: 'outside' }],
  ['an address of a task', ask('31.1.0.10.in-addr.arpa', demo, 'PTR'), { kind: 'pointer', name: '1.list' }],
  ['a VIP', ask('200.1.0.10.in-addr.arpa', demo, 'PTR'), { kind: 'pointer', name: 'demo_web' }],
  ['an address of another network', ask('11.2.0.10.in-addr.arpa', demo, 'PTR'), { kind: 'no-such-name' }],
  ['a free address of a network', ask('99.1.0.10.in-addr.arpa', demo, 'PTR'), { kind: 'no-such-name' }],
  ['an address outside', ask('1.2.0.192.in-addr.arpa', demo, 'PTR'), { kind: 'outside' }],
] as const) {
  t.test(what, async t => t.match(answer, wanted));
}
