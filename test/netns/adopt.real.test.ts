import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { identityOf, startDaemon } from './daemon-process.js';
import {
  configure,
  endpointItem,
  get,
  inside,
  networkItem,
  nodeItem,
  openLab,
  serviceItem,
  tables,
  taskOf,
} from './lab.js';
import { never, openStage, published, skipUnlessRoot, untilAll, vip } from './stage.js';

t.test('what a killed daemon leaves is taken over as it is', skipUnlessRoot, async t => {
  await using lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  const options = [
    { task: 'a', service: 'web', node: 1, slot: 1, address: '10.0.1.11' },
    { task: 'b', service: 'web', node: 1, slot: 2, address: '10.0.1.12' },
  ];
  const items = tables(
    nodeItem(node),
    networkItem('net1', '10.0.1.0/24'),
    serviceItem({ name: 'web', vip, ports: [{ published, target: 80 }] }),
    ...options.map(endpointItem),
  );
  const child = await startDaemon(node, { tasks: options.map(taskOf), items: [...items.values()] });
  const fabric = { path: `${node.runDir}/netns/fabric` };
  const look = (): string =>
    [
      inside(fabric, 'ip', '-o', 'link').replace(/qdisc.*/g, ''),
      inside(fabric, 'ip', 'route', 'show', 'table', 'all', 'proto', '201'),
      inside(fabric, 'ip', 'rule'),
      inside(fabric, 'nft', '-a', 'list', 'table', 'inet', 'covey'),
      inside(node.namespace, 'nft', '-a', 'list', 'table', 'inet', 'covey'),
      inside(node.namespace, 'ip', '-4', '-o', 'addr'),
    ].join('\n');
  const before = look();
  const [one, two] = options.map(option => linuxHost.kernel.openNamespace(`${node.runDir}/netns/${taskOf(option).id}`));
  if (one === undefined || two === undefined) throw new Error('no namespace');
  // A connection through the published port, and a ping every 10 ms.
  const connections = new Set<net.Socket>();
  const echoes = [one, two].map(() =>
    net.createServer(socket => {
      connections.add(socket);
      socket.on('error', () => socket.destroy()).pipe(socket);
    }),
  );
  for (const [index, namespace] of [one, two].entries()) {
    const fd = linuxHost.kernel.openSocket(namespace, { kind: 'tcp', address: '0.0.0.0', port: 80 });
    await new Promise<void>(resolve => echoes[index]?.listen({ fd }, resolve));
  }
  const pinger = spawn('nsenter', [`--net=${one.path}`, 'busybox', 'ping', '-q', '-i', '0.01', '10.0.1.12'], {
    stdio: 'pipe',
  });
  let pings = '';
  pinger.stdout.on('data', data => {
    pings += data;
  });
  const talker = spawn('nsenter', [`--net=${lab.client.path}`, 'nc', '-n', node.address, String(published)], {
    stdio: 'pipe',
  });
  let heard = '';
  talker.stdout.on('data', data => {
    heard += data;
  });
  talker.stdin.write('before ');
  await once(talker.stdout, 'data');

  child.kill('SIGKILL');
  await once(child, 'exit');
  talker.stdin.write('between ');
  await once(talker.stdout, 'data');
  await using second = lab.open(node);
  await second.recover();
  t.same([...second.attached()].sort(), options.map(option => taskOf(option).id).sort(), 'its tasks are known');
  t.equal(look(), before, 'nothing is done to it');
  await second.configure(identityOf(node));
  await second.applyTables(items, never);
  t.same(await second.check(), [], 'nothing had to be mended');
  t.equal(look(), before, 'links, routes and rules are the same ones, by index and handle');
  talker.stdin.write('after');
  await once(talker.stdout, 'data');
  t.equal(heard, 'before between after', 'the connection lives');
  pinger.kill('SIGINT');
  await once(pinger, 'exit');
  t.match(pings, / 0% packet loss/, 'no packet was lost');
  talker.kill();
  for (const server of echoes) server.close();
  // Its end may not arrive: the way is taken away next.
  for (const connection of connections) connection.destroy();

  await t.test('a task that was stopped meanwhile is detached as if nothing had happened', async t => {
    const taskId = taskOf(options[0] ?? options[1]!).id;
    await second.detach(taskId);
    t.same(second.attached(), [taskOf(options[1]!).id]);
    t.notOk(inside(fabric, 'ip', 'route').includes('10.0.1.11 '));
  });
  linuxHost.kernel.closeNamespace(one);
  linuxHost.kernel.closeNamespace(two);
  await second.removeEverything();
});

