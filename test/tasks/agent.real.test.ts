import * as fs from 'node:fs';
import t from 'tap';
import { makeMount, makeTask, openRig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();

t.test('the life of a task', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvta' });

  await t.test('a task runs, is limited, is stopped and leaves nothing', async t => {
    const task = makeTask({
      spec: {
        limits: { cpuNanos: 5e8, memoryBytes: 32 * 2 ** 20, pids: 20 },
        reservations: { cpuNanos: 25e7, memoryBytes: 0, pids: 0 },
      },
    });
    const began = performance.now();
    const status = await rig.run(task);
    t.comment(`running after ${(performance.now() - began).toFixed(1)} ms`);
    t.equal(status.state, 'running', status.error);
    t.ok(status.pid !== undefined && fs.existsSync(`/proc/${status.pid}`), 'the pid of the host is told');
    t.equal(rig.cgroup(task.id, 'pids', 'pids.max'), '20');
    const stopped = performance.now();
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    const end = await rig.wait(task.id, 'complete');
    t.comment(`stopped after ${(performance.now() - stopped).toFixed(1)} ms`);
    t.equal(end.state, 'shutdown');
    t.equal(end.exitCode, 137, 'sleep has no handler: it is killed at once');
    t.ok(performance.now() - stopped < 5_000, 'nobody waits for the grace of a process that hears nothing');
    await rig.assign([], { removed: [task.id] });
    while (rig.status(task.id) !== undefined) await new Promise(resolve => setTimeout(resolve, 5));
    t.notOk(fs.existsSync(`${rig.dataDir}/tasks/${task.id}`));
  });

  const ends = [
    { name: 'exit 0 is complete', command: ['sh', '-c', 'exit 0'], state: 'complete', exitCode: 0, errorCode: '' },
    {
      name: 'exit 3 is failed',
      command: ['sh', '-c', 'exit 3'],
      state: 'failed',
      exitCode: 3,
      errorCode: 'container-exit',
    },
    {
      name: 'a signal is 128 + n',
      command: ['sh', '-c', 'kill -SEGV $$; sleep 1; exit 139'],
      state: 'failed',
      exitCode: 139,
      errorCode: 'container-exit',
    },
  ];
  for (const { name, command, state, exitCode, errorCode } of ends) {
    await t.test(name, async t => {
      const status = await rig.run(makeTask({ container: { command } }), 'complete');
      t.match(status, { state, exitCode, errorCode });
    });
  }

  const refusals = [
    { name: 'an unknown image', container: { image: 'other:1' }, errorCode: 'image-not-found' },
    { name: 'a command that is not there', container: { command: ['nope'] }, errorCode: 'command-not-found' },
    { name: 'a command that is no program', container: { command: ['/etc/script'] }, errorCode: 'command-not-found' },
    { name: 'an unknown user', container: { user: 'nobody-here' }, errorCode: 'user-not-found' },
    {
      name: 'a mount source that is not there',
      container: {
        mounts: [makeMount('bind', '/nope/nope', '/x')],
      },
      errorCode: 'mount-source',
    },
    { name: 'a capability that does not exist', container: { capAdd: ['FLY'] }, errorCode: 'bad-bundle' },
    { name: 'a directory in /proc', container: { workingDir: '/proc/self/fd/7' }, errorCode: 'bad-bundle' },
  ];
  for (const { name, container, errorCode } of refusals) {
    await t.test(`${name} is rejected with its reason`, async t => {
      const status = await rig.run(makeTask({ container }), 'complete');
      t.equal(status.state, 'rejected');
      t.equal(status.errorCode, errorCode, status.error);
    });
  }

  await t.test('a task at its memory limit is told apart from others that fail', async t => {
    const command = ['dd', 'if=/dev/zero', 'of=/dev/shm/x', 'bs=1M', 'count=60'];
    const memory = { cpuNanos: 0, memoryBytes: 16 * 2 ** 20, pids: 0 };
    const status = await rig.run(makeTask({ container: { command }, spec: { limits: memory } }), 'complete');
    t.match(status, { state: 'failed', errorCode: 'out-of-memory', exitCode: 137, outOfMemory: true });
    t.match(status.error, /killed for memory at its limit of 16 MiB/);
    t.notOk(fs.existsSync('oom'), 'the monitor leaves nothing where the daemon was started');
  });
});
