import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { BulkFrame } from '../../src/gen/types.js';
import { startContainer } from '../../src/tasks/runtime/crun.js';
import { makeTask, openRig, type Rig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();

function monitorPid(rig: Rig, id: string): number {
  return Number(fs.readFileSync(`${rig.runDir}/bundles/${id}/0/conmon.pid`, 'utf8'));
}

async function until(look: () => boolean): Promise<void> {
  const endMs = Date.now() + 10_000;
  while (!look()) {
    if (Date.now() > endMs) throw new Error('it never came to be so');
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

t.test('while the daemon is away', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtd' });

  await t.test('a running task is adopted: same process, its end is seen', async t => {
    const task = makeTask({ container: { command: ['sh', '-c', 'echo one; sleep 0.6; echo two; exit 5'] } });
    const before = await rig.run(task);
    await rig.reopen();
    t.match(rig.status(task.id), { state: 'running', pid: before.pid });
    const after = await rig.wait(task.id, 'complete');
    t.match(after, { state: 'failed', exitCode: 5 });
    t.equal(await rig.logs(task.id), 'one\ntwo\n', 'its log went on');
  });

  await t.test('a task that ended meanwhile ends with its exit code', async t => {
    const task = makeTask({ container: { command: ['sh', '-c', 'sleep 0.2; exit 4'] } });
    await rig.run(task);
    await rig.drop();
    await until(() => fs.existsSync(`${rig.runDir}/exits/${rig.prefix}-${task.id}-0`));
    await rig.reopen();
    t.match(await rig.wait(task.id, 'complete'), { state: 'failed', exitCode: 4, errorCode: 'container-exit' });
  });

  await t.test('a task that ended before is told again, and nothing of it is made again', async t => {
    const task = makeTask({ container: { command: ['true'] } });
    await rig.run(task, 'complete');
    await rig.reopen();
    t.match(rig.status(task.id), { state: 'complete', exitCode: 0 });
    t.notOk(fs.existsSync(`${rig.runDir}/bundles/${task.id}`));
  });

  await t.test('a task whose monitor died too is ended as monitor-lost', async t => {
    const task = makeTask();
    const { pid } = await rig.run(task);
    await rig.drop();
    const monitor = monitorPid(rig, task.id);
    process.kill(monitor, 9);
    await until(() => !isRunning(monitor));
    await rig.reopen();
    t.match(await rig.wait(task.id, 'complete'), { state: 'failed', errorCode: 'monitor-lost' });
    t.notOk(isRunning(pid), 'its process is gone');
  });

  await t.test('a container that was made and lost its monitor is made anew, once', async t => {
    const task = makeTask({ task: { desired: 'ready' } });
    await rig.run(task, 'ready');
    await rig.drop();
    const monitor = monitorPid(rig, task.id);
    process.kill(monitor, 9);
    const made = Number(fs.readFileSync(`${rig.runDir}/bundles/${task.id}/0/pidfile`, 'utf8'));
    await until(() => !isRunning(monitor));
    await rig.reopen();
    await rig.wait(task.id, 'ready');
    t.notOk(isRunning(made), 'the first one is gone');
    t.equal((await rig.run({ ...task, desired: 'running' })).state, 'running');
    t.equal(containersOf(rig, task.id).length, 1);
  });

  await t.test('a container that was made and still has its monitor is started, not made again', async t => {
    const task = makeTask({ task: { desired: 'ready' } });
    await rig.run(task, 'ready');
    const made = Number(fs.readFileSync(`${rig.runDir}/bundles/${task.id}/0/pidfile`, 'utf8'));
    await rig.reopen();
    t.equal((await rig.run({ ...task, desired: 'running' })).pid, made);
  });

  await t.test('a container that was let go just before the daemon died is not started twice', async t => {
    const task = makeTask({
      task: { desired: 'ready' },
      container: { command: ['sh', '-c', 'echo once; sleep 1000'] },
    });
    await rig.run(task, 'ready');
    await rig.drop();
    const { linuxHost } = await import('../../src/host-linux/index.js');
    const root = `${rig.runDir}/runtime/${rig.runtime.name}`;
    const containerId = `${rig.prefix}-${task.id}-0`;
    await startContainer(
      linuxHost,
      { runtime: rig.runtime, root },
      { containerId, signal: AbortSignal.timeout(5_000) },
    );
    await rig.reopen();
    t.equal((await rig.run({ ...task, desired: 'running' })).state, 'running');
    await until(() => fs.readFileSync(`${rig.dataDir}/tasks/${task.id}/0.log`, 'utf8').includes('once'));
    t.equal(await rig.logs(task.id), 'once\n');
  });

  await t.test('a monitor that the daemon had just started is ended before it makes a container', async t => {
    const task = makeTask({ task: { desired: 'ready' } });
    await rig.run(task, 'ready');
    await rig.drop();
    const argv = fs
      .readFileSync(`/proc/${monitorPid(rig, task.id)}/cmdline`, 'utf8')
      .split('\0')
      .slice(1, -1);
    const stray = spawn(rig.runtime.conmonPath, argv, {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      env: { _OCI_STARTPIPE: '4', _OCI_SYNCPIPE: '3' },
    });
    const ended = once(stray, 'exit');
    await rig.reopen();
    await ended;
    t.equal(stray.signalCode, 'SIGKILL');
    t.equal((await rig.run({ ...task, desired: 'running' })).state, 'running', 'the right one was left alone');
  });

  await t.test('a program that was run inside is ended with the daemon that ran it', async t => {
    const task = makeTask();
    await rig.run(task);
    const start = {
      taskId: task.id,
      container: '',
      args: ['sleep', '4321'],
      env: [],
      workingDir: '',
      user: '',
      tty: false,
      stdin: false,
      detach: false,
    };
    const never = new AbortController();
    const output = rig.agent.exec(openChannel<BulkFrame>(1), start, never.signal)[Symbol.asyncIterator]();
    const reading = output.next();
    const sleepers = (): number =>
      fs.globSync('/proc/[0-9]*/cmdline').filter(path => textOf(path) === 'sleep\x004321\0').length;
    await until(() => sleepers() === 1);
    await rig.reopen();
    await until(() => sleepers() === 0);
    await reading;
    await output.return?.();
    t.equal(rig.status(task.id)?.state, 'running');
  });

  await t.test('after a reboot what ran has failed, what waited is made', async t => {
    const ran = makeTask();
    await rig.run(ran);
    const pid = rig.status(ran.id)?.pid;
    await rig.reopen({ bootId: 'another' });
    t.match(await rig.wait(ran.id, 'complete'), { state: 'failed', errorCode: 'node-rebooted' });
    t.notOk(isRunning(pid));
    await rig.reopen();
  });

  await t.test('what no task owns is swept', async t => {
    const task = makeTask();
    const { pid } = await rig.run(task);
    await rig.drop();
    fs.rmSync(`${rig.dataDir}/tasks/${task.id}/task.json`);
    await rig.reopen();
    t.equal(rig.status(task.id), undefined);
    t.notOk(isRunning(pid), 'its process is gone');
    t.strictSame(fs.globSync(`${rig.directory}/**/${task.id}`), [], 'no directory bears its id');
    t.strictSame(await rig.agent.sweep(), [], 'a second sweep finds nothing');
  });
});

t.test('while the daemon runs', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvte' });

  await t.test('the loss of a monitor is noticed and ends the task', async t => {
    const task = makeTask();
    const { pid } = await rig.run(task);
    process.kill(monitorPid(rig, task.id), 9);
    t.match(await rig.wait(task.id, 'complete'), { state: 'failed', errorCode: 'monitor-lost', exitCode: undefined });
    t.notOk(isRunning(pid));
  });

  await t.test('a task that is not named in a full assignment is stopped and forgotten', async t => {
    const [kept, dropped] = [makeTask(), makeTask()];
    await rig.assign([kept, dropped]);
    await Promise.all([rig.wait(kept.id, 'running'), rig.wait(dropped.id, 'running')]);
    await rig.assign([kept], { full: true });
    await until(() => rig.status(dropped.id) === undefined);
    t.equal(rig.status(kept.id)?.state, 'running');
    t.notOk(fs.existsSync(`${rig.dataDir}/tasks/${dropped.id}`));
  });

  await t.test('a task that is not wanted any more while it is made is undone', async t => {
    const tasks = Array.from({ length: 8 }, () => makeTask());
    await rig.assign(tasks);
    await rig.assign(tasks.map(task => ({ ...task, desired: 'shutdown' as const })));
    for (const task of tasks) t.equal((await rig.wait(task.id, 'complete')).state, 'shutdown', task.id);
    t.strictSame(
      fs
        .readdirSync(`${rig.runDir}/runtime/${rig.runtime.name}`)
        .filter(name => tasks.some(({ id }) => name.includes(id))),
      [],
    );
  });
});

function textOf(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

function isRunning(pid: number | undefined): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false; // no such process
  }
}

function containersOf(rig: Rig, id: string): readonly string[] {
  return fs.readdirSync(`${rig.runDir}/runtime/${rig.runtime.name}`).filter(name => name.includes(id));
}
