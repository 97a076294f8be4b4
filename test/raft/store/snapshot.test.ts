/** A whole state that takes the place of another, step by step. */
import t from 'tap';
import type { Transaction } from '../../../src/gen/types.js';
import { openMachine } from '../../../src/raft/store/machine.js';
import { node } from '../../daemon/object-fixtures.js';
import { wire } from '../../daemon/plane-fixtures.js';

const encode = (changes: Transaction['changes']): Uint8Array =>
  wire.type('Transaction').encode({ schemaVersion: 1, atMs: 1, principal: 'uid:0', changes });
const nodeChange = (name: string) => ({ baseVersion: 0, action: { ...node(name), kind: 'node' } }) as const;

t.test(
  'a snapshot is restored in steps of 32 objects, and until the last of them everybody sees what was there before',
  async t => {
    const from = openMachine(wire);
    for (let at = 0; at < 5; at += 1)
      from.apply(at + 1, encode(Array.from({ length: 100 }, (_, place) => nodeChange(`n${at}.${place}`))));
    const snapshot = from.snapshot();
    const to = openMachine(wire);
    to.apply(1, encode([nodeChange('old')]));
    let heard = 0;
    to.watch(events => {
      t.ok(events.length <= 32);
      heard += events.length;
    });
    const steps = to.restoreSteps(snapshot);
    let before = 0;
    let count = 1;
    for (; steps.next().done !== true; count += 1) if (to.state.view.find('node', 'old') !== undefined) before += 1;
    t.equal(before, Math.ceil(500 / 32), 'each step takes 32 objects, and none of them is seen');
    t.equal(count, before + Math.ceil(501 / 32) + 1, 'then what is different is told, as slowly');
    t.equal(heard, 501);
    t.equal(to.state.view.count('node'), 500);
    t.equal(to.state.view.version, 5);
    t.equal(to.state.view.findByName('node', 'n4.99')?.id, 'n4.99');
  },
);

t.test('a snapshot that is cut short or newer changes nothing', async t => {
  const from = openMachine(wire);
  from.apply(1, encode([nodeChange('a')]));
  const snapshot = Buffer.from(from.snapshot());
  const newer = Buffer.from(
    wire.type('StoreSnapshot').encode({ schemaVersion: 2, version: 9, objects: [], clients: [] }),
  );
  const unknown = Buffer.concat([snapshot, Buffer.from([0x1a, 0x05, 0x08, 0x01, 0xf2, 0x07, 0x00])]);
  const to = openMachine(wire);
  to.apply(1, encode([nodeChange('old')]));
  for (const bytes of [newer, unknown, Buffer.concat([snapshot, Buffer.from([0x1a, 0x7f, 0x01])]), Buffer.from([0xff])])
    t.throws(() => to.restore(bytes), { code: 'newer-schema' });
  t.same(
    [...to.state.view.list('node')].map(({ id }) => id),
    ['old'],
  );
});
