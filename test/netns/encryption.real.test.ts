/**
 * Encrypted tunnels between real namespaces: WireGuard of the kernel where there is one (scripts/vm-test), else the program. What
 * goes over the wire is counted by the kernel of each node, apart from all that covey has of its own.
 */
import t from 'tap';
import type { TableItem } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { findMeans } from '../../src/netns/secure-plane.js';
import { get, getUdp, inside, type LabNode, nodeId, nodeItem } from './lab.js';
import { never, openStage, published, type Stage, untilAll } from './stage.js';

const skip =
  process.getuid?.() === 0 ? (findMeans(linuxHost, undefined) === 'none' ? 'no WireGuard' : false) : 'no root';

interface Natted {
  readonly behindNat: readonly number[];
  readonly relay: number;
}

/** What the managers would send: how far the encryption is, and the keys that nodes have told. */
async function step(
  stage: Stage,
  number: number,
  epochs: readonly number[],
  active: number,
  nat?: Natted,
): Promise<void> {
  stage.items.set('encryption', {
    key: 'encryption',
    value: { kind: 'encryption', step: number, active, epochs, relay: nat === undefined ? '' : nodeId(nat.relay) },
  });
  for (const node of stage.lab.nodes) stage.items.set(nodeItem(node).key, withKeys(node, nat));
  await stage.show();
  for (const node of stage.lab.nodes) t.equal(node.stack.tunnelFacts().step, number, `node ${node.number} confirms`);
}

function withKeys(node: LabNode, nat: Natted | undefined): TableItem {
  const item = nodeItem(node);
  if (item.value?.kind !== 'node') throw new Error('no node');
  const { keys } = node.stack.tunnelFacts();
  const behindNat = nat?.behindNat.includes(node.number) === true;
  return { ...item, value: { ...item.value, tunnel: { keys, behindNat } } };
}

/** From the clear to epoch 1, as managers lead nodes there. */
async function encrypt(stage: Stage, nat?: Natted): Promise<void> {
  await step(stage, 1, [1], 0, nat);
  await step(stage, 2, [1], 0, nat);
  await step(stage, 3, [1], 1, nat);
}

function count(node: LabNode): void {
  const rules = ['add table inet wire', 'add chain inet wire out { type filter hook output priority 0; }'];
  for (const port of [7378, 7379]) {
    rules.push(`add counter inet wire p${port}`, `add rule inet wire out udp dport ${port} counter name p${port}`);
  }
  for (const rule of rules) inside(node.namespace, 'nft', rule);
}

function sent(node: LabNode, port: number): number {
  const text = inside(node.namespace, 'nft', 'list', 'counter', 'inet', 'wire', `p${port}`);
  return Number(/packets (\d+)/.exec(text)?.[1]);
}

