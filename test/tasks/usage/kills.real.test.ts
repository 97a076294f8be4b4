/**
 * Processes that the kernel kills for memory: the main one, a child, a program that is run inside. Each is told as what it is.
 */
import t from 'tap';
import type { BulkFrame } from '../../../src/gen/types.js';
import { collect, openRig, waitMaxMs, whyNotReal } from '../fixtures.js';
import { codes, mib, shell } from './objects.js';

const skip = whyNotReal();

t.test('killed for memory', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtk', limitsEveryMs: 200 });

  await t.test('F8: a child that is killed for memory is told apart from the main process', async t => {
    const hog = '(dd if=/dev/zero of=/dev/null bs=60M count=1); sleep 1000';
    const task = shell(hog, { memoryBytes: 16 * mib });
    const { pid } = await rig.run(task);
    const told = await rig.wait(task.id, status => codes(status).includes('killed-for-memory'));
    t.equal(told.state, 'running');
    t.equal(told.pid, pid, 'the main process lives');
    t.match(told.limits?.warnings[0]?.message, /one of its processes was killed for memory at its limit of 16 MiB/);
    process.kill(pid as number, 'SIGKILL');
    const end = await rig.wait(task.id, 'complete');
    t.match(end, { state: 'failed', errorCode: 'container-exit', outOfMemory: false, exitCode: 137 });
  });

  await t.test('F8: a main process that is killed for memory is told as that, also after a child was', async t => {
    const once =
      '(dd if=/dev/zero of=/dev/null bs=60M count=1); sleep 2; exec dd if=/dev/zero of=/dev/null bs=60M count=1';
    const task = shell(once, { memoryBytes: 16 * mib });
    await rig.run(task);
    await rig.wait(task.id, status => codes(status).includes('killed-for-memory'));
    const end = await rig.wait(task.id, 'complete');
    t.match(end, { state: 'failed', errorCode: 'out-of-memory', outOfMemory: true, exitCode: 137 });
  });

  await t.test('F8: a program that is run inside and killed for memory says so; the task runs on', async t => {
    const task = shell('sleep 1000', { memoryBytes: 16 * mib });
    const { pid } = await rig.run(task);
    const start = {
      ...{ taskId: task.id, container: '', env: [], workingDir: '', user: '', tty: false, stdin: false, detach: false },
      args: ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=60M', 'count=1'],
    };
    async function* nothing(): AsyncGenerator<BulkFrame> {
      yield* [];
    }
    const frames = await collect(rig.agent.exec(nothing(), start, AbortSignal.timeout(waitMaxMs)));
    t.match(frames.at(-1)?.body, {
      kind: 'end',
      exitCode: 137,
      problem: { code: 'out-of-memory', message: /killed for memory/, state: /16 MiB/ },
    });
    t.equal(rig.status(task.id)?.pid, pid);
    t.equal(rig.status(task.id)?.state, 'running');
  });
});
