import t from 'tap';
import { planReap, planTidy } from '../../../src/daemon/orchestrate/reap.js';
import type { View } from '../../../src/raft/store.js';
import { container, meta, network, service, serviceSpec, task, taskSpec } from '../object-fixtures.js';

const deleted = (tasks: Parameters<typeof planReap>[0], historyMax = 5): readonly string[] =>
  planReap(tasks, historyMax).flatMap(step => (step.kind === 'delete' ? [step.task] : []));

t.test('what is to be removed goes when it has ended', async t => {
  t.same(deleted([task('t', { desired: 'remove' })]), []);
  t.same(deleted([task('t', { desired: 'remove', state: 'shutdown' })]), ['t']);
  t.same(deleted([task('t', { desired: 'shutdown', state: 'shutdown' })]), [], 'history');
  t.same(deleted([task('t', { state: 'failed' })]), [], 'it stands for its slot');
});

t.test('what was never placed goes at once', async t => {
  for (const desired of ['shutdown', 'remove'] as const)
    t.same(deleted([task('t', { desired, state: 'pending' })]), ['t']);
  t.same(deleted([task('t', { state: 'pending' })]), []);
});

t.test('history is limited for each slot, the oldest goes first', async t => {
  const old = (id: string, slot: number, createdAtMs: number) =>
    task(id, { slot, desired: 'shutdown', state: 'failed', meta: { ...meta, createdAtMs } });
  t.same(deleted([old('a', 1, 3), old('b', 1, 1), old('c', 1, 2), old('d', 2, 1)], 2), ['b']);
  t.same(deleted([old('a', 1, 1)], 0), ['a']);
});

t.test('networks, secrets and configs that are marked go when nothing uses them', async t => {
  const spec = { name: 's', labels: {}, stack: 'x' };
  const file = { meta, spec, data: new Uint8Array(0), digest: new Uint8Array(0), removing: true };
  const view = (over: { readonly tasks?: readonly unknown[]; readonly services?: readonly unknown[] }): View => {
    const lists: Readonly<Record<string, readonly unknown[]>> = {
      network: [network({ removing: true }), network({ id: 'kept' as never })],
      secret: [{ ...file, id: 'secret' }],
      config: [{ ...file, id: 'config' }],
      task: over.tasks ?? [],
      service: over.services ?? [],
    };
    return { list: (table: string) => lists[table] ?? [] } as unknown as View;
  };
  const ids = (each: View): readonly string[] => planTidy(each).map(write => (write.kind === 'delete' ? write.id : ''));
  t.same(ids(view({})), ['network-net', 'secret', 'config']);
  const spec2 = taskSpec({
    networks: [{ network: 'network-net', aliases: [] }],
    containers: [container({ secrets: [{ source: 'secret', target: 's', uid: 0, gid: 0 }] })],
  });
  t.same(ids(view({ services: [service({ spec: serviceSpec({ task: spec2 }) })] })), ['config']);
  t.same(ids(view({ tasks: [task('t', { spec: spec2 })] })), ['config'], 'a task that still runs');
  t.same(ids(view({ tasks: [task('t', { spec: spec2, state: 'failed' })] })), ['network-net', 'secret', 'config']);
});
