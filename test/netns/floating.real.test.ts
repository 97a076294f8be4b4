/** A floating address on a real wire: had by the node that is told so, answered for, given back, and never had by two. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { TableItem } from '../../src/gen/types.js';
import { get, inside, type LabNode, nodeId } from './lab.js';
import { openStage, published, skipUnlessRoot } from './stage.js';

const address = '10.91.0.50';

function heldBy(number: number, leaseMs: number): TableItem {
  return { key: `address/${address}`, value: { kind: 'address', address, nodeId: nodeId(number), leaseMs } };
}

const has = (node: LabNode): boolean => inside(node.namespace, 'ip', '-4', 'addr').includes(` ${address}/32 `);

async function until(what: string, look: () => boolean): Promise<void> {
  for (let turn = 0; !look(); turn += 1) {
    if (turn === 2_400) throw new Error(`waited in vain until ${what}`);
    await sleep(50);
  }
}

t.test('a floating address', { ...skipUnlessRoot, timeout: 300_000 }, async t => {
  await using stage = await openStage({ nodes: 2 });
  const { lab, items } = stage;
  const [first, second] = lab.nodes;
  if (first === undefined || second === undefined) throw new Error('no nodes');
  const tell = async (node: LabNode, item: TableItem | undefined): Promise<void> => {
    const all = new Map(items);
    if (item !== undefined) all.set(item.key, item);
    await node.stack.applyTables(all, new AbortController().signal);
  };
  const macOf = (node: LabNode) => /link\/ether (\S+)/.exec(inside(node.namespace, 'ip', 'link', 'show', 'eth0'))?.[1];
  const knownTo = (): string => inside(lab.client, 'ip', 'neigh', 'show', address);
  const long = 60_000;

  await t.test('is had when a manager was heard of, and not before', async t => {
    await tell(first, heldBy(1, long));
    t.notOk(has(first));
    first.stack.heard();
    await until('node 1 has it', () => has(first));
    t.match(await get(lab.client, address, published), ' sees 10.91.0.9');
    t.match(knownTo(), macOf(first));
    t.match(
      first.stack.changes().filter(change => change.detail.includes('floating')),
      [{ kind: 'address', name: 'eth0', detail: `${address}/32, floating` }],
    );
  });
  await t.test('moves: given back at once, and neighbours hear of it without asking', async t => {
    await tell(first, heldBy(2, long));
    t.notOk(has(first));
    await tell(second, heldBy(2, long));
    second.stack.heard();
    await until('the client knows the other node', () => knownTo().includes(macOf(second) ?? '-'));
    t.ok(has(second));
    t.match(await get(lab.client, address, published), ' sees 10.91.0.9');
  });
  await t.test('is not taken while somebody has it, and taken when his lease is over', async t => {
    await tell(second, heldBy(2, 3_000));
    second.stack.heard();
    const before = lab.problems.length;
    await tell(first, heldBy(1, long));
    first.stack.heard();
    await until('node 1 says that it is in use', () => lab.problems.length > before);
    t.match(lab.problems.splice(before), [`node 1: floating address is in use`]);
    t.notOk(has(first));
    let both = false;
    await until('node 1 has it', () => {
      both ||= has(first) && has(second);
      return has(first);
    });
    t.notOk(both, 'never both');
    t.notOk(has(second), 'the kernel took it back; nobody told node 2');
    await tell(second, heldBy(1, long));
  });
  await t.test(
    'what a daemon left is held on by the next one, or given back when it is not wanted any more',
    async t => {
      await first.stack[Symbol.asyncDispose]();
      t.ok(has(first), 'it stays while the daemon is away');
      first.stack = lab.open(first);
      await first.stack.recover();
      await tell(first, heldBy(1, long));
      first.stack.heard();
      t.ok(has(first));
      await first.stack[Symbol.asyncDispose]();
      first.stack = lab.open(first);
      await first.stack.recover();
      await tell(first, undefined);
      t.notOk(has(first));
    },
  );
  await t.test('a node whose links are on no such network says so and has nothing', async t => {
    const far = '198.51.100.7';
    const value = { kind: 'address' as const, address: far, nodeId: nodeId(2), leaseMs: long };
    const before = lab.problems.length;
    await tell(second, { key: `address/${far}`, value });
    second.stack.heard();
    await until('node 2 has said so', () => lab.problems.length > before);
    t.match(lab.problems.splice(before)[0], /no link of this node is on its network/);
    await tell(second, undefined);
  });
  t.same(lab.problems, []);
});
