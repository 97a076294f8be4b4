import t from 'tap';
import { takeHint } from '../../../src/daemon/address-news.js';
import { openWhereabouts } from '../../../src/daemon/group/whereabouts.js';
import { asId } from '../../../src/ids.js';

t.test('what a node says of itself goes first, until the store says something new', async t => {
  const whereabouts = openWhereabouts();
  t.same(whereabouts.of('a', ['old:1']), ['old:1'], 'nothing else is known');
  whereabouts.said('a', ['new:1']);
  whereabouts.believed('a', ['rumour:1', 'old:1']);
  t.same(whereabouts.of('a', ['old:1']), ['new:1', 'old:1', 'rumour:1']);
  t.same(whereabouts.of('a', ['reached:1'])[0], 'new:1', 'whatever whoever asks has stored');
  whereabouts.stored('a');
  t.same(whereabouts.of('a', ['newer:1']), ['newer:1', 'rumour:1', 'old:1'], 'the store has it now');
  const manager = { nodeId: asId<never>('b'), addresses: ['b:1'], leader: true, raftId: 7 };
  whereabouts.said('b', ['c:1']);
  t.same(whereabouts.withAll([manager]), [{ ...manager, addresses: ['c:1', 'b:1'] }]);
});

t.test('rumours are bounded', async t => {
  const whereabouts = openWhereabouts();
  for (let at = 0; at < 100; at += 1) whereabouts.believed('a', [`h${at}:1`]);
  t.equal(whereabouts.of('a', ['old:1']).length, 8);
  t.ok(whereabouts.of('a', ['old:1']).includes('h99:1'), 'the newest stay');
});

t.test('people name a manager by its name or the beginning of its id', async t => {
  const whereabouts = openWhereabouts();
  const nodeId = asId<never>('abc1');
  const item = {
    key: 'node/abc1',
    value: { kind: 'node', nodeId, name: 'rack2', tunnelIndex: 2, dataAddresses: [], dataPort: 1 },
  } as const;
  const known = { view: undefined, tables: new Map([[item.key, item]]), managers: ['abc1', 'abd2'] };
  const take = (node: string) => takeHint(whereabouts, known, { node, address: '10.1.0.2', portDefault: 7377 });
  t.same(take('rack2'), { nodeId: 'abc1', address: '10.1.0.2:7377' });
  t.same(take('abd'), { nodeId: 'abd2', address: '10.1.0.2:7377' });
  t.throws(() => take('ab'), { code: 'ambiguous' });
  t.throws(() => take('rack9'), { code: 'not-found', state: 'known here: rack2, abd2' });
  t.same(whereabouts.of('abc1', []), ['10.1.0.2:7377']);
});