t.test('after a boot without managers the last tables are in effect', skipUnlessRoot, async t => {
  await using lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  await configure(node);
  const items = tables(nodeItem(node), networkItem('net1', '10.0.1.0/24'), serviceItem({ name: 'web', vip }));
  await node.stack.applyTables(items, never);
  await node.stack[Symbol.asyncDispose]();
  // The boot: kernel and run directory forget.
  for (const device of ['cv0', 'cv1', 'host0'])
    inside({ path: `${node.runDir}/netns/fabric` }, 'ip', 'link', 'del', device);
  linuxHost.kernel.removeNamespace(`${node.runDir}/netns/fabric`);
  await linuxHost.files.removeTree(`${node.runDir}/network`);
  node.stack = lab.open(node);
  await t.test('not while something is in the way, and then by itself', async t => {
    inside(node.namespace, 'ip', 'link', 'add', 'covey0', 'type', 'bridge');
    await node.stack.recover();
    t.match(lab.problems.join(), 'not taken over yet');
    inside(node.namespace, 'ip', 'link', 'del', 'covey0');
    await node.stack.check();
  });
  t.match(inside({ path: `${node.runDir}/netns/fabric` }, 'ip', 'route'), /unreachable 10\.0\.1\.0\/24/);
});

t.test('F15: whatever somebody destroys is seen at a glance and mended', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 2 });
  const [node, other] = stage.lab.nodes;
  if (node === undefined || other === undefined) throw new Error('no node');
  const fabric = stage.fabric(1);
  const linkOf = (): string =>
    inside(fabric, 'ip', '-o', 'link')
      .split('\n')
      .map(line => /: (vc1[0-9a-z]*)@/.exec(line)?.[1] ?? '')
      .join('');
  const harm: Record<string, () => void> = {
    'rules of the fabric flushed': () => inside(fabric, 'nft', 'flush', 'ruleset'),
    'rules of the host flushed': () => inside(node.namespace, 'nft', 'flush', 'ruleset'),
    'one chain flushed': () => inside(fabric, 'nft', 'flush', 'chain', 'inet', 'covey', 'balance'),
    'elements deleted': () => inside(fabric, 'nft', 'flush', 'map', 'inet', 'covey', 'backends'),
    'routes flushed': () => inside(fabric, 'ip', 'route', 'flush', 'proto', '201'),
    'routing rules flushed': () =>
      inside(fabric, 'sh', '-c', 'ip rule del pref 100; ip rule del pref 101; ip rule del pref 102'),
    'all routing rules flushed': () => inside(fabric, 'sh', '-c', 'ip rule flush; ip rule del pref 0'),
    'one route deleted': () => inside(fabric, 'ip', 'route', 'del', '10.0.1.22'),
    'tables of routes flushed': () =>
      inside(fabric, 'sh', '-c', 'ip route flush table main; ip route flush table 1001; ip route flush table 1002'),
    'address of the tunnel deleted': () => inside(fabric, 'ip', 'addr', 'flush', 'dev', 'cv0'),
    'neighbours flushed': () => inside(fabric, 'ip', 'neigh', 'flush', 'all', 'nud', 'permanent'),
    'forwarding entries deleted': () =>
      inside(fabric, 'bridge', 'fdb', 'del', '02:c0:00:00:00:02', 'dev', 'cv0', 'dst', other.address),
    'host link deleted': () => inside(node.namespace, 'ip', 'link', 'del', 'covey0'),
    'tunnel deleted': () => inside(fabric, 'ip', 'link', 'del', 'cv0'),
    'ingress tunnel down': () => inside(fabric, 'ip', 'link', 'set', 'cv1', 'down'),
    'link of a task deleted': () => inside(fabric, 'ip', 'link', 'del', linkOf()),
    'forwarding of the uplink off': () =>
      inside(node.namespace, 'sh', '-c', 'echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding'),
    'forwarding of the host link off': () =>
      inside(node.namespace, 'sh', '-c', 'echo 0 > /proc/sys/net/ipv4/conf/covey0/forwarding'),
    'foreign objects in our tables': () =>
      inside(fabric, 'nft', 'add', 'element', 'inet', 'covey', 'hairpin', '{ 10.0.1.11 . 10.0.1.12 }'),
  };
  const wanted = ['w1 sees 10.0.1.11', 'w2 sees 10.0.1.11'];
  const outside = [`w1 sees ${stage.lab.clientAddress}`, `w2 sees ${stage.lab.clientAddress}`];
  for (const [what, destroy] of Object.entries(harm)) {
    await t.test(what, async t => {
      t.same(await node.stack.check(), [], 'whole before');
      t.same(await node.stack.glance({ host: true }), [], 'nothing to see before');
      destroy();
      const mended = await node.stack.glance({ host: what.startsWith('forwarding of') });
      t.ok(mended.length > 0, mended.join('; '));
      t.same(await untilAll(wanted, () => get(stage.namespace('c1'), vip, 80)), wanted, 'VIP');
      t.same(await untilAll(outside, () => get(stage.lab.client, node.address, published)), outside, 'published port');
      t.same(await node.stack.check(), [], 'whole after');
    });
  }
});

