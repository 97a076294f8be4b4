/** The resolver's sockets outlive the daemon: what is asked while there is none is answered by the next one, UDP and TCP. */
import { type ChildProcess, execFile } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { promisify } from 'node:util';
import * as dnsPacket from 'dns-packet';
import t from 'tap';
import type { Task } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { startDaemon } from './daemon-process.js';
import { inside, type LabNode, networkItem, nodeItem, openLab, serviceItem, tables, taskOf } from './lab.js';
import { skipUnlessRoot, vip } from './stage.js';

const task: Task = taskOf({ task: 'a', service: 'web', node: 1, slot: 1, address: '10.0.1.11' });

async function start(node: LabNode): Promise<ChildProcess> {
  const items = tables(nodeItem(node), networkItem('net1', '10.0.1.0/24'), serviceItem({ name: 'web', vip }));
  return await startDaemon(node, { tasks: [task], items: [...items.values()] });
}

/** Resolves when the tables are on disk, which they are some time after they came; the identity alone may be there before. */
async function kept(node: LabNode): Promise<void> {
  const path = `${node.dataDir}/network/tables.json`;
  while (!fs.existsSync(path) || !fs.readFileSync(path, 'utf8').includes('"service/')) {
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

async function kill(daemon: ChildProcess): Promise<void> {
  daemon.kill('SIGKILL');
  await once(daemon, 'exit');
}

/** One question of the task, asked once, with patience. A connection that nobody has any more ends at once. */
async function dig(node: LabNode, ...options: readonly string[]): Promise<string> {
  const argv = ['dig', '+short', '+tries=1', '+time=60', ...options, '@169.254.1.1', 'web'];
  const { stdout } = await promisify(execFile)('nsenter', [`--net=${node.runDir}/netns/${task.id}`, ...argv]);
  return stdout.trim();
}

/**
 * One question by UDP. `lookAgain` asks a second time from the same socket: sockets answer in order, so an answer to the second
 * alone means that the first is lost, and nobody has to wait for it.
 */
async function openQuestion(node: LabNode): Promise<{ readonly lookAgain: () => Promise<string> } & Disposable> {
  const namespace = linuxHost.kernel.openNamespace(`${node.runDir}/netns/${task.id}`);
  const socket = dgram.createSocket('udp4');
  const fd = linuxHost.kernel.openSocket(namespace, { kind: 'udp', address: '0.0.0.0', port: 0 });
  linuxHost.kernel.closeNamespace(namespace);
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  const ask = (id: number): void => {
    const packet = dnsPacket.encode({ id, type: 'query', questions: [{ name: 'web', type: 'A' }] });
    socket.send(packet, 53, '169.254.1.1', () => undefined);
  };
  const answered = new Promise<string>(resolve => {
    socket.once('message', message => {
      const { id, answers = [] } = dnsPacket.decode(message);
      const [first] = answers;
      resolve(id === 1 ? String(first !== undefined && 'data' in first ? first.data : 'nothing') : 'the first is lost');
    });
  });
  ask(1);
  return {
    lookAgain: () => {
      ask(2);
      return answered;
    },
    [Symbol.dispose]: () => socket.close(),
  };
}

/** Resolves when a question waits in a socket of the resolver that nobody reads. */
async function waiting(node: LabNode, kind: 'udp' | 'tcp'): Promise<void> {
  const filter = kind === 'udp' ? ['-Hun', 'state', 'all'] : ['-Htn', 'state', 'established'];
  for (;;) {
    const lines = inside({ path: `${node.runDir}/netns/fabric` }, 'ss', ...filter, 'sport', '=', ':53').split('\n');
    // Recv-Q is the first number of a line.
    if (lines.some(line => Number(/\d+/.exec(line)?.[0] ?? 0) > 0)) return;
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

function holders(node: LabNode): readonly string[] {
  return fs
    .readdirSync('/proc')
    .filter(entry => /^\d+$/.test(entry))
    .filter(pid => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(`covey-sockets:${node.runDir}/`);
      } catch {
        return false; // it has ended meanwhile
      }
    });
}

t.test('the sockets of the resolver outlive its daemon', { ...skipUnlessRoot, timeout: 600_000 }, async t => {
  await using lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  const file = `${node.runDir}/resolver-sockets`;
  let daemon = await start(node);
  t.teardown(() => void daemon.kill('SIGKILL'));
  const [first] = holders(node);
  await kept(node);

  await t.test('what is asked while there is no daemon is answered by the next one', async t => {
    await kill(daemon);
    using question = await openQuestion(node);
    const stream = dig(node, '+tcp');
    await waiting(node, 'udp');
    await waiting(node, 'tcp');
    daemon = await start(node);
    t.same(await Promise.all([question.lookAgain(), stream]), [vip, vip]);
    t.same(holders(node), [first], 'held by the same process, and by one');
  });
  await t.test('a holder that nobody wrote down is found by its name', async t => {
    await kill(daemon);
    fs.rmSync(file);
    daemon = await start(node);
    t.equal(await dig(node), vip);
    t.same(holders(node), [first]);
    t.equal(fs.readFileSync(file, 'utf8'), first);
  });
  await t.test('a file that names another process misleads nobody', async t => {
    await kill(daemon);
    process.kill(Number(first), 'SIGKILL');
    fs.writeFileSync(file, String(process.pid));
    daemon = await start(node);
    t.equal(await dig(node, '+tcp'), vip);
    t.equal(holders(node).length, 1);
    t.not(holders(node)[0], first);
  });
  await t.test('sockets of a fabric that is gone are let go', async t => {
    await kill(daemon);
    const before = holders(node);
    const fabric = { path: `${node.runDir}/netns/fabric` };
    // A namespace ends some time after its last user; what others may not have twice goes first.
    for (const device of ['cv0', 'cv1', 'host0']) inside(fabric, 'ip', 'link', 'del', device);
    linuxHost.kernel.removeNamespace(fabric.path);
    linuxHost.kernel.removeNamespace(`${node.runDir}/netns/${task.id}`);
    daemon = await start(node);
    t.equal(await dig(node), vip);
    t.equal(holders(node).length, 1);
    t.notMatch(holders(node), before);
  });
  await kill(daemon);
  await node.stack.recover();
  await node.stack.removeEverything();
  t.same(holders(node), [], 'a node that leaves keeps nothing');
  t.notOk(fs.existsSync(file));
});
