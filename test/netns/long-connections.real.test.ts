/**
 * Connections that say nothing for long, and those that one side has closed: through a VIP and through a published port, with the
 * backend on another node. How long a silence may be is read where the kernel keeps it, in each namespace on the way.
 */
import { once } from 'node:events';
import net from 'node:net';
import t from 'tap';
import type { NamespaceHandle } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { inside, serviceItem } from './lab.js';
import { openStage, skipUnlessRoot } from './stage.js';

const day = 86_400;
const vip = '10.0.1.210';
const port = 8_085;

interface Tracked {
  readonly state: string;
  readonly seconds: number;
}

/** TCP connections to or from the port as a namespace tracks them. */
function tracked(namespace: { readonly path: string }, ofPort: number): readonly Tracked[] {
  return inside(namespace, 'cat', '/proc/net/nf_conntrack')
    .split('\n')
    .filter(line => line.includes(` dport=${ofPort} `) && / tcp +6 /.test(line))
    .map(line => {
      const [, seconds = '', state = ''] = / tcp +6 (\d+) (\S+) /.exec(line) ?? [];
      return { state, seconds: Number(seconds) };
    });
}

t.test('a silent connection and a half-closed one live on', { ...skipUnlessRoot, timeout: 120_000 }, async t => {
  await using stage = await openStage({ nodes: 2 });
  const { lab, items } = stage;
  const [first, second] = lab.nodes;
  if (first === undefined || second === undefined) throw new Error('no nodes');
  // What hosts forget after a minute by themselves they forget after a second here.
  for (const node of lab.nodes) {
    inside(node.namespace, 'sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_timeout_close_wait=1');
  }
  const service = serviceItem({ name: 'slow', vip, ports: [{ published: port, target: 90 }] });
  items.set(service.key, service);
  await stage.add({ task: 's1', service: 'slow', node: 2, slot: 1, address: '10.0.1.77' }, false);
  await stage.show();
  const served: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, socket => served.push(socket));
  const fd = linuxHost.kernel.openSocket(stage.namespace('s1'), { kind: 'tcp', address: '0.0.0.0', port: 90 });
  await new Promise<void>(resolve => server.listen({ fd }, resolve));

  const ways: readonly [name: string, from: NamespaceHandle, address: string, port: number, on: { path: string }[]][] =
    [
      ['a VIP', stage.namespace('c1'), vip, 90, [stage.fabric(1), stage.fabric(2)]],
      ['a published port', lab.client, first.address, port, [first.namespace, stage.fabric(1), stage.fabric(2)]],
    ];
  for (const [name, from, address, to, places] of ways) {
    await t.test(`through ${name}`, async t => {
      const signal = AbortSignal.timeout(30_000);
      const client = await linuxHost.kernel.connect({ namespacePath: from.path, address, port: to, signal });
      while (served.length === 0) await once(server, 'connection', { signal });
      const socket = served.pop();
      if (socket === undefined) throw new Error('no connection');
      const heard: string[] = [];
      client.on('data', chunk => heard.push(String(chunk)));
      for (const place of places) {
        const seen = tracked(place, to).concat(tracked(place, 90));
        t.ok(
          seen.some(({ state, seconds }) => state === 'ESTABLISHED' && seconds > day),
          `silent in ${place.path}: ${JSON.stringify(seen)}`,
        );
      }
      const ended = once(socket, 'end', { signal });
      socket.resume();
      client.end();
      await ended;
      for (const place of places) {
        const seen = tracked(place, to).concat(tracked(place, 90));
        t.ok(
          seen.some(({ state, seconds }) => state === 'CLOSE_WAIT' && seconds > 3_600),
          `half-closed in ${place.path}: ${JSON.stringify(seen)}`,
        );
      }
      const answered = once(client, 'end', { signal });
      socket.end('the answer, at last');
      await answered;
      t.equal(heard.join(''), 'the answer, at last');
    });
  }
  await new Promise(resolve => server.close(resolve));
  t.same(lab.problems, []);
});