t.test('tunnels are encrypted, and their keys replaced, while packets go through', { skip }, async t => {
  await using stage = await openStage({ nodes: 2 });
  const { lab } = stage;
  const [first, second] = lab.nodes;
  if (first === undefined || second === undefined) throw new Error('no nodes');
  count(first);
  const ask = (): Promise<string> => getUdp(stage.namespace('c1'), '10.0.1.22', 80, 20_000);
  t.equal(await ask(), 'w2 sees 10.0.1.11');
  t.ok(sent(first, 7378) > 0, 'in the clear at first');
  await encrypt(stage);
  const before = sent(first, 7378);
  await t.test('everything goes as before, the address of clients included', async t => {
    t.equal(await ask(), 'w2 sees 10.0.1.11');
    t.equal(await get(stage.namespace('c1'), '10.0.1.22', 80), 'w2 sees 10.0.1.11');
    const wanted = [`w1 sees ${lab.clientAddress}`, `w2 sees ${lab.clientAddress}`];
    t.same(await untilAll(wanted, () => get(lab.client, first.address, published)), wanted);
    t.equal(sent(first, 7378), before, 'nothing goes in the clear');
    t.ok(sent(first, 7379) > 0);
    t.match(inside(stage.fabric(1), 'ip', 'link', 'show', 'cv0'), /mtu 1370/);
    t.match(inside(stage.fabric(1), 'ip', 'link', 'show', 'cw1'), /mtu 1420/);
    for (const node of lab.nodes) t.same(await node.stack.check(), [], 'nothing is to be mended');
  });
  await t.test('no packet is lost while keys are replaced', async t => {
    let done = false;
    const answers: string[] = [];
    const asking = (async () => {
      while (!done) answers.push(await ask());
    })();
    await step(stage, 4, [1, 2], 1);
    await step(stage, 5, [1, 2], 1);
    // One node is told before the other: each receives with both keys meanwhile.
    stage.items.set('encryption', {
      key: 'encryption',
      value: { kind: 'encryption', step: 6, active: 2, epochs: [1, 2], relay: '' },
    });
    await first.stack.applyTables(new Map(stage.items), never);
    const asked = answers.length;
    while (answers.length < asked + 3) await ask();
    await stage.show();
    await step(stage, 7, [2], 2);
    const last = answers.length;
    while (answers.length < last + 3) await ask();
    done = true;
    await asking;
    t.same([...new Set(answers)], ['w2 sees 10.0.1.11']);
    t.notMatch(inside(stage.fabric(1), 'ip', '-br', 'link'), /cw1/, 'the old device is gone');
    const keys = (node: LabNode): readonly number[] => node.stack.tunnelFacts().keys.map(key => key.epoch);
    t.same([keys(first), keys(second)], [[2], [2]]);
  });
  await t.test('a device that somebody deletes is made again, one that somebody changes is set right', async t => {
    inside(stage.fabric(1), 'ip', 'link', 'del', 'cw0');
    t.match(await first.stack.glance({ host: false }), ['made cw0', 'peers of cw0 set']);
    t.equal(await ask(), 'w2 sees 10.0.1.11');
    t.same(await first.stack.check(), []);
  });
  await t.test('a daemon that starts anew goes on with the keys that others know', async t => {
    const facts = first.stack.tunnelFacts();
    await first.stack[Symbol.asyncDispose]();
    first.stack = lab.open(first);
    await first.stack.recover();
    t.strictSame(first.stack.tunnelFacts(), facts, lab.problems.join('; '));
    t.equal(await ask(), 'w2 sees 10.0.1.11');
  });
  await t.test('and back into the clear', async t => {
    await step(stage, 8, [], 0);
    t.equal(await ask(), 'w2 sees 10.0.1.11');
    t.match(inside(stage.fabric(1), 'ip', 'link', 'show', 'cv0'), /mtu 1450/);
    t.notMatch(inside(stage.fabric(1), 'ip', '-br', 'link'), /cw/);
    t.same(first.stack.tunnelFacts().keys, []);
  });
});

t.test('nodes behind NATs reach all others, and each other by way of a manager', { skip }, async t => {
  await using stage = await openStage({ nodes: 3 });
  const { lab } = stage;
  for (const node of lab.nodes.slice(1)) {
    // As a NAT does it: other ports outside, and nobody comes in who was not called.
    for (const rule of [
      'add table inet nat',
      'add chain inet nat in { type filter hook input priority 0; }',
      'add rule inet nat in iifname "eth0" udp dport 7378-7379 ct state new drop',
      'add chain inet nat out { type nat hook postrouting priority 100; }',
      'add rule inet nat out oifname "eth0" udp sport 7378-7379 masquerade to :40000-50000 random',
    ]) {
      inside(node.namespace, 'nft', rule);
    }
  }
  await encrypt(stage, { behindNat: [2, 3], relay: 1 });
  t.equal(await getUdp(stage.namespace('c2'), '10.0.1.12', 80, 20_000), 'w1 sees 10.0.1.21', 'it calls');
  t.equal(await getUdp(stage.namespace('c3'), '10.0.1.12', 80, 20_000), 'w1 sees 10.0.1.31');
  t.equal(await getUdp(stage.namespace('c1'), '10.0.1.22', 80, 20_000), 'w2 sees 10.0.1.11', 'and is answered');
  t.equal(await getUdp(stage.namespace('c2'), '10.0.1.32', 80, 20_000), 'w3 sees 10.0.1.21', 'from one to the other');
  const wanted = [1, 2, 3].map(number => `w${number} sees ${lab.clientAddress}`);
  const [, second] = lab.nodes;
  t.same(await untilAll(wanted, () => get(lab.client, second?.address ?? '', published)), wanted);
});
