/**
 * What a manager says while it waits for its unlock key.
 */
import t from 'tap';
import { lockedControl, withLockFinding } from '../../src/daemon/locked.js';
import type { CallContext } from '../../src/grpc.js';
import { callerOf } from './plane-fixtures.js';

const lock = { keyId: '686608fa', madeAtMs: Date.UTC(2026, 10, 30, 20, 52) };
const memory = { managers: () => [], tables: () => new Map(), heardMs: () => 5_000 };

t.test('everything is refused with the command that ends it, and which key is meant', async t => {
  const control = lockedControl(lock, memory);
  const context = callerOf();
  const refusal = {
    code: 'locked',
    hint: 'covey unlock',
    state: /id 686608fa, made 2026-11-30 20:52 UTC; its containers run on/,
  };
  await t.rejects(async () => await control.listNodes({ objects: [], stack: '' }, context), refusal);
  await t.rejects(async () => await control.createService({} as never, context), refusal);
  await t.rejects(async () => await control.getUnlockKey({}, context), refusal);
});

t.test('what it remembers of the members it tells who asks for no more, and that it is locked', async t => {
  const context: CallContext = callerOf();
  context.metadata.set('covey-read', 'stale');
  const answer = await lockedControl(lock, memory).listNodes({ objects: [], stack: '' }, context);
  t.match(answer, { nodes: [], asOf: { atMs: 5_000, why: /this manager, which is locked: covey unlock/ } });
});

t.test('doctor tells the lock first, and not that no manager answers: none can be asked', async t => {
  const others = [
    { level: 'fail', code: 'managers-unreachable', message: 'no manager has answered', hint: '' },
    { level: 'ok', code: '', message: '1 task', hint: '' },
  ] as const;
  t.same(withLockFinding(undefined, others), others);
  const [first, ...rest] = withLockFinding(lock, others);
  t.match(first, { level: 'fail', code: 'locked', hint: 'covey unlock' });
  t.same(rest, others.slice(1));
});
