import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { firewalls, listFirewall, loadFirewall } from './firewalls.js';
import { ask, configure, get, inside, nodeItem, openLab, serve, serviceItem, tables } from './lab.js';
import { never, openStage, published, skipUnlessRoot, untilAll } from './stage.js';

for (const firewall of firewalls) {
  const { name, program, chains } = firewall;
  const obstacle = program === 'nft' || linuxHost.processes.findOnPath(program) !== undefined ? {} : { skip: program };
  const skip = { ...obstacle, ...skipUnlessRoot };
  t.test(`the overlay, published ports and the way out work behind a firewall as ${name} sets it`, skip, async t => {
    await using stage = await openStage({ nodes: 2 });
    const { lab } = stage;
    const [node] = lab.nodes;
    if (node === undefined) throw new Error('no node');
    const file = (text: string): string => {
      linuxHost.files.writeSync(`${lab.directory}/firewall`, text);
      return `${lab.directory}/firewall`;
    };
    loadFirewall(node.namespace, firewall, file);
    const before = listFirewall(node.namespace, firewall);
    // Docker drops nothing that comes in, firewalld nothing that was translated: what each of them drops is asked for.
    const dropped =
      name === 'Docker'
        ? ask(lab.client, 'nc', '-n', '-w1', node.address, String(published))
        : ask(stage.namespace('c2'), 'nc', '-n', '-w1', '10.0.1.12', '80');
    t.match(await dropped, 'failed', 'dropped at first');
    const put = chains.map(chain => `accept rules in ${chain}`);
    t.same([...(await node.stack.check())].sort(), [...put].sort());
    const wanted = [`w1 sees ${lab.clientAddress}`, `w2 sees ${lab.clientAddress}`];
    t.same(await untilAll(wanted, () => get(lab.client, node.address, published)), wanted);
    t.equal(await get(stage.namespace('c2'), '10.0.1.12', 80), 'w1 sees 10.0.1.21', 'the tunnel comes in');
    t.match(await get(node.namespace, '127.0.0.1', published), /^w[12] sees /, 'from the host itself');
    await using _outside = await serve(lab.client, 'outside', 80);
    t.equal(await get(stage.namespace('c1'), lab.clientAddress, 80), `outside sees ${node.address}`);
    t.same(await node.stack.check(), [], 'once is enough');
    const listed = node.stack.changes().flatMap(change => (change.kind === 'nft-rule' ? [change.name] : []));
    t.same(listed.sort(), [...chains].sort());
    t.same(node.stack.firewallProblems(), []);
    loadFirewall(node.namespace, firewall, file);
    t.same([...(await node.stack.check())].sort(), [...put].sort(), 'put back when the firewall was loaded anew');
    t.match(await get(lab.client, node.address, published), /^w[12] sees /);
    await node.stack.removeEverything();
    t.equal(listFirewall(node.namespace, firewall), before, 'the firewall is as it was');
  });
}

