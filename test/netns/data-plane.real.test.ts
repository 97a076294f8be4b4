import dgram from 'node:dgram';
import t from 'tap';
import type { NamespaceHandle } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import {
  ask,
  dataPort,
  endpointItem,
  get,
  getUdp,
  inside,
  networkItem,
  retransmitted,
  serve,
  serviceItem,
} from './lab.js';
import { openStage, published, type Stage, several, skipUnlessRoot, untilAll, vip } from './stage.js';

const all = (client: string): string[] => [1, 2, 3].map(node => `w${node} sees ${client}`);

t.test('the data plane of three nodes', skipUnlessRoot, async t => {
  await using stage = await openStage();
  const { lab } = stage;
  const machine = (number: number) => lab.nodes[number - 1]?.namespace ?? lab.client;
  const host = (number: number): string => lab.nodes[number - 1]?.address ?? '';

  await t.test('a VIP leads to the backends of all nodes, which see the client', async t => {
    const from = stage.namespace('c1');
    t.same(await untilAll(all('10.0.1.11'), () => get(from, vip, 80)), all('10.0.1.11'));
    t.same(await untilAll(all('10.0.1.11'), () => getUdp(from, vip, 80)), all('10.0.1.11'));
  });
  await t.test('a backend may be its own client', async t => {
    const wanted = ['w1 sees 169.254.1.1', 'w2 sees 10.0.1.12', 'w3 sees 10.0.1.12'];
    t.same(await untilAll(wanted, () => get(stage.namespace('w1'), vip, 80)), wanted);
  });
  await t.test('containers reach each other on every node', async t => {
    for (const to of [11, 21, 31]) t.match(await get(stage.namespace('c2'), `10.0.1.${to}`, 80), 'sees 10.0.1.21');
  });
  await t.test('a published port answers on every node and keeps the client, TCP and UDP', async t => {
    for (const node of [1, 2, 3]) {
      const wanted = all(lab.clientAddress);
      t.same(await untilAll(wanted, () => get(lab.client, host(node), published)), wanted, `TCP, node ${node}`);
      t.same(await untilAll(wanted, () => getUdp(lab.client, host(node), published)), wanted, `UDP, node ${node}`);
    }
  });
  await t.test('it answers the node itself, on its address and on 127.0.0.1', async t => {
    t.same(await untilAll(all(host(1)), () => get(machine(1), host(1), published)), all(host(1)));
    const answers = await several(9, () => get(machine(1), '127.0.0.1', published));
    t.ok(
      answers.every(answer => /^w[123] sees 169\.254\./.test(answer)),
      answers.join(),
    );
    t.match(await getUdp(machine(1), '127.0.0.1', published), /^w[123] sees/);
  });
  await t.test('a container uses the published port of its own node and of another', async t => {
    t.same(await untilAll(all('10.0.1.11'), () => get(stage.namespace('c1'), host(1), published)), all('10.0.1.11'));
    t.same(await untilAll(all(host(1)), () => get(stage.namespace('c1'), host(2), published)), all(host(1)));
    const own = ['w1 sees 169.254.1.1', 'w2 sees 10.0.1.12', 'w3 sees 10.0.1.12'];
    t.same(await untilAll(own, () => get(stage.namespace('w1'), host(1), published)), own, 'a backend too');
  });
  await t.test('clients from 100.64.0.0/10, and with addresses that containers have, are served and seen', async t => {
    for (const source of ['100.64.3.4', '10.0.1.99', '10.0.1.21']) {
      inside(lab.client, 'ip', 'addr', 'add', `${source}/32`, 'dev', 'eth0');
      for (const node of lab.nodes) inside(node.namespace, 'ip', 'route', 'add', source, 'via', lab.clientAddress);
      const work = () => ask(lab.client, 'nc', '-n', '-w2', '-s', source, host(1), String(published));
      t.same(await untilAll(all(source), work), all(source), source);
    }
    t.match(
      await get(stage.namespace('c1'), '10.0.1.21', 80),
      'sees 10.0.1.11',
      'the container is still the container',
    );
  });
  await t.test('one client port towards two nodes stays two connections at one backend', async t => {
    for (const task of ['w1', 'w2']) stage.items.set(...serving(stage, task, false));
    await stage.show();
    const socket = await datagrams(lab.client, '0.0.0.0', 45_000);
    const answeredBy = new Set<string>();
    const both = new Promise<void>(resolve => {
      socket.on('message', (_message, from) => {
        answeredBy.add(from.address);
        if (answeredBy.size === 2) resolve();
      });
    });
    for (const node of [1, 2]) socket.send('hello', published, host(node));
    await Promise.race([both, linuxHost.clock.sleep(2_000, new AbortController().signal)]);
    const keepAlive = setTimeout(() => undefined, 3_000);
    clearTimeout(keepAlive);
    socket.close();
    t.same([...answeredBy].sort(), [host(1), host(2)], 'each answer comes from the node that was asked');
    for (const task of ['w1', 'w2']) stage.items.set(...serving(stage, task, true));
    await stage.show();
  });
  await t.test('what leaves the cluster has the address of its node', async t => {
    await using _outside = await serve(lab.client, 'outside', 80);
    t.equal(await get(stage.namespace('c2'), lab.clientAddress, 80), `outside sees ${host(2)}`);
    t.equal(await getUdp(stage.namespace('c3'), lab.clientAddress, 80), `outside sees ${host(3)}`);
  });
  await t.test('a container cannot forge an address', async t => {
    const forger = stage.namespace('c1');
    inside(forger, 'ip', 'addr', 'add', '10.0.1.31/32', 'dev', 'eth0');
    const listener = await datagrams(stage.namespace('w1'), '0.0.0.0', 9_999);
    const heard: string[] = [];
    const ended = new Promise<void>(resolve => {
      listener.on('message', (message, from) => {
        heard.push(from.address);
        if (message.toString() === 'end') resolve();
      });
    });
    const forged = await datagrams(forger, '10.0.1.31');
    const honest = await datagrams(forger, '10.0.1.11');
    for (let turn = 0; turn < 5; turn += 1) forged.send('forged', 9_999, '10.0.1.12');
    honest.send('end', 9_999, '10.0.1.12');
    await ended;
    t.same(heard, ['10.0.1.11']);
    for (const socket of [listener, forged, honest]) socket.close();
    inside(forger, 'ip', 'addr', 'del', '10.0.1.31/32', 'dev', 'eth0');
  });
  await t.test('link-local addresses outside of the cluster are out of reach', async t => {
    const from = stage.namespace('c1');
    t.match(await ask(from, 'nc', '-n', '-v', '-w2', '169.254.169.254', '80'), /failed .*No route to host/);
  });
  await t.test('hosts do not follow the packets of the tunnel as connections', async t => {
    for (const node of lab.nodes) {
      const tracked = inside(node.namespace, 'cat', '/proc/net/nf_conntrack').split('\n');
      t.same(
        tracked.filter(line => line.includes(`dport=${dataPort} `)),
        [],
        `of node ${node.number}`,
      );
    }
  });
  t.same(lab.problems, []);
});

