/**
 * Limits that are hit in the kernel are told on the task, and no more when that is over.
 */
import * as fs from 'node:fs';
import t from 'tap';
import type { Task } from '../../../src/gen/types.js';
import { makeMount, makeTask, openRig, whyNotReal } from '../fixtures.js';
import { codes, mib, shell } from './objects.js';

const skip = whyNotReal();

t.test('limits that are hit', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtw', limitsEveryMs: 700 });

  await t.test('processes at their limit, CPU at its limit and memory near its limit are told', async t => {
    const forks = shell('(for i in 1 2 3 4 5 6 7; do sleep 99 & done) 2>/dev/null & exec sleep 1000', { pids: 6 });
    const busy = shell('yes >/dev/null', { cpuNanos: 1e8 });
    const fat = shell('dd if=/dev/zero of=/dev/shm/x bs=1M count=30; sleep 1000', { memoryBytes: 32 * mib });
    await rig.assign([forks, busy, fat]);
    const wait = (task: Task, code: string) => rig.wait(task.id, status => codes(status).includes(code));
    t.match((await wait(forks, 'pids-limit')).limits?.warnings[0]?.message, /cannot start more processes.*limit of 6/);
    t.match((await wait(busy, 'cpu-throttled')).limits?.warnings[0]?.message, /limit of 0.1 CPU/);
    t.match((await wait(fat, 'memory-near-limit')).limits?.warnings[0]?.message, /memory limit of 32 MiB/);
    await rig.assign([{ ...busy, spec: { ...busy.spec, limits: undefined } }]);
    await rig.wait(busy.id, status => codes(status).length === 0);
    t.pass('told no more once it is over');
    await rig.assign([forks, busy, fat].map(task => ({ ...task, desired: 'shutdown' as const })));
    for (const task of [forks, busy, fat]) await rig.wait(task.id, 'complete');
  });

  await t.test('a mount that is full is told', async t => {
    const mount = makeMount('tmpfs', '', '/tmp', { tmpfsBytes: mib });
    const command = ['sh', '-c', 'dd if=/dev/zero of=/tmp/x bs=1M; sleep 1000'];
    const task = makeTask({ container: { command, mounts: [mount] } });
    const { pid } = await rig.run(task);
    const told = await rig.wait(task.id, status => codes(status).includes('volume-full'));
    t.match(told.limits?.warnings[0]?.message, /^tmpfs at \/tmp is full: 0 B of 1 MiB are free/);
    fs.rmSync(`/proc/${pid}/root/tmp/x`);
    await rig.wait(task.id, status => codes(status).length === 0);
    t.pass('told no more');
  });
});
