/**
 * The figures of a running task are those of its cgroup, on either version.
 */
import t from 'tap';
import { collect, openRig, waitMaxMs, whyNotReal } from '../fixtures.js';
import { until } from '../waiting.js';
import { isV2, mib, shell } from './objects.js';

t.test('figures', { skip: whyNotReal() }, async t => {
  await using rig = await openRig(t, { prefix: 'cvts' });
  const fill =
    'dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; sleep 999 & sleep 999 & echo filled; sleep 999';
  const task = shell(fill, { memoryBytes: 64 * mib, pids: 20 });
  const other = shell('sleep 1000', {});
  await rig.run(task);
  await rig.run(other);
  let text = '';
  while (!text.includes('filled')) text = await rig.logs(task.id);
  await until(() => rig.cgroup(task.id, 'pids', 'pids.current') === '3', waitMaxMs);
  const start = { taskIds: [task.id], serviceId: task.serviceId, once: true, intervalMs: 0 };
  const frames = await collect(rig.agent.stats(start, AbortSignal.timeout(waitMaxMs)));
  t.equal(frames.at(-1)?.body.kind, 'end');
  const figures = frames.flatMap(({ body }) => (body.kind === 'figures' ? body.tasks : []));
  t.equal(figures.length, 1, 'only what was asked for');
  const stat = rig.cgroup(task.id, 'memory', 'memory.stat');
  const form = isV2 ? /^inactive_file (\d+)$/m : /^total_inactive_file (\d+)$/m;
  const inactive = Number(form.exec(stat)?.[1]);
  const used = Number(rig.cgroup(task.id, 'memory', isV2 ? 'memory.current' : 'memory.usage_in_bytes'));
  t.match(figures[0], { taskId: task.id, pids: 3, memoryLimitBytes: 64 * mib });
  const off = Math.abs((figures[0]?.memoryBytes ?? 0) - (used - inactive));
  // The kernel counts pages in lots for each processor.
  t.ok(off < mib && used > 20 * mib, `${figures[0]?.memoryBytes} is what ${used} - ${inactive} says`);
});
