/** Whose place a restored manager takes, and in which term it leads. */
import t from 'tap';
import { chooseNode, planTerm } from '../../../src/daemon/membership/restore.js';
import { openRebuild } from '../../../src/raft/store.js';
import { wire } from '../node-fixtures.js';
import { clusterObject, node } from '../object-fixtures.js';

function viewOf() {
  const rebuild = openRebuild(wire);
  const at = (address: string) => ({ description: { ...node('x').description, addresses: [address] } });
  const nodes = [
    node('m1', { role: 'manager', raftId: 1, ...at('10.0.0.1:7377') }),
    node('m2', { role: 'manager', raftId: 2, ...at('10.0.0.2:7377') }),
    node('w1', at('10.0.0.3:7377')),
  ];
  const objects = nodes.map(object => ({ kind: 'put' as const, table: 'node' as const, object }));
  rebuild.machine.apply(1, rebuild.entryOf([{ kind: 'put', table: 'cluster', object: clusterObject }, ...objects], 1));
  rebuild.checkApplied();
  return rebuild.view();
}

t.test(
  'the manager with this address, else of this name, else the one that made the backup, or the one that is named',
  async t => {
    const view = viewOf();
    const choose = (address: string, hostname: string, asNode = '') =>
      chooseNode(view, {
        asNode,
        description: { ...node('x').description, hostname, addresses: [address] },
        madeBy: 'm2',
      }).id as string;
    t.equal(choose('10.0.0.1:7377', 'm2'), 'm1', 'the address counts most: by it the workers look');
    t.equal(choose('10.0.0.9:7377', 'm1'), 'm1');
    t.equal(choose('10.0.0.9:7377', 'other'), 'm2');
    t.equal(choose('10.0.0.3:7377', 'other'), 'm2', 'no worker is replaced unless it is named');
    t.equal(choose('10.0.0.1:7377', 'm1', 'w1'), 'w1');
    t.throws(() => choose('10.0.0.1:7377', 'm1', 'w9'), { code: 'not-found', state: /managers are m1, m2/ });
  },
);

t.test('the term is above all that was obeyed, also when an old backup is restored again', async t => {
  const nowMs = 1_800_000_000_000;
  const first = planTerm(7, nowMs);
  t.ok(first > 7 + 2 ** 20);
  t.ok(planTerm(7, nowMs + 60_000) > first + 2 ** 20, 'a minute later there was room for a million elections');
  t.ok(Number.isSafeInteger(planTerm(first, nowMs + 1_000 * 365 * 86_400_000)));
  t.equal(planTerm(2 ** 50, 0), 2 ** 50 + 2 ** 20, 'a clock that stands still takes nothing back');
});
