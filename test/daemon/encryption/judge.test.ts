/** What a manager sees of the tunnel of a node that says hello. */
import t from 'tap';
import { findNat, judgeTunnel } from '../../../src/daemon/encryption/judge.js';
import { encryptedFromStart } from '../../../src/daemon/encryption/plan.js';
import type { Cluster, Node, NodeDescription } from '../../../src/gen/types.js';
import type { View } from '../../../src/raft/store.js';
import { clusterObject as cluster, node } from '../object-fixtures.js';

t.test('a session from an address that the node does not have has passed a NAT', async t => {
  const own = ['10.0.0.7', 'fd00::7'];
  for (const [peer, nat] of [
    ['10.0.0.7:4711', undefined],
    ['::ffff:10.0.0.7:4711', undefined],
    ['[fd00::7]:4711', undefined],
    ['fd00::7:4711', undefined],
    ['127.0.0.1:4711', undefined],
    ['192.0.2.1:4711', '192.0.2.1'],
    ['[2001:db8::1]:4711', '2001:db8::1'],
    [undefined, undefined],
  ] as const) {
    t.equal(findNat(own, peer), nat, String(peer));
  }
  t.equal(findNat([], '192.0.2.1:4711'), undefined, 'of one that does not tell its addresses nothing is known');
});

const manager: Node = { ...node('m'), role: 'manager' };

function viewOf(encrypted: boolean, nodes: readonly Node[]): View {
  const clusters: readonly Cluster[] = [{ ...cluster, ...(encrypted ? { encryption: encryptedFromStart(1) } : {}) }];
  const list = (table: string): readonly unknown[] => (table === 'cluster' ? clusters : nodes);
  return { list } as unknown as View;
}

function described(means: 'none' | 'kernel', dataAddress = '10.0.0.7'): NodeDescription {
  return {
    ...node('a').description,
    addresses: ['10.0.0.7:7377'],
    dataAddresses: [dataAddress],
    tunnel: { means, keys: [], step: 0, ownAddresses: ['10.0.0.7'] },
  };
}

t.test('why packets of containers cannot reach a node is told, and nothing where they can', async t => {
  const direct = '10.0.0.7:4711';
  const natted = '192.0.2.1:4711';
  const behind: Node = { ...manager, description: { ...described('kernel') } };
  const lonely = { ...behind, description: judgeTunnel(behind.description, natted, viewOf(false, [])) };
  for (const [what, description, peer, view, obstacle] of [
    ['in the clear, no means', described('none'), direct, viewOf(false, [manager]), undefined],
    ['encrypted, no means', described('none'), direct, viewOf(true, [manager]), /can’t encrypt/],
    ['encrypted', described('kernel'), direct, viewOf(true, [manager]), undefined],
    ['NAT, in the clear', described('kernel'), natted, viewOf(false, [manager]), /NAT \(192\.0\.2\.1\)/],
    ['NAT, data path elsewhere', described('kernel', '10.9.9.9'), natted, viewOf(false, [manager]), undefined],
    ['NAT, encrypted', described('kernel'), natted, viewOf(true, [manager]), undefined],
    ['NAT, encrypted, no relay', described('kernel'), natted, viewOf(true, [lonely]), /no manager/],
  ] as const) {
    const found = judgeTunnel(description, peer, view).tunnel?.obstacle;
    if (obstacle === undefined) t.equal(found, undefined, what);
    else t.match(found, obstacle, what);
  }
});
