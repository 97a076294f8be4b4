/**
 * Monitors that are killed (F1) and process ids that were given to somebody else (F7 of failures.md).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import t from 'tap';
import { openRig, type Rig, whyNotReal } from './fixtures.js';
import { makeTask } from './objects.js';
import { isDead, until } from './waiting.js';

t.setTimeout(120_000);
const skip = whyNotReal();

const pidOf = (rig: Rig, id: string, name: 'conmon.pid' | 'pidfile'): number =>
  Number(fs.readFileSync(`${rig.runDir}/bundles/${id}/0/${name}`, 'utf8'));

/** Ignores SIGTERM until its time is over. */
const slow = ['sh', '-c', 'trap "" TERM PIPE; n=0; while [ $n -lt 30 ]; do n=$((n+1)); sleep 0.02; done'];

/** On a busy machine its program has not come to its sleep yet and might hear the stop signal: it is given its 10 s. */
const graceAndMoreMs = 30_000;

t.test('F1: a monitor is killed', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtm' });

  await t.test('of a running task: told within 2 s, with an exit code that nobody knows', async t => {
    const task = makeTask();
    const { pid = 0 } = await rig.run(task);
    process.kill(pidOf(rig, task.id, 'conmon.pid'), 9);
    const status = await rig.wait(task.id, 'complete');
    t.match(status, { state: 'failed', errorCode: 'monitor-lost', exitCode: undefined });
    t.match(status.error, /its exit code is unknown/);
    t.ok(isDead(pid), 'nothing runs on unseen');
    await rig.assign([], { full: true });
    await until(() => rig.status(task.id) === undefined, graceAndMoreMs);
  });

  await t.test('of a task that is stopping: it ends, and nobody says that it ended well', async t => {
    const task = makeTask({ container: { command: slow } });
    const { pid = 0 } = await rig.run(task);
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    process.kill(pidOf(rig, task.id, 'conmon.pid'), 9);
    const status = await rig.wait(task.id, 'complete');
    t.match(status, { state: 'shutdown', errorCode: 'monitor-lost', exitCode: undefined });
    t.match(status.error, /Cannot tell how it ended/);
    t.ok(isDead(pid));
    await rig.assign([], { full: true });
    await until(() => rig.status(task.id) === undefined, graceAndMoreMs);
  });

  await t.test('and the task is removed at the same moment', async t => {
    const task = makeTask();
    const { pid = 0 } = await rig.run(task);
    process.kill(pidOf(rig, task.id, 'conmon.pid'), 9);
    await rig.assign([], { full: true });
    await until(() => rig.status(task.id) === undefined, graceAndMoreMs);
    t.ok(isDead(pid));
  });

  await t.test('while the daemon is down, and the container with it', async t => {
    const [task, other] = [makeTask(), makeTask()];
    await rig.assign([task, other]);
    await rig.wait(task.id, 'running');
    const { pid = 0 } = await rig.wait(other.id, 'running');
    await rig.drop();
    process.kill(pidOf(rig, task.id, 'conmon.pid'), 9);
    process.kill(pidOf(rig, other.id, 'conmon.pid'), 9);
    process.kill(pid, 9);
    await until(() => isDead(pid));
    await rig.reopen();
    for (const { id } of [task, other]) {
      const status = await rig.wait(id, 'complete');
      t.match(status, { state: 'failed', errorCode: 'monitor-lost', exitCode: undefined });
      t.match(status.error, /its exit code is unknown/);
    }
    await rig.assign([], { full: true });
    await until(() => rig.agent.reports().length === 0);
  });
});

t.test('F7: process ids are given to others', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtp' });
  const strangers: ChildProcess[] = [];
  t.teardown(() => strangers.map(stranger => stranger.kill('SIGKILL')));
  const stranger = (): number => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    strangers.push(child);
    return child.pid ?? 0;
  };

  for (const bootId of [undefined, 'another'] as const) {
    await t.test(`${bootId === undefined ? 'in this boot' : 'by another boot'}: strangers are left alone`, async t => {
      const task = makeTask();
      const { pid = 0 } = await rig.run(task);
      await rig.drop();
      process.kill(pidOf(rig, task.id, 'conmon.pid'), 9);
      process.kill(pid, 9);
      await until(() => isDead(pid));
      const [one, two] = [stranger(), stranger()];
      fs.writeFileSync(`${rig.runDir}/bundles/${task.id}/0/pidfile`, `${one}`);
      fs.writeFileSync(`${rig.runDir}/bundles/${task.id}/0/conmon.pid`, `${two}`);
      await rig.reopen(bootId === undefined ? {} : { bootId });
      const errorCode = bootId === undefined ? 'monitor-lost' : 'node-rebooted';
      t.match(await rig.wait(task.id, 'complete'), { state: 'failed', errorCode });
      await rig.assign([{ ...task, desired: 'shutdown' }]);
      await rig.assign([], { full: true });
      await until(() => rig.status(task.id) === undefined);
      t.notOk(isDead(one) || isDead(two), 'both strangers live');
    });
  }

  await t.test('while the daemon runs: a container that became a zombie is dead, whoever reaps it', async t => {
    const task = makeTask();
    const { pid = 0 } = await rig.run(task);
    const monitor = pidOf(rig, task.id, 'conmon.pid');
    process.kill(monitor, 'SIGSTOP'); // it reaps nobody
    process.kill(pid, 9);
    await until(() => /^State:\s*Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8')));
    process.kill(monitor, 9);
    t.match(await rig.wait(task.id, 'complete'), { state: 'failed', errorCode: 'monitor-lost' });
    await rig.assign([], { full: true });
    await until(() => rig.status(task.id) === undefined, graceAndMoreMs);
  });
});
