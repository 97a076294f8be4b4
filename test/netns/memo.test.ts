import fc from 'fast-check';
import t from 'tap';
import { buildRecords, type RecordParts } from '../../src/netns/dns/records.js';
import { openMemo } from '../../src/netns/memo.js';
import { openParts, planWanted } from '../../src/netns/wanted.js';
import { endpointItem, type LabNode, networkItem, nodeId, nodeItem, serviceItem, tables } from './lab.js';

t.test('a result is made again when its object or one of the inputs is another', async t => {
  const memo = openMemo<object, number>();
  let made = 0;
  const make = (): number => {
    made += 1;
    return made;
  };
  const key = {};
  const input = {};
  t.equal(memo(key, [input, 1], make), 1);
  t.equal(memo(key, [input, 1], make), 1);
  t.equal(memo(key, [input, 2], make), 2);
  t.equal(memo(key, [{}, 2], make), 3);
  t.equal(memo(key, [input], make), 4);
  t.equal(memo({}, [input], make), 5);
});

const identity = {
  nodeId: nodeId(1),
  tunnelIndex: 1,
  dataAddress: '192.0.2.1',
  dataPort: 7378,
  vniOverlay: 2,
  vniIngress: 3,
};
const hostLink = { hostAddress: '169.254.2.1', fabricAddress: '169.254.2.2' };

/** Every item in a few variants, each of them one object for ever, as the session keeps what did not change. */
const variants = [
  [1, 2].map(tunnel => nodeItem({ number: 2, address: `192.0.2.${tunnel + 1}` } as LabNode)),
  [nodeItem({ number: 3, address: '192.0.2.3' } as LabNode)],
  [networkItem('net1', '10.0.1.0/24'), networkItem('net1', '10.0.1.0/24', true)],
  [
    serviceItem({ name: 'web', vip: '10.0.1.200' }),
    serviceItem({ name: 'web', ports: [{ published: 80, target: 80 }] }),
    serviceItem({ name: 'web', ports: [{ published: 80, target: 81, mode: 'host' }], vip: '10.0.1.200' }),
  ],
  [serviceItem({ name: 'api', ports: [{ published: 80, target: 80 }], aliases: ['web'] })],
  ...[0, 1, 2].map(slot =>
    [1, 2, 3].flatMap(node =>
      [true, false].map(serving =>
        endpointItem({
          task: `t${slot}x`,
          service: slot === 2 ? 'api' : 'web',
          node,
          slot,
          address: `10.0.1.${slot + 10}`,
          serving,
        }),
      ),
    ),
  ),
];

t.test('whatever changes from one set of tables to the next: kept parts give what a fresh plan gives', async () => {
  const choice = fc.tuple(...variants.map(list => fc.option(fc.nat(list.length - 1), { nil: undefined })));
  fc.assert(
    fc.property(fc.array(choice, { minLength: 1, maxLength: 12 }), steps => {
      const parts = openParts();
      const recordParts: RecordParts = openMemo();
      return steps.every(step => {
        const items = tables(
          ...step.flatMap((variant, at) => (variant === undefined ? [] : (variants[at]?.[variant] ?? []))),
        );
        const input = { identity, hostLink, tables: items, attachments: [], hostAddresses: [] };
        const text = (value: unknown): string =>
          JSON.stringify(value, (_key, part) => (part instanceof Map || part instanceof Set ? [...part].sort() : part));
        return (
          text(planWanted(input, parts)) === text(planWanted(input)) &&
          text(buildRecords(items, recordParts)) === text(buildRecords(items))
        );
      });
    }),
    { numRuns: 300 },
  );
});
