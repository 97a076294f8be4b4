import t from 'tap';
import { planLimitChanges } from '../../../src/daemon/orchestrate/limits.js';
import { replacesTasks } from '../../../src/daemon/orchestrate/spec-change.js';
import type { Resources, Service, ServiceSpec, TaskSpec } from '../../../src/gen/types.js';
import { service, serviceSpec, task, taskSpec } from '../object-fixtures.js';
import { callerOf, openPlane } from '../plane-fixtures.js';

const limits = (memoryBytes: number): Resources => ({ cpuNanos: 0, memoryBytes, pids: 0 });
const withTask = (over: Partial<TaskSpec>): ServiceSpec => serviceSpec({ task: taskSpec(over) });
const web = (over: Partial<TaskSpec>): Service => service({ spec: withTask(over) });

t.test('a change of limits alone replaces no task, any other change does', async t => {
  const old = withTask({ limits: limits(1e8) });
  const replaces = (over: Partial<TaskSpec>): boolean => replacesTasks(old, withTask(over));
  t.notOk(replaces({ limits: limits(1e8) }));
  t.notOk(replaces({ limits: limits(2e8) }));
  t.notOk(replaces({ limits: undefined }));
  t.ok(replaces({ limits: limits(2e8), force: 1 }), 'together with another change it rolls');
  t.ok(replaces({ limits: limits(1e8), reservations: limits(1e7) }), 'a reservation decides about the node');
  t.ok(replaces({ limits: limits(1e8), runtime: 'runc' }));
});

t.test('the tasks of the present spec get the limits, once; older and ended ones do not', async t => {
  const wanted = web({ limits: limits(2e8) });
  const at = (id: string, memoryBytes: number, over: Parameters<typeof task>[1] = {}) =>
    task(id, { ...over, spec: { ...taskSpec(), limits: limits(memoryBytes) }, specVersion: wanted.specVersion });
  const tasks = [
    at('a', 1e8),
    at('b', 2e8),
    { ...at('c', 1e8), specVersion: wanted.specVersion - 1 },
    at('d', 1e8, { desired: 'shutdown' }),
    at('e', 1e8, { state: 'failed' }),
    at('f', 1e8, { state: 'pending' }),
  ];
  t.strictSame(
    planLimitChanges(wanted, tasks).map(step =>
      step.kind === 'limit' ? [String(step.task).slice(0, 1), step.limits?.memoryBytes] : step,
    ),
    [
      ['a', 2e8],
      ['f', 2e8],
    ],
  );
});

t.test('through the whole of a manager: the same tasks have other limits, and the log comes to rest', async t => {
  await using plane = await openPlane();
  await plane.addNode('rack1');
  const created = await plane.control.createService({ spec: withTask({ limits: limits(1e8) }) }, callerOf());
  await plane.settle();
  const before = plane.running().map(({ id }) => id);
  t.ok(before.length > 0);
  for (const wanted of [limits(2e8), undefined, limits(3e8)]) {
    const present = plane.store.view().find('service', created.id);
    const { version } = present?.meta ?? { version: 0 };
    const spec = withTask(wanted === undefined ? {} : { limits: wanted });
    await plane.control.updateService({ service: created.id, version, spec }, callerOf());
    await plane.settle();
    t.strictSame(
      plane.running().map(({ id, spec: { limits: seen } }) => [id, seen]),
      before.map(id => [id, wanted]),
    );
    const entries = plane.log.entries.length;
    await plane.clock.advance(10_000);
    await plane.settle();
    t.equal(plane.log.entries.length, entries, 'nothing is written again and again');
  }
  const [first] = plane.running();
  t.match(first?.spec.containers, created.spec.task.containers, 'the rest of the spec is as it was');
});
