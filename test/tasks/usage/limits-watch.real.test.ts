/**
 * Limits in the kernel, changed in place. Runs on whatever cgroup version this machine has; scripts/vm-test runs it a second
 * time where version 2 is alone.
 */
import * as fs from 'node:fs';
import t from 'tap';
import type { Task } from '../../../src/gen/types.js';
import { makeTask, openRig, type Rig, whyNotReal } from '../fixtures.js';
import { codes, isV2, limits, mib, shell, withLimits } from './objects.js';

const skip = whyNotReal();
const files = isV2
  ? { memory: 'memory.max', pids: 'pids.max', cpu: 'cpu.max', soft: 'memory.low', cpus: 'cpuset.cpus' }
  : {
      memory: 'memory.limit_in_bytes',
      pids: 'pids.max',
      cpu: 'cpu.cfs_quota_us',
      soft: 'memory.soft_limit_in_bytes',
      cpus: 'cpuset.cpus',
    };
const inKernel = (rig: Rig, task: Task): readonly string[] => [
  rig.cgroup(task.id, 'memory', files.memory),
  rig.cgroup(task.id, 'pids', files.pids),
  rig.cgroup(task.id, 'cpu', files.cpu).replace(/ .*/, ''),
];

t.test('limits', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtl', limitsEveryMs: 200 });

  await t.test('are changed in place, and stay so when the daemon is started anew', async t => {
    const task = shell('sleep 1000', { memoryBytes: 64 * mib, pids: 20, cpuNanos: 5e8 });
    const { pid } = await rig.run(task);
    t.strictSame(inKernel(rig, task), [String(64 * mib), '20', '50000']);
    const more = withLimits(task, { memoryBytes: 96 * mib, pids: 30, cpuNanos: 1e9 });
    await rig.assign([more]);
    const seen = await rig.wait(task.id, status => status.limits?.inEffect?.memoryBytes === 96 * mib);
    t.equal(seen.pid, pid, 'the same process runs on');
    t.strictSame(inKernel(rig, task), [String(96 * mib), '30', '100000']);
    await rig.reopen();
    t.strictSame(inKernel(rig, task), [String(96 * mib), '30', '100000']);
    const after = await rig.wait(task.id, status => status.limits?.inEffect?.memoryBytes === 96 * mib);
    t.equal(after.pid, pid);
    const fewer = withLimits(task, { memoryBytes: 32 * mib });
    await rig.assign([fewer]);
    await rig.wait(task.id, status => status.limits?.inEffect?.memoryBytes === 32 * mib);
    t.strictSame(
      inKernel(rig, task),
      [String(32 * mib), '8192', isV2 ? 'max' : '-1'],
      'what is not asked for any more',
    );
  });

  await t.test('memory is not lowered below what is in use; the task is told and lives', async t => {
    const task = shell('dd if=/dev/zero of=/dev/shm/x bs=1M count=20; sleep 1000', { memoryBytes: 64 * mib });
    const { pid } = await rig.run(task);
    while (!fs.existsSync(`/proc/${pid}/root/dev/shm/x`) || fs.statSync(`/proc/${pid}/root/dev/shm/x`).size < 20 * mib)
      await new Promise(resolve => setTimeout(resolve, 10));
    await rig.assign([withLimits(task, { memoryBytes: 8 * mib })]);
    const told = await rig.wait(task.id, status => codes(status).includes('limits-pending'));
    t.match(told.limits?.warnings[0]?.message, /Cannot lower the limit of memory to 8.0 MiB: 2\d\.\d MiB are in use/);
    t.equal(told.limits?.inEffect?.memoryBytes, 64 * mib);
    t.equal(rig.cgroup(task.id, 'memory', files.memory), String(64 * mib));
    fs.rmSync(`/proc/${pid}/root/dev/shm/x`);
    const done = await rig.wait(task.id, status => status.limits?.inEffect?.memoryBytes === 8 * mib);
    t.equal(done.pid, pid);
    t.strictSame(codes(done), [], 'told no more');
  });

  await t.test('processors, reserved memory and devices are in the kernel', async t => {
    const device = { path: '/dev/loop0', readBps: 1_000_000, writeBps: 0, readIops: 0, writeIops: 50, weight: 0 };
    const task = makeTask({
      spec: {
        limits: limits({ cpusetCpus: '0', io: { weight: 0, devices: [device] }, memoryBytes: 64 * mib }),
        reservations: limits({ memoryBytes: 16 * mib }),
      },
    });
    t.equal((await rig.run(task)).state, 'running');
    t.equal(rig.cgroup(task.id, 'cpuset', files.cpus), '0');
    t.equal(rig.cgroup(task.id, 'memory', files.soft), String(16 * mib));
    const [file, line] = isV2
      ? ['io.max', '7:0 rbps=1000000 wbps=max riops=max wiops=50']
      : ['blkio.throttle.read_bps_device', '7:0 1000000'];
    t.equal(rig.cgroup(task.id, isV2 ? 'io' : 'blkio', file), line);
    await rig.assign([withLimits(task, { memoryBytes: 64 * mib })]);
    await rig.wait(task.id, status => status.limits?.inEffect?.io === undefined);
    t.equal(rig.cgroup(task.id, isV2 ? 'io' : 'blkio', file), '', 'taken away in place');
    t.not(rig.cgroup(task.id, 'cpuset', files.cpus), '0');
  });

  await t.test('a limit that this kernel does not have is refused with the reason', async t => {
    const asked = limits({ hugepages: { sizes: [{ size: '3MB', bytes: mib }] } });
    const status = await rig.run(makeTask({ spec: { limits: asked } }), 'complete');
    t.match(status, { state: 'rejected', errorCode: 'limit-unsupported', error: /huge pages of 3MB/ });
  });
});

t.test('a task of two containers', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtm', limitsEveryMs: 200 });
  const task = makeTask({ spec: { limits: limits({ memoryBytes: 64 * mib, cpusetCpus: '0' }) } });
  const [main] = task.spec.containers;
  const two: Task = {
    ...task,
    spec: { ...task.spec, containers: [main!, { ...main!, name: 'helper', command: ['sleep', '999'] }] },
  };
  t.equal((await rig.run(two)).state, 'running');
  await rig.assign([withLimits(two, { memoryBytes: 32 * mib, cpusetCpus: '1' })]);
  await rig.wait(two.id, status => status.limits?.inEffect?.memoryBytes === 32 * mib);
  t.equal(rig.cgroup(two.id, 'memory', files.memory), String(32 * mib));
  t.equal(rig.cgroup(two.id, 'cpuset', files.cpus), '1', 'the groups of its containers go along');
});