t.test('networks apart, services without backends, ports of mode host', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 2 });
  const { lab } = stage;
  const host = (number: number): string => lab.nodes[number - 1]?.address ?? '';
  for (const item of [
    networkItem('net2', '10.0.2.0/24'),
    networkItem('net3', '10.0.3.0/24', true),
    serviceItem({ name: 'other', network: 'net2' }),
    serviceItem({ name: 'inner', network: 'net3' }),
    serviceItem({ name: 'empty', vip: '10.0.1.210', ports: [{ published: 8081, target: 80 }] }),
    serviceItem({ name: 'local', ports: [{ published: 8082, target: 80, mode: 'host' }] }),
    serviceItem({ name: 'near', ports: [{ published: 8083, target: 80, mode: 'local' }] }),
    serviceItem({ name: 'held', vip: '10.0.1.211', sticky: true, ports: [{ published: 8084, target: 80 }] }),
  ]) {
    stage.items.set(item.key, item);
  }
  await stage.add({ task: 'o1', service: 'other', node: 1, slot: 1, address: '10.0.2.11', network: 'net2' }, true);
  await stage.add({ task: 'o2', service: 'other', node: 2, slot: 2, address: '10.0.2.21', network: 'net2' }, true);
  await stage.add({ task: 'i1', service: 'inner', node: 1, slot: 1, address: '10.0.3.11', network: 'net3' }, true);
  await stage.add({ task: 'i2', service: 'inner', node: 2, slot: 2, address: '10.0.3.21', network: 'net3' }, true);
  await stage.add({ task: 'l2', service: 'local', node: 2, slot: 1, address: '10.0.1.91' }, true);
  await stage.add({ task: 'n2', service: 'near', node: 2, slot: 1, address: '10.0.1.92' }, true);
  for (const [at, node] of [1, 1, 2, 2].entries()) {
    const task = `h${at}`;
    await stage.add({ task, service: 'held', node, slot: at + 1, address: `10.0.1.${101 + at}` }, true);
  }
  await stage.show();
  /** At once means that no SYN had to be sent twice. */
  const refused = async (from: { readonly path: string }, ...argv: readonly string[]): Promise<string> => {
    const before = retransmitted(from);
    const answer = await ask(from, 'nc', '-n', '-v', '-w3', ...argv);
    return retransmitted(from) === before ? answer : `${answer} (asked more than once)`;
  };
  const verbose = (task: string, address: string, port = 80) => refused(stage.namespace(task), address, String(port));
  const no = /^failed .*(refused|prohibited|unreachable|No route)[^(]*$/is;

  await t.test('a task reaches its own networks and no other, and is told so at once', async t => {
    t.match(await get(stage.namespace('o1'), '10.0.2.21', 80), 'o2 sees 10.0.2.11');
    for (const address of ['10.0.1.11', '10.0.1.21', vip, '10.0.3.11', '10.0.3.21']) {
      t.match(await verbose('o1', address), no, `o1 to ${address}`);
    }
    t.match(await verbose('c1', '10.0.2.21'), no, 'c1 to o2');
  });
  await t.test('a published port is for everybody, tasks of other networks included', async t => {
    const wanted = ['w1 sees 10.0.2.11', 'w2 sees 10.0.2.11'];
    t.same(await untilAll(wanted, () => get(stage.namespace('o1'), host(1), published)), wanted);
  });
  await t.test('an internal network has no way out', async t => {
    await using _outside = await serve(lab.client, 'outside', 80);
    t.match(await get(stage.namespace('i1'), '10.0.3.21', 80), 'i2 sees 10.0.3.11');
    t.match(await verbose('i1', lab.clientAddress), no);
  });
  await t.test('a service without a serving backend refuses at once, whoever asks', async t => {
    const yes = /^failed .*refused/is;
    t.match(await verbose('c1', '10.0.1.210'), yes, 'VIP');
    const outside = (...argv: string[]) => refused(lab.client, ...argv, '8081');
    t.match(await outside(host(1)), yes, 'published port');
    t.match(await outside(host(2)), yes, 'published port of the other node');
    t.match(await verbose('c1', host(1), 8081), yes, 'published port of its own node');
    inside(lab.client, 'ip', 'addr', 'add', '10.0.1.21/32', 'dev', 'eth0');
    inside(lab.nodes[0]?.namespace ?? lab.client, 'ip', 'route', 'add', '10.0.1.21', 'via', lab.clientAddress);
    t.match(await outside('-s', '10.0.1.21', host(1)), yes, 'a client with the address of a container');
  });
  await t.test('a port of mode host is there only where a task of the service runs', async t => {
    t.equal(await get(lab.client, host(2), 8082), `l2 sees ${lab.clientAddress}`);
    t.match(await refused(lab.client, host(1), '8082'), no);
  });
  await t.test(
    'a port of mode local answers where a task of the service runs, keeps the client, and is refused elsewhere',
    async t => {
      t.equal(await get(lab.client, host(2), 8083), `n2 sees ${lab.clientAddress}`);
      t.match(await refused(lab.client, host(1), '8083'), /^failed .*refused/is);
    },
  );
  await t.test(
    'a client of a sticky service stays with its backend, through its VIP and through every node',
    async t => {
      const seen = new Set<string>();
      for (let last = 0; last < 8; last += 1) {
        const source = `10.91.0.${100 + last}`;
        inside(lab.client, 'ip', 'addr', 'add', `${source}/24`, 'dev', 'eth0');
        const through = (number: number) => ask(lab.client, 'nc', '-n', '-w5', '-s', source, host(number), '8084');
        const answers = [await through(1), await through(2), await through(1), await through(2)];
        t.same(new Set(answers).size, 1, answers.join());
        t.match(answers[0], ` sees ${source}`);
        seen.add(answers[0] ?? '');
      }
      t.ok(seen.size > 1, `8 clients: ${[...seen].join()}`);
      const own = [];
      for (let turn = 0; turn < 4; turn += 1) own.push(await get(stage.namespace('c1'), '10.0.1.211', 80));
      t.match(own[0], ' sees 10.0.1.11');
      t.equal(new Set(own).size, 1, own.join());
    },
  );
  await t.test(
    'a UDP flow moves when its backend stops serving, connections to a removed one are forgotten',
    async t => {
      const fd = linuxHost.kernel.openSocket(stage.namespace('c1'), { kind: 'udp', address: '0.0.0.0', port: 46_000 });
      const socket = dgram.createSocket('udp4');
      await new Promise<void>(resolve => socket.bind({ fd }, resolve));
      const once = () =>
        new Promise<string>(resolve => {
          socket.once('message', message => resolve(message.toString().slice(0, 2)));
          socket.send('hello', 80, vip);
        });
      const first = await once();
      t.equal(await once(), first, 'a flow stays with its backend');
      stage.items.set(...serving(stage, first, false));
      await stage.show();
      t.not(await once(), first, 'and leaves it when it drains');
      socket.close();
      const key = [...stage.items.keys()].find(one => one.startsWith(`endpoint/${first}`)) ?? '';
      stage.items.delete(key);
      await stage.show();
      const address = stage.tasks.get(first)?.options.address ?? '';
      const tracked = inside(stage.fabric(1), 'cat', '/proc/net/nf_conntrack').split('\n');
      t.same(
        tracked.filter(line => line.includes(`src=${address} `)),
        [],
      );
    },
  );
  t.same(lab.problems, []);
});

