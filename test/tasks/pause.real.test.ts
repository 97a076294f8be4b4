/**
 * A pause holds a task still, also across daemons. Runs on whatever cgroup version this machine has; scripts/vm-test runs it a
 * second time where version 2 is alone.
 */
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { Task } from '../../src/gen/types.js';
import { ask, counting } from './asking.js';
import { makeTask, openRig, waitMaxMs, whyNotReal } from './fixtures.js';
import { until } from './waiting.js';

t.test('pause', { skip: whyNotReal() }, async t => {
  await using rig = await openRig(t, { prefix: 'cvps' });
  const countOf = (task: Task): number =>
    Number(fs.readFileSync(`${rig.dataDir}/tasks/${task.id}/0/merged/tmp/count`, 'utf8') || '-1');
  const running = async (): Promise<Task> => {
    const task = makeTask({ container: { command: counting } });
    await rig.run(task);
    await until(
      () => fs.existsSync(`${rig.dataDir}/tasks/${task.id}/0/merged/tmp/count`) && countOf(task) > 2,
      waitMaxMs,
    );
    return task;
  };

  await t.test('what is paused stands still, says so, and goes on where it was', async t => {
    const task = await running();
    t.match(await ask(rig, task, 'pause'), { status: { state: 'running', paused: true } });
    const before = countOf(task);
    await sleep(100);
    t.equal(countOf(task), before);
    await t.rejects(ask(rig, task, 'pause'), { code: 'task-paused' });
    const frames = openChannel<never>(1);
    const exec = { taskId: task.id, container: '', args: ['true'], env: [], workingDir: '', user: '' };
    const start = { ...exec, tty: false, stdin: false, detach: false };
    await t.rejects(
      rig.agent.exec(frames, start, AbortSignal.timeout(5_000))[Symbol.asyncIterator]().next(),
      { code: 'task-paused' },
      'a program run inside would hang',
    );
    t.match((await ask(rig, task, 'top')).processes[0], { command: /sh -c trap/, uid: 0 }, 'its processes can be seen');
    t.match(await ask(rig, task, 'unpause'), { status: { paused: false } });
    await until(() => countOf(task) > before + 2, waitMaxMs);
    await t.rejects(ask(rig, task, 'unpause'), { code: 'task-not-paused' });
  });

  await t.test('a restart of the daemon finds it paused', async t => {
    const task = await running();
    await ask(rig, task, 'pause');
    await rig.reopen();
    t.equal(rig.status(task.id)?.paused, true);
    const before = countOf(task);
    await ask(rig, task, 'unpause');
    await until(() => countOf(task) > before + 2, waitMaxMs);
    t.equal(rig.status(task.id)?.paused, false);
  });
});
