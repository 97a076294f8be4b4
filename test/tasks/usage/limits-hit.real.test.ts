/**
 * Limits that are hit in the kernel are told on the task, and no more when that is over. One task after the other: three that
 * keep a processor busy at once would be slow where it is emulated (scripts/vm-test runs this a second time).
 */
import * as fs from 'node:fs';
import t from 'tap';
import type { Task, TaskStatus } from '../../../src/gen/types.js';
import { makeMount, makeTask, openRig, whyNotReal } from '../fixtures.js';
import { codes, mib, shell } from './objects.js';

const skip = whyNotReal();

t.test('limits that are hit', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtw', limitsEveryMs: 700 });
  const told = async (task: Task, code: string): Promise<string | undefined> => {
    await rig.run(task);
    const isTold = (status: TaskStatus): boolean => status.state === 'running' && codes(status).includes(code);
    return (await rig.wait(task.id, isTold)).limits?.warnings[0]?.message;
  };

  await t.test('processes at their limit are told', async t => {
    const forks = shell('(for i in 1 2 3 4 5 6 7; do sleep 99 & done) 2>/dev/null & exec sleep 1000', { pids: 6 });
    t.match(await told(forks, 'pids-limit'), /cannot start more processes.*limit of 6/);
  });

  await t.test('CPU at its limit is told, and no more without one', async t => {
    const busy = shell('trap exit TERM; while :; do :; done', { cpuNanos: 1e8 });
    t.match(await told(busy, 'cpu-throttled'), /limit of 0.1 CPU/);
    await rig.assign([{ ...busy, spec: { ...busy.spec, limits: undefined } }]);
    await rig.wait(busy.id, status => codes(status).length === 0);
    t.pass('told no more once it is over');
    await rig.assign([{ ...busy, desired: 'shutdown' }]);
    await rig.wait(busy.id, 'complete');
  });

  await t.test('memory near its limit is told', async t => {
    const fat = shell('dd if=/dev/zero of=/dev/shm/x bs=1M count=30; sleep 1000', { memoryBytes: 32 * mib });
    t.match(await told(fat, 'memory-near-limit'), /memory limit of 32 MiB/);
  });

  await t.test('a mount that is full is told', async t => {
    const mount = makeMount('tmpfs', '', '/tmp', { tmpfsBytes: mib });
    const command = ['sh', '-c', 'dd if=/dev/zero of=/tmp/x bs=1M; sleep 1000'];
    const task = makeTask({ container: { command, mounts: [mount] } });
    t.match(await told(task, 'volume-full'), /^tmpfs at \/tmp is full: 0 B of 1 MiB are free/);
    fs.rmSync(`/proc/${rig.status(task.id)?.pid}/root/tmp/x`);
    await rig.wait(task.id, status => codes(status).length === 0);
    t.pass('told no more');
  });
});
