/** The resolver's sockets outlive the daemon: what is asked while there is none is answered by the next one, UDP and TCP. */
import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { promisify } from 'node:util';
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

/** Resolves when the tables are on disk, which they are some time after they came. */
async function kept(node: LabNode): Promise<void> {
  while (!fs.existsSync(`${node.dataDir}/network/tables.json`)) await new Promise(resolve => setTimeout(resolve, 20));
}

async function kill(daemon: ChildProcess): Promise<void> {
  daemon.kill('SIGKILL');
  await once(daemon, 'exit');
}

/** One question of the task, asked once, with patience. */
async function dig(node: LabNode, ...options: readonly string[]): Promise<string> {
  const argv = ['dig', '+short', '+tries=1', '+time=60', ...options, '@169.254.1.1', 'web'];
  const { stdout } = await promisify(execFile)('nsenter', [`--net=${node.runDir}/netns/${task.id}`, ...argv]);
  return stdout.trim();
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
    const questions = [dig(node), dig(node, '+tcp')];
    await waiting(node, 'udp');
    await waiting(node, 'tcp');
    daemon = await start(node);
    t.same(await Promise.all(questions), [vip, vip]);
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
