/** Packets of a task and their way, as people look at them, on the kernel. */
import t from 'tap';
import type { CaptureStart } from '../../src/gen/types.js';
import type { TaskId } from '../../src/ids.js';
import { get, id, inside, type LabNode } from './lab.js';
import { openStage, skipUnlessRoot, vip } from './stage.js';

const start: CaptureStart = { taskId: id<TaskId>('c1'), link: 'task', count: 0, address: '', port: 0, trace: false };

/** What is seen until `isEnough`, while `work` is done again and again. */
async function watch(
  node: LabNode,
  options: { readonly start: CaptureStart; readonly work: () => Promise<unknown> },
  isEnough: (seen: Buffer) => boolean,
): Promise<Buffer> {
  const ended = new AbortController();
  let isWatching = true;
  const working = (async () => {
    while (isWatching) await options.work();
  })();
  let seen = Buffer.alloc(0);
  try {
    for await (const chunk of node.stack.capture(
      options.start,
      AbortSignal.any([ended.signal, AbortSignal.timeout(60_000)]),
    )) {
      seen = Buffer.concat([seen, chunk]);
      if (isEnough(seen)) break;
    }
  } finally {
    isWatching = false;
    ended.abort();
    await working;
  }
  return seen;
}

t.test('packets of a task, and their way through the rules', { ...skipUnlessRoot, timeout: 120_000 }, async t => {
  await using stage = await openStage({ nodes: 2 });
  const [node] = stage.lab.nodes;
  if (node === undefined) throw new Error('no node');
  const work = () => get(stage.namespace('c1'), vip, 80);

  await t.test('a capture ends after so many packets, of the address and port that were asked for', async t => {
    const seen = await watch(node, { start: { ...start, count: 3, address: vip, port: 80 }, work }, () => false);
    t.equal(seen.readUInt32LE(0), 0xa1b2c3d4);
    let packets = 0;
    for (let at = 24; at < seen.length; at += 16 + seen.readUInt32LE(at + 8)) {
      packets += 1;
      const ends = [seen.subarray(at + 16 + 26, at + 16 + 30), seen.subarray(at + 16 + 30, at + 16 + 34)];
      t.ok(
        ends.some(end => end.join('.') === vip),
        'the virtual address, as the task sees it',
      );
    }
    t.equal(packets, 3);
  });
  await t.test('the tunnel shows the backend, not the virtual address', async t => {
    const backend = Buffer.from([10, 0, 1, 22]);
    const options = { start: { ...start, link: 'overlay', address: '10.0.1.22' } as const, work };
    t.ok((await watch(node, options, seen => seen.includes(backend))).includes(backend));
  });
  await t.test('a trace tells the rules by their texts, and what the packet becomes', async t => {
    // From the first packet of a connection on: the others meet no rule that chooses.
    const isEnough = (seen: Buffer) =>
      /=> goto pick2\n[\s\S]*is now[\s\S]*forward +ip saddr \. ip daddr @pairs accept/.test(String(seen));
    const text = String(await watch(node, { start: { ...start, trace: true, address: vip }, work }, isEnough));
    t.match(text, /^packet [0-9a-f]+ {2}tcp 10\.0\.1\.11:\d+ > 10\.0\.1\.200:80 \[S\] {2}from the task$/m);
    t.match(text, /^ {4}balance +ip daddr vmap @vips {2}=> goto pick2$/m);
    t.match(text, /^ {4}is now {2}tcp 10\.0\.1\.11:\d+ > 10\.0\.1\.[12]2:80/m);
    t.match(text, /^ {4}forward +ip saddr \. ip daddr @pairs accept {2}=> accept$/m);
  });
  await t.test('nothing is left of it, and the rules are as they were', async t => {
    t.notMatch(inside(stage.fabric(1), 'nft', 'list', 'tables'), /trace/);
    t.same(await node.stack.check(), []);
  });
  t.throws(() => node.stack.capture({ ...start, taskId: id<TaskId>('w2') }, new AbortController().signal), {
    message: /it has no link on this node/,
  });
  t.same(stage.lab.problems, []);
});