t.test('nothing stays behind', skipUnlessRoot, async t => {
  await using lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  const look = (): string =>
    [
      inside(node.namespace, 'ip', '-o', 'link').replace(/qdisc.*/g, ''),
      inside(node.namespace, 'ip', '-o', '-4', 'addr'),
      inside(node.namespace, 'ip', '-4', 'route', 'show', 'table', 'all'),
      inside(node.namespace, 'ip', 'rule'),
      inside(node.namespace, 'nft', 'list', 'ruleset'),
      inside(node.namespace, 'sh', '-c', 'grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward'),
    ].join('\n');
  const before = look();
  await configure(node);
  const one = { task: 'a', service: 'web', node: 1, slot: 1, address: '10.0.1.11' };
  const service = serviceItem({ name: 'web', vip, ports: [{ published, target: 80 }] });
  await node.stack.applyTables(
    tables(nodeItem(node), networkItem('net1', '10.0.1.0/24'), service, endpointItem(one)),
    never,
  );
  const fabric = { path: `${node.runDir}/netns/fabric` };
  const lookInside = (): string =>
    [
      inside(fabric, 'ip', 'route', 'show', 'table', 'all', 'proto', '201'),
      inside(fabric, 'ip', 'neigh', 'show', 'nud', 'permanent'),
      inside(fabric, 'nft', 'list', 'table', 'inet', 'covey'),
      readdirSync(`${node.runDir}/netns`).join(' '),
      readdirSync(`${node.runDir}/network/tasks`).join(' '),
    ].join('\n');
  await node.stack.attach(taskOf(one), never);
  await node.stack.detach(taskOf(one).id);
  await node.stack.check();
  const quiet = lookInside();
  await t.test('50 tasks come and go', async t => {
    for (let round = 0; round < 50; round += 1) {
      const task = taskOf({ ...one, task: `r${String(round).padStart(2, '0')}x`, address: `10.0.1.${20 + round}` });
      await node.stack.attach(task, never);
      await node.stack.attach(task, never);
      await node.stack.detach(task.id);
      await node.stack.detach(task.id);
      if (round > 5) continue;
      // Another attempt of the same task, at once.
      await node.stack.attach(task, never);
      await node.stack.detach(task.id);
    }
    await node.stack.check();
    await node.stack.check();
    t.equal(lookInside(), quiet);
    t.notMatch(inside(fabric, 'ip', '-o', 'link'), /: v[0-9a-z]{14}@/, 'no link of a task');
    t.same(node.stack.attached(), []);
  });
  const done = await node.stack.removeEverything();
  t.ok(
    done.some(line => line.includes('eth0.forwarding back to 0')),
    done.join('; '),
  );
  t.equal(look(), before, 'the host is as it was');
  t.same(node.stack.changes(), []);
  t.same(readdirSync(`${node.runDir}/netns`), []);
  await t.test('and a node that left may enter a cluster again', async t => {
    await linuxHost.files.removeTree(node.runDir);
    await node.stack.configure(identityOf(node));
    await node.stack.attach(taskOf(one), never);
    t.same(node.stack.attached(), [taskOf(one).id]);
    await node.stack.removeEverything();
    t.equal(look(), before);
  });
});
