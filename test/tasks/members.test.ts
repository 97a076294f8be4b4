import t from 'tap';
import { type Member, planAgain, planNext, planStopOrder } from '../../src/tasks/members.js';

const base: Member = {
  name: '',
  role: 'main',
  restart: 'always',
  phase: 'created',
  exitCode: undefined,
  settled: true,
  againAtMs: 0,
};
const main = (changes: Partial<Member> = {}): Member => ({ ...base, ...changes });
const init = (name: string, changes: Partial<Member> = {}): Member => ({ ...base, role: 'init', name, ...changes });
const sidecar = (name: string, changes: Partial<Member> = {}): Member => ({
  ...base,
  role: 'sidecar',
  name,
  ...changes,
});
const done = { phase: 'ended', exitCode: 0 } as const;
const failed = { phase: 'ended', exitCode: 3 } as const;
const runs = { phase: 'running' } as const;

t.test('init containers run to their end one by one, then sidecars start, then the main one', async t => {
  const rows = [
    { name: 'first init', of: [main(), init('a'), init('b'), sidecar('s')], step: { kind: 'start', index: 1 } },
    {
      name: 'it runs',
      of: [main(), init('a', runs), init('b'), sidecar('s')],
      step: { kind: 'wait', because: 'init container "a" (1 of 2)' },
    },
    { name: 'second init', of: [main(), init('a', done), init('b')], step: { kind: 'start', index: 2 } },
    {
      name: 'it failed',
      of: [main(), init('a', failed), init('b')],
      step: { kind: 'fail', failure: { code: 'init-failed' } },
    },
    { name: 'sidecar', of: [main(), init('a', done), sidecar('s')], step: { kind: 'start', index: 2 } },
    {
      name: 'sidecar before init in the list',
      of: [main(), sidecar('s'), init('a')],
      step: { kind: 'start', index: 2 },
    },
    {
      name: 'its hooks',
      of: [main(), sidecar('s', { ...runs, settled: false })],
      step: { kind: 'wait', because: 'post-start hook of sidecar "s"' },
    },
    { name: 'main', of: [main(), sidecar('s', runs)], step: { kind: 'start', index: 0 } },
    { name: 'all run', of: [main(runs), sidecar('s', runs), init('a', done)], step: { kind: 'none' } },
    { name: 'nothing made', of: [main({ phase: 'none' })], step: { kind: 'none' } },
  ];
  for (const { name, of, step } of rows) t.match(planNext(of, 0), step, name);
});

t.test(
  'a sidecar that ends is started again when its wait is over, unless its work is done or it ends the task',
  async t => {
    const rows = [
      { name: 'waits, and main runs on', changes: { ...failed, againAtMs: 5 }, step: { kind: 'none' } },
      { name: 'its time has come', changes: { ...failed, againAtMs: 4 }, step: { kind: 'again', index: 1 } },
      { name: 'always: also after 0', changes: done, step: { kind: 'again', index: 1 } },
      { name: 'on-failure: not after 0', changes: { ...done, restart: 'on-failure' as const }, step: { kind: 'none' } },
      {
        name: 'on-failure: after 3',
        changes: { ...failed, restart: 'on-failure' as const },
        step: { kind: 'again', index: 1 },
      },
      {
        name: 'never',
        changes: { ...done, restart: 'never' as const },
        step: { kind: 'fail', failure: { code: 'sidecar-ended' } },
      },
    ];
    for (const { name, changes, step } of rows) t.match(planNext([main(runs), sidecar('s', changes)], 4), step, name);
    t.match(
      planNext([main(), sidecar('s', { ...failed, againAtMs: 5 })], 4),
      { kind: 'wait' },
      'a main one that was not started waits for it',
    );
  },
);

t.test('the wait of a sidecar doubles up to a minute and starts anew after a long life', async t => {
  const waits = [0];
  for (let at = 0; at < 8; at += 1) waits.push(planAgain({ waitMs: waits.at(-1) ?? 0, ranMs: 10 }));
  t.strictSame(waits.slice(1), [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  t.equal(planAgain({ waitMs: 60_000, ranMs: 600_000 }), 1_000);
});

t.test('the main container is stopped first, the sidecars after it, the last one first', async t => {
  t.strictSame(planStopOrder([{ role: 'main' }, { role: 'init' }, { role: 'sidecar' }, { role: 'sidecar' }]), [
    [0, 1],
    [3],
    [2],
  ]);
});
