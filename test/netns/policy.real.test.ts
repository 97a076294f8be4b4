/** Who may connect to whom, on the kernel: within a node and across, by TCP, UDP and ICMP, and after the policy has changed. */
import t from 'tap';
import type { AllowedPort, AllowedWay, TableItem } from '../../src/gen/types.js';
import type { ServiceId } from '../../src/ids.js';
import { ask, get, getUdp, id, inside, networkItem, serve } from './lab.js';
import { openStage, skipUnlessRoot, vip } from './stage.js';

const client = id<ServiceId>('demo_client');
const web = id<ServiceId>('demo_web');
const range = (protocol: 'tcp' | 'udp', first: number, last = first): AllowedPort => ({ protocol, first, last });

function closed(...allowed: readonly AllowedWay[]): TableItem {
  return networkItem('net1', '10.0.1.0/24', false, { closed: true, allowed });
}

t.test('a policy lets pass what it allows and refuses the rest at once', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 2 });
  const { lab, items } = stage;
  const set = async (item: TableItem): Promise<void> => {
    items.set(item.key, item);
    await stage.show();
  };
  const from = (task: string) => stage.namespace(task);
  const tcp = async (task: string, address: string, port = 80): Promise<string> => {
    const answer = await ask(from(task), 'nc', '-n', '-v', '-w5', address, String(port));
    return /prohibited|unreachable|No route/i.test(answer) ? 'refused' : answer;
  };
  const ping = (task: string, address: string) => ask(from(task), 'ping', '-n', '-c1', '-W3', address);
  const both = ['10.0.1.12', '10.0.1.22'];

  await t.test('without a policy all talk to all', async t => {
    for (const address of both) t.match(await tcp('c1', address), ' sees 10.0.1.11');
    t.match(await tcp('w1', '10.0.1.21'), ' sees 10.0.1.12');
  });
  await t.test('closed: nothing passes, on a node and across nodes, by any protocol', async t => {
    await set(closed());
    for (const address of both) {
      t.equal(await tcp('c1', address), 'refused', address);
      t.match(await ping('c1', address), /100% packet loss/, address);
    }
    t.equal(await getUdp(from('c1'), '10.0.1.12', 80, 300), 'failed');
    t.equal(await tcp('c1', vip), 'refused', 'by the VIP');
  });
  await t.test('a way with ports: these, there, by this protocol, and not back', async t => {
    await using _other = await serve(from('w2'), 'other', 8_085);
    await set(closed({ fromService: client, toService: web, ports: [range('tcp', 80), range('tcp', 8_080, 8_084)] }));
    for (const address of both) t.match(await tcp('c1', address), ' sees 10.0.1.11', address);
    t.match(await tcp('c1', vip), ' sees 10.0.1.11');
    t.equal(await tcp('c1', '10.0.1.22', 8_085), 'refused');
    t.equal(await getUdp(from('c1'), '10.0.1.22', 80, 300), 'failed', 'UDP');
    t.match(await ping('c1', '10.0.1.22'), /100% packet loss/);
    t.equal(await tcp('w1', '10.0.1.21'), 'refused', 'back');
    t.equal(await tcp('w1', '10.0.1.22'), 'refused', 'to its own kind');
    await set(closed({ fromService: client, toService: web, ports: [range('tcp', 80, 8_085), range('udp', 80)] }));
    t.match(await tcp('c1', '10.0.1.22', 8_085), 'other sees');
    t.match(await getUdp(from('c1'), '10.0.1.22', 80), 'w2 sees 10.0.1.11');
  });
  await t.test('a way without ports: everything, and a look at the rules finds nothing to mend', async t => {
    await set(closed({ fromService: client, toService: web, ports: [] }));
    t.match(await ping('c1', '10.0.1.22'), / 0% packet loss/);
    t.match(await getUdp(from('c1'), '10.0.1.12', 80), 'w1 sees 10.0.1.11');
    await set(closed({ fromService: client, toService: web, ports: [range('tcp', 80, 90), range('udp', 53)] }));
    for (const node of lab.nodes) t.same(await node.stack.check(), [], `node ${node.number}`);
  });
  await t.test('published ports answer everybody as before', async t => {
    await set(closed());
    t.match(await get(lab.client, lab.nodes[0]?.address ?? '', 8_080), ' sees 10.91.0.9');
  });
  await t.test('the metadata service is out of reach, unless the network may ask it', async t => {
    const address = '169.254.169.254';
    inside(lab.client, 'ip', 'addr', 'add', `${address}/32`, 'dev', 'lo');
    const [node] = lab.nodes;
    if (node === undefined) throw new Error('no node');
    inside(node.namespace, 'ip', 'route', 'add', address, 'via', lab.clientAddress);
    await using _metadata = await serve(lab.client, 'metadata', 80);
    await set(networkItem('net1', '10.0.1.0/24'));
    t.equal(await tcp('c1', address), 'refused');
    await set(networkItem('net1', '10.0.1.0/24', false, { metadata: true }));
    t.match(await tcp('c1', address), `metadata sees ${node.address}`);
    t.equal(await tcp('c1', '169.254.169.253'), 'refused', 'and nothing beside it');
  });
  t.same(lab.problems, []);
});
