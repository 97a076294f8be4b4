import dgram from 'node:dgram';
import net from 'node:net';
import * as dnsPacket from 'dns-packet';
import t from 'tap';
import type { NamespaceHandle } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { ask, configure, exchangeRaw, id, networkItem, openLab, serviceItem } from './lab.js';
import { openStage, skipUnlessRoot } from './stage.js';

interface Asked {
  readonly rcode: string | undefined;
  readonly answers: readonly string[];
  readonly ttl: number | undefined;
  readonly truncated: boolean;
}

const resolvers = ['169.254.1.1', '127.0.0.11'];

async function lookUp(
  from: NamespaceHandle,
  name: string,
  options: { type?: dnsPacket.RecordType; address?: string; edns?: number } = {},
): Promise<Asked> {
  const { type = 'A', address = '169.254.1.1', edns } = options;
  const opt = { type: 'OPT', name: '.', udpPayloadSize: edns, flags: 0, options: [] } as unknown as dnsPacket.Answer;
  const packet = dnsPacket.encode({
    id: 77,
    type: 'query',
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type }],
    additionals: edns === undefined ? [] : [opt],
  });
  const socket = dgram.createSocket('udp4');
  const fd = linuxHost.kernel.openSocket(from, { kind: 'udp', address: '0.0.0.0', port: 0 });
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  try {
    const answer = await exchangeRaw(socket, packet, { address, port: 53, timeoutMs: 3_000 });
    return answer === undefined ? { rcode: 'none', answers: [], ttl: undefined, truncated: false } : read(answer);
  } finally {
    socket.close();
  }
}

function read(packet: Buffer): Asked {
  const decoded = dnsPacket.decode(packet) as dnsPacket.DecodedPacket & { rcode?: string };
  const answers = (decoded.answers ?? []).map(answer => {
    if (answer.type === 'SRV') return `${answer.data.port} ${answer.data.target}`;
    return 'data' in answer ? String(answer.data) : '';
  });
  const [first] = decoded.answers ?? [];
  const ttl = first !== undefined && 'ttl' in first ? first.ttl : undefined;
  return { rcode: decoded.rcode, answers: answers.sort(), ttl, truncated: decoded.flag_tc };
}