t.test('a published UDP port reaches a client that was there before it', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 1 });
  const fd = linuxHost.kernel.openSocket(stage.lab.client, { kind: 'udp', address: '0.0.0.0', port: 47_000 });
  const socket = dgram.createSocket('udp4');
  socket.on('error', () => undefined);
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  const address = stage.lab.nodes[0]?.address ?? '';
  const early = serviceItem({ name: 'late', ports: [{ published: 8090, target: 80, protocol: 'udp' }] });
  for (let turn = 0; turn < 3; turn += 1) socket.send('too early', 8090, address);
  stage.items.set(early.key, early);
  await stage.add({ task: 'l1', service: 'late', node: 1, slot: 1, address: '10.0.1.77' }, true);
  await stage.show();
  const answer = new Promise<string>(resolve => socket.once('message', message => resolve(message.toString())));
  socket.send('now', 8090, address);
  t.match(await answer, 'l1 sees');
  socket.close();
});

async function datagrams(namespace: NamespaceHandle, address: string, port = 0): Promise<dgram.Socket> {
  const socket = dgram.createSocket('udp4');
  const fd = linuxHost.kernel.openSocket(namespace, { kind: 'udp', address, port });
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  return socket;
}

function serving(stage: Stage, task: string, value: boolean): [string, ReturnType<typeof endpointItem>] {
  const found = stage.tasks.get(task);
  if (found === undefined) throw new Error(`no task ${task}`);
  const item = endpointItem({ ...found.options, serving: value });
  return [item.key, item];
}
