/** The window against a plain list, and the queue of the same kind. */
import fc from 'fast-check';
import t from 'tap';
import { createFifo, fifoFirst, fifoLength, fifoPush, fifoShift } from '../../../src/raft/core/fifo.js';
import {
  addInflight,
  createInflights,
  freeInflights,
  isFull,
  resetInflights,
} from '../../../src/raft/core/inflights.js';

type Step = { readonly add: number } | { readonly free: number } | { readonly reset: true };
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ add: fc.integer({ min: 0, max: 40 }) }) },
    { weight: 3, arbitrary: fc.record({ free: fc.integer({ min: 0, max: 12 }) }) },
    { weight: 1, arbitrary: fc.constant({ reset: true as const }) },
  ) as fc.Arbitrary<Step>,
  { maxLength: 120 },
);

t.test('count, bytes and fullness are those of a plain list', async t => {
  fc.assert(
    fc.property(
      steps,
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 200 }),
      (list, messagesMax, bytesMax) => {
        const window = createInflights(messagesMax, bytesMax);
        let model: { index: number; bytes: number }[] = [];
        let index = 0;
        for (const step of list) {
          if ('add' in step) {
            if (isFull(window)) continue;
            index += 2;
            addInflight(window, index, step.add);
            model.push({ index, bytes: step.add });
          } else if ('free' in step) {
            const upTo = (model[0]?.index ?? 0) - 1 + step.free;
            freeInflights(window, upTo);
            model = model.filter(each => each.index > upTo);
          } else {
            resetInflights(window);
            model = [];
          }
          const bytes = model.reduce((sum, each) => sum + each.bytes, 0);
          if (window.count !== model.length || window.bytes !== bytes) return false;
          if (isFull(window) !== (model.length >= messagesMax || bytes >= bytesMax)) return false;
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('a full window takes nothing more', async t => {
  const window = createInflights(1, 100);
  addInflight(window, 1, 500);
  t.throws(() => addInflight(window, 2, 1), { code: 'bug' });
  freeInflights(window, 1);
  addInflight(window, 2, 1);
  t.equal(window.bytes, 1);
});

t.test('a queue gives back what it was given, in order', async t => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 300 }), pushes => {
      const fifo = createFifo<number>();
      const model: number[] = [];
      for (const [at, push] of pushes.entries()) {
        if (push) {
          fifoPush(fifo, at);
          model.push(at);
        } else if (fifoShift(fifo) !== model.shift()) return false;
        if (fifoFirst(fifo) !== model[0] || fifoLength(fifo) !== model.length) return false;
      }
      return true;
    }),
  );
  t.pass();
});