/** A resolver of the world outside: knows one name, and counts. */
async function openOutside(): Promise<{ readonly server: string; readonly asked: string[] } & AsyncDisposable> {
  const asked: string[] = [];
  const answerTo = (packet: Buffer): Buffer => {
    const query = dnsPacket.decode(packet);
    const [question] = query.questions ?? [];
    const name = question?.name ?? '';
    asked.push(name);
    const count = name.startsWith('large.') ? 200 : name.endsWith('.example.org') ? 1 : 0;
    const answers = Array.from({ length: count }, (_, number) => ({
      type: 'A' as const,
      name,
      ttl: 60,
      data: `192.0.2.${number}`,
    }));
    return dnsPacket.encode({
      id: query.id ?? 0,
      type: 'response',
      flags: count === 0 ? 3 : 0,
      questions: [question!],
      answers,
    });
  };
  const udp = dgram.createSocket('udp4');
  udp.on('message', (packet, from) => udp.send(answerTo(packet), from.port, from.address));
  await new Promise<void>(resolve => udp.bind(0, '127.0.0.1', resolve));
  const { port } = udp.address();
  const tcp = net.createServer(socket => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (data: Buffer) => {
      const answer = answerTo(data.subarray(2));
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      socket.write(Buffer.concat([length, answer]));
    });
  });
  await new Promise<void>(resolve => tcp.listen(port, '127.0.0.1', resolve));
  return {
    server: `127.0.0.1:${port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      udp.close();
      await new Promise(resolve => tcp.close(resolve));
    },
  };
}

t.test('the resolver as containers see it', skipUnlessRoot, async t => {
  await using outside = await openOutside();
  await using stage = await openStage({ nodes: 2, upstreams: ['127.0.0.1:9', outside.server] });
  for (const item of [networkItem('net3', '10.0.3.0/24', true), serviceItem({ name: 'inner', network: 'net3' })])
    stage.items.set(item.key, item);
  await stage.add({ task: 'i1', service: 'inner', node: 1, slot: 1, address: '10.0.3.11', network: 'net3' }, false);
  await stage.show();
  const from = stage.namespace('c1');

  await t.test('services and tasks by name, on both addresses', async t => {
    for (const address of resolvers) {
      t.match(await lookUp(from, 'web', { address }), { rcode: 'NOERROR', answers: ['10.0.1.200'], ttl: 30 });
    }
    t.match(await lookUp(from, 'demo_web'), { answers: ['10.0.1.200'] });
    t.match(await lookUp(from, 'tasks.web'), { answers: ['10.0.1.12', '10.0.1.22'], ttl: 1 });
    t.match(await lookUp(from, '2.web'), { answers: ['10.0.1.22'], ttl: 1 });
    t.match(await lookUp(from, '12.1.0.10.in-addr.arpa', { type: 'PTR' }), { answers: ['1.demo_web'] });
    t.match(await lookUp(from, '_80._tcp.web', { type: 'SRV' }), { answers: ['80 1.demo_web', '80 2.demo_web'] });
    t.match(await lookUp(from, 'web', { type: 'AAAA' }), { rcode: 'NOERROR', answers: [] });
    t.match(await lookUp(from, 'nobody'), { rcode: 'NXDOMAIN', answers: [] });
    t.match(await lookUp(from, 'inner'), { rcode: 'NXDOMAIN' }, 'not on its networks');
  });
  await t.test('by TCP', async t => {
    for (const address of resolvers) {
      t.match(await ask(from, 'dig', '+tcp', '+short', '+time=2', '+tries=1', `@${address}`, 'web'), '10.0.1.200');
    }
    t.match(
      await ask(from, 'dig', '+short', '+time=2', '+tries=1', '@127.0.0.11', 'WeB'),
      '10.0.1.200',
      'any case, EDNS',
    );
  });
  await t.test('a container may serve DNS itself, on all of its addresses', async t => {
    const own = dgram.createSocket('udp4');
    const fd = linuxHost.kernel.openSocket(from, { kind: 'udp', address: '0.0.0.0', port: 53 });
    await new Promise<void>(resolve => own.bind({ fd }, resolve));
    own.on('message', (_message, client) => own.send('own', client.port, client.address));
    const socket = dgram.createSocket('udp4');
    const other = linuxHost.kernel.openSocket(from, { kind: 'udp', address: '0.0.0.0', port: 0 });
    await new Promise<void>(resolve => socket.bind({ fd: other }, resolve));
    t.equal(
      String(await exchangeRaw(socket, Buffer.from('x'), { address: '127.0.0.1', port: 53, timeoutMs: 1_000 })),
      'own',
    );
    t.match(await lookUp(from, 'web', { address: '127.0.0.11' }), { answers: ['10.0.1.200'] });
    socket.close();
    own.close();
  });
  await t.test('names outside are asked of the host’s resolvers, past one that is dead', async t => {
    t.match(await lookUp(from, 'www.example.org'), { rcode: 'NOERROR', answers: ['192.0.2.0'] });
    t.match(await lookUp(from, 'www.example.net'), { rcode: 'NXDOMAIN' });
    t.match(await lookUp(from, 'large.example.org'), { truncated: true }, 'too large for a datagram');
    t.match(
      (await ask(from, 'dig', '+short', '@169.254.1.1', 'large.example.org')).split('\n').length,
      200,
      'whole by TCP',
    );
    t.notOk(
      outside.asked.some(name => ['web', 'nobody'].includes(name)),
      'names without a dot stay here',
    );
  });
  await t.test('a task with resolvers of its own knows the cluster, and asks those for the rest', async t => {
    await using own = await openOutside();
    const options = { task: 'd1', service: 'demo_web', stack: 'demo', node: 1, slot: 9, address: '10.0.1.99' };
    await stage.add({ ...options, dns: [own.server] }, false);
    await stage.show();
    const before = outside.asked.length;
    t.match(await lookUp(stage.namespace('d1'), 'own.example.org'), { rcode: 'NOERROR', answers: ['192.0.2.0'] });
    t.same(own.asked, ['own.example.org']);
    t.equal(outside.asked.length, before);
    t.match(await lookUp(stage.namespace('d1'), 'web.demo.internal'), { answers: ['10.0.1.200'], ttl: 30 });
    stage.items.delete(`endpoint/${id('d1')}`);
    await stage.show();
  });
  await t.test('a task on internal networks alone has no names outside', async t => {
    t.match(await lookUp(stage.namespace('i1'), 'www.example.org'), { rcode: 'NXDOMAIN' });
    t.match(await lookUp(stage.namespace('i1'), 'inner'), { answers: ['10.0.3.11'] });
  });
  await t.test('a change is in the next answer', async t => {
    const key = `endpoint/${id('w2')}`;
    const item = stage.items.get(key);
    if (item?.value?.kind !== 'endpoint') throw new Error('no endpoint');
    stage.items.set(key, { ...item, value: { ...item.value, serving: false } });
    await stage.show();
    t.match(await lookUp(from, 'tasks.web'), { answers: ['10.0.1.12'] });
    t.match(await lookUp(from, '2.web'), { rcode: 'NXDOMAIN' });
    t.notOk(outside.asked.includes('2.web'), 'and is not asked of anybody else');
  });
  t.same(stage.lab.problems, []);
});

t.test('garbage gets a format error or nothing, and harms nobody', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 1 });
  const from = stage.namespace('c1');
  const socket = dgram.createSocket('udp4');
  const fd = linuxHost.kernel.openSocket(from, { kind: 'udp', address: '0.0.0.0', port: 0 });
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  const send = (packet: Buffer) => exchangeRaw(socket, packet, { address: '169.254.1.1', port: 53, timeoutMs: 300 });
  t.equal(await send(Buffer.from('x')), undefined);
  t.equal(await send(Buffer.from([1, 2, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0])), undefined, 'an answer is not answered');
  t.equal((await send(Buffer.from([1, 2, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0])))?.readUInt16BE(2), 0x8001);
  t.equal(
    (await send(Buffer.from([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1])))?.readUInt16BE(2),
    0x8001,
    'a name that points at itself',
  );
  t.match(await lookUp(from, 'web'), { answers: ['10.0.1.200'] });
  socket.close();
});

t.test('thousands of questions at once are answered', skipUnlessRoot, async t => {
  await using stage = await openStage({ nodes: 1 });
  const socket = dgram.createSocket('udp4');
  const fd = linuxHost.kernel.openSocket(stage.namespace('c1'), { kind: 'udp', address: '0.0.0.0', port: 0 });
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  const packet = dnsPacket.encode({ id: 1, type: 'query', questions: [{ name: 'web', type: 'A' }] });
  let answered = 0;
  socket.on('message', () => {
    answered += 1;
  });
  const start = performance.now();
  for (let round = 0; round < 100; round += 1) {
    for (let one = 0; one < 50; one += 1) socket.send(packet, 53, '169.254.1.1');
    while (answered < (round + 1) * 50 && performance.now() - start < 20_000)
      await new Promise(resolve => setImmediate(resolve));
  }
  t.equal(answered, 5_000);
  t.comment(`${Math.round(5_000_000 / (performance.now() - start))} a second, both sides in one process`);
  socket.close();
});

t.test('a lab without tables resolves nothing, and says so', skipUnlessRoot, async t => {
  await using lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  await configure(node);
  t.match(
    await ask({ path: `${node.runDir}/netns/fabric` }, 'dig', '+time=1', '+tries=1', '@169.254.1.1', 'web'),
    'REFUSED',
  );
});
