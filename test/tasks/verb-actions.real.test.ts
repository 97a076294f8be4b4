/**
 * Verbs upon real tasks: what a pause does to a stop, a kill and checks, and whom signals reach. Pause itself: pause.real.test.ts.
 */
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Task } from '../../src/gen/types.js';
import { ask, counting } from './asking.js';
import { makeTask, openRig, whyNotReal } from './fixtures.js';
import { untilTrapped } from './traps.js';
import { until } from './waiting.js';

const skip = whyNotReal();

t.test('pause', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvvp' });
  const countOf = (task: Task): number =>
    Number(fs.readFileSync(`${rig.dataDir}/tasks/${task.id}/0/merged/tmp/count`, 'utf8') || '-1');
  const running = async (container: NonNullable<Parameters<typeof makeTask>[0]>['container'] = {}): Promise<Task> => {
    const task = makeTask({ container: { command: counting, ...container } });
    await rig.run(task);
    await until(() => fs.existsSync(`${rig.dataDir}/tasks/${task.id}/0/merged/tmp/count`) && countOf(task) > 2);
    return task;
  };

  await t.test('a stop lets it go first, so that it can act upon its signal', async t => {
    for (const how of ['stop', 'shutdown'] as const) {
      const task = await running();
      await ask(rig, task, 'pause');
      if (how === 'stop') t.match(await ask(rig, task, 'stop'), { status: { state: 'complete', exitCode: 7 } }, how);
      else {
        await rig.assign([{ ...task, desired: 'shutdown' }]);
        t.match(await rig.wait(task.id, 'complete'), { state: 'shutdown', exitCode: 7, paused: false }, how);
      }
    }
  });

  await t.test('a kill ends it, and so does forgetting it', async t => {
    const task = await running();
    await ask(rig, task, 'pause');
    t.match(await ask(rig, task, 'kill'), { status: { state: 'failed', exitCode: 137, paused: false } });
    const other = await running();
    await ask(rig, other, 'pause');
    await rig.assign([], { removed: [other.id] });
    await until(() => rig.status(other.id) === undefined);
  });

  await t.test('its health check stands still too', async t => {
    const task = await running({
      healthcheck: {
        test: ['CMD-SHELL', 'echo . >> /tmp/checks; test -e /tmp/count'],
        intervalMs: 50,
        timeoutMs: 150,
        startPeriodMs: 0,
        startIntervalMs: 50,
        retries: 1,
      },
    });
    await ask(rig, task, 'pause');
    await sleep(700); // several times what would be too late
    t.match(rig.status(task.id), { state: 'running', health: 'healthy' });
    await ask(rig, task, 'unpause');
    const checks = (): number => fs.statSync(`${rig.dataDir}/tasks/${task.id}/0/merged/tmp/checks`).size;
    const before = checks();
    await until(() => checks() > before + 4);
    t.match(rig.status(task.id), { state: 'running', health: 'healthy' });
  });
});

t.test('stop and kill', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvvk' });

  await t.test('a stopped task has completed, whatever its exit code; asking again is answered', async t => {
    const task = makeTask({ container: { command: counting } });
    await untilTrapped((await rig.run(task)).pid);
    t.match(await ask(rig, task, 'stop'), { status: { state: 'complete', exitCode: 7, error: '' } });
    t.match(await ask(rig, task, 'stop'), { status: { state: 'complete', exitCode: 7 } });
    await t.rejects(ask(rig, task, 'kill'), { code: 'task-ended' });
    await t.rejects(ask(rig, task, 'pause'), { code: 'task-ended' });
    await t.rejects(ask(rig, task, 'top'), { code: 'task-ended' });
  });

  await t.test('the grace of the request counts, not that of the service', async t => {
    const task = makeTask({ container: { stopGraceMs: 60_000, command: ['sh', '-c', 'trap "" TERM; sleep 1000'] } });
    await untilTrapped((await rig.run(task)).pid);
    t.match(await ask(rig, task, 'stop', { graceMs: 200 }), { status: { state: 'complete', exitCode: 137 } });
  });

  await t.test('any signal goes to process 1 of the named container', async t => {
    const traps = ['sh', '-c', 'trap "echo got > /tmp/usr" USR1; while true; do usleep 10000; done'];
    const task = makeTask({
      container: { command: ['sleep', '1000'] },
      more: [{ name: 'side', command: traps }],
    });
    await rig.run(task);
    await untilTrapped((await ask(rig, task, 'top', { container: 'side' })).processes[0]?.pid, 'SIGUSR1');
    t.match(await ask(rig, task, 'kill', { signal: 'USR1', container: 'side' }), { status: { state: 'running' } });
    await until(() => fs.existsSync(`${rig.dataDir}/tasks/${task.id}/1/merged/tmp/usr`));
    t.match((await ask(rig, task, 'top', { container: 'side' })).processes, [{ container: 'side' }]);
    t.equal(new Set((await ask(rig, task, 'top')).processes.map(one => one.container)).size, 2);
    await t.rejects(ask(rig, task, 'kill', { signal: 'NOSUCH' }), { code: 'bad-argument' });
    await t.rejects(ask(rig, task, 'kill', { container: 'nosuch' }), { code: 'not-found' });
  });
});