t.test(
  "machines on a bridge of the node's reach each other, also where its frames pass the host's rules",
  skipUnlessRoot,
  async t => {
    await using lab = await openLab({ nodes: 1 });
    const [node] = lab.nodes;
    if (node === undefined) throw new Error('no node');
    inside(node.namespace, 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    inside(node.namespace, 'ip', 'addr', 'add', '10.92.0.1/24', 'dev', 'br0');
    inside(node.namespace, 'ip', 'link', 'set', 'br0', 'up');
    const machines = ['a', 'b'].map((name, index) => {
      const machine = linuxHost.kernel.makeNetworkNamespace(`${lab.directory}/${name}`);
      inside(
        node.namespace,
        'ip',
        'link',
        'add',
        `to-${name}`,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        machine.path,
      );
      inside(node.namespace, 'ip', 'link', 'set', `to-${name}`, 'master', 'br0', 'up');
      inside(machine, 'ip', 'addr', 'add', `10.92.0.${2 + index}/24`, 'dev', 'eth0');
      inside(machine, 'ip', 'link', 'set', 'eth0', 'up');
      return machine;
    });
    const [a, b] = machines;
    if (a === undefined || b === undefined) throw new Error('no machines');
    const throughRules =
      'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables && cat /proc/sys/net/bridge/bridge-nf-call-iptables';
    t.match(inside(node.namespace, 'sh', '-c', throughRules), /1/);
    await configure(node);
    await using _b = await serve(b, 'b', 80);
    t.equal(await get(a, '10.92.0.3', 80), 'b sees 10.92.0.2');
    t.same(await node.stack.check(), [], 'and the rules are as they should be');
    await node.stack.removeEverything();
    for (const machine of machines) {
      linuxHost.kernel.closeNamespace(machine);
      linuxHost.kernel.removeNamespace(machine.path);
    }
  },
);

t.test('a node with two NICs does not become a router, and 127.0.0.1 stays its own', skipUnlessRoot, async t => {
  await using lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  const behind = linuxHost.kernel.makeNetworkNamespace(`${lab.directory}/behind`);
  inside(node.namespace, 'ip', 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', behind.path);
  inside(node.namespace, 'ip', 'addr', 'add', '10.92.0.1/24', 'dev', 'eth1');
  inside(node.namespace, 'ip', 'link', 'set', 'eth1', 'up');
  inside(behind, 'ip', 'addr', 'add', '10.92.0.2/24', 'dev', 'eth0');
  inside(behind, 'ip', 'link', 'set', 'eth0', 'up');
  inside(behind, 'ip', 'route', 'add', 'default', 'via', '10.92.0.1');
  inside(lab.client, 'ip', 'route', 'add', '10.92.0.0/24', 'via', node.address);
  await configure(node);
  const service = serviceItem({ name: 'web', ports: [{ published, target: 80 }] });
  await node.stack.applyTables(tables(nodeItem(node), service), never);
  const sysctl = (name: string): string => inside(node.namespace, 'cat', `/proc/sys/net/ipv4/conf/${name}`).trim();
  t.equal(sysctl('eth1/forwarding'), '1', 'clients may come from there');
  t.equal(sysctl('all/forwarding'), '0');
  t.equal(sysctl('all/route_localnet'), '0');
  t.match(await ask(lab.client, 'busybox', 'ping', '-c2', '-i0.1', '-W1', '10.92.0.2'), /100% packet loss/);
  t.match(await ask(behind, 'busybox', 'ping', '-c2', '-i0.1', '-W1', lab.clientAddress), /100% packet loss/);
  await t.test('a neighbour who sends to 127.0.0.1 over the wire gets nothing', async t => {
    await using _own = await serve(node.namespace, 'private', 9000);
    inside(
      lab.client,
      'sh',
      '-c',
      'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo',
    );
    inside(lab.client, 'ip', 'route', 'add', '127.0.0.1/32', 'via', node.address);
    t.match(await ask(lab.client, 'nc', '-n', '-w1', '-s', lab.clientAddress, '127.0.0.1', '9000'), 'failed');
  });
  await t.test('a host that forwards by its own will is left alone', async t => {
    inside(node.namespace, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    await node.stack.check();
    t.match(await ask(behind, 'busybox', 'ping', '-c1', '-W1', lab.clientAddress), / 0% packet loss/);
    await node.stack.removeEverything();
    t.equal(sysctl('eth0/forwarding'), '1', 'and stays a router');
  });
  linuxHost.kernel.closeNamespace(behind);
  linuxHost.kernel.removeNamespace(behind.path);
});

t.test('two coveys share a host', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 1 });
  const { lab } = stage;
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  const { runDir, dataDir, namespace, number, address } = node;
  const second = { ...node, runDir: `${runDir}-b`, dataDir: `${dataDir}-b` };
  await linuxHost.files.makeDirectory(second.runDir);
  const { openNetworkStack } = await import('../../src/netns/index.js');
  const { makeTelemetry } = await import('../../src/telemetry.js');
  const log = { debug: () => undefined, info: () => undefined, warn: t.comment, error: t.comment, with: () => log };
  const telemetry = makeTelemetry(log);
  const options = { runDir: second.runDir, dataDir: second.dataDir, namespace, telemetry, upstreams: () => [] };
  await using stack = openNetworkStack({ ...options, host: linuxHost, prefix: 'other' });
  await stack.recover();
  const identity = { nodeId: nodeItem(node).key.slice(5), tunnelIndex: number, dataAddress: address, dataPort: 7378 };
  const { id } = await import('./lab.js');
  await stack.configure({ ...identity, nodeId: id(identity.nodeId), vniOverlay: 0x400000, vniIngress: 0x400001 });
  t.same(await node.stack.check(), [], 'the first has nothing to mend');
  t.same(await stack.check(), []);
  t.match(await get(lab.client, address, published), 'w1 sees');
  await stack.removeEverything();
  await node.stack.check();
  t.match(await get(lab.client, address, published), 'w1 sees', 'when the other has left, too');
});

t.test('the MTU of links follows the underlay', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 2, mtu: 1_400 });
  for (const name of ['c1', 'w2']) {
    t.match(inside(stage.namespace(name), 'ip', 'link', 'show', 'eth0'), /mtu 1350/, 'both ends have it');
  }
  t.match(inside(stage.fabric(1), 'ip', 'link', 'show', 'cv0'), /mtu 1350/);
  const large = (size: string) => ask(stage.namespace('c1'), 'busybox', 'ping', '-c1', '-W1', '-s', size, '10.0.1.22');
  t.match(await large('1322'), / 0% packet loss/, 'the largest packet passes whole');
});

t.test('nodes that have IPv6 between them have a tunnel over it', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 2, isV6: true });
  t.equal(await get(stage.namespace('c1'), '10.0.1.22', 80), 'w2 sees 10.0.1.11');
  t.match(inside(stage.fabric(1), 'ip', '-d', 'link', 'show', 'cv0'), /mtu 1430[\s\S]* local fd91::1 /);
  t.same(await stage.lab.nodes[0]?.stack.check(), []);
});

t.test(
  'a client is answered by each address of a node with several links, at the address that it has',
  skipUnlessRoot,
  async t => {
    await using stage = await openStage({ nodes: 2 });
    const { lab } = stage;
    const [node] = lab.nodes;
    if (node === undefined) throw new Error('no node');
    const far = linuxHost.kernel.makeNetworkNamespace(`${lab.directory}/far`);
    inside(node.namespace, 'ip', 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far.path);
    inside(node.namespace, 'ip', 'addr', 'add', '10.92.0.1/24', 'dev', 'eth1');
    inside(node.namespace, 'ip', 'link', 'set', 'eth1', 'up');
    inside(far, 'ip', 'link', 'set', 'eth0', 'up');
    inside(far, 'ip', 'addr', 'add', '10.92.0.2/24', 'dev', 'eth0');
    // A campus uses the cluster's own pool, a carrier 100.64.0.0/10.
    const sources = ['10.0.1.77', '100.64.3.9'];
    for (const source of sources) {
      inside(far, 'ip', 'addr', 'add', `${source}/32`, 'dev', 'eth0');
      inside(node.namespace, 'ip', 'route', 'add', `${source}/32`, 'via', '10.92.0.2');
    }
    inside(far, 'ip', 'route', 'add', 'default', 'via', '10.92.0.1');
    await node.stack.check();
    for (const source of ['10.92.0.2', ...sources]) {
      const wanted = [`w1 sees ${source}`, `w2 sees ${source}`];
      for (const address of ['10.92.0.1', node.address]) {
        const asked = await untilAll(wanted, () =>
          ask(far, 'nc', '-n', '-w5', '-s', source, address, String(published)),
        );
        t.same(asked, wanted, `from ${source} to ${address}`);
      }
    }
    linuxHost.kernel.closeNamespace(far);
    linuxHost.kernel.removeNamespace(far.path);
  },
);
