import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { BulkFrame, ExecStart, Task } from '../../src/gen/types.js';
import { asId, type SecretId } from '../../src/ids.js';
import { collect, makeTask, openRig, type Rig, textOf, whyNotReal } from './fixtures.js';
import { untilTrapped } from './traps.js';

const skip = whyNotReal();
const limit = (): AbortSignal => AbortSignal.timeout(20_000);

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 15_000;
  while (!(await look())) {
    if (Date.now() > endMs) throw new Error('it never came to be so');
    await sleep(10);
  }
}

function execOf(task: Task, start: Partial<ExecStart>): ExecStart {
  return {
    taskId: task.id,
    container: '',
    args: [],
    env: [],
    workingDir: '',
    user: '',
    tty: false,
    stdin: false,
    detach: false,
    ...start,
  };
}

async function exec(
  rig: Rig,
  start: ExecStart,
  input?: string,
): Promise<{ out: string; err: string; code: number | undefined; frames: readonly BulkFrame[] }> {
  const frames = openChannel<BulkFrame>(16);
  if (input !== undefined) {
    frames.push({ body: { kind: 'data', stream: 'stdin', data: Buffer.from(input), eof: true, atMs: 0 } });
  }
  const answer = await collect(rig.agent.exec(frames, start, limit()));
  const last = answer.at(-1)?.body;
  frames.close();
  return {
    out: textOf(answer, 'stdout'),
    err: textOf(answer, 'stderr'),
    code: last?.kind === 'end' ? last.exitCode : undefined,
    frames: answer,
  };
}

t.test('stopping', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvts' });
  const stopTimes = [
    { name: 'a process without a handler is killed at once', container: { command: ['sleep', '1000'] }, exitCode: 137 },
    {
      name: 'a shell with a trap gets its time',
      container: { command: ['sh', '-c', 'trap "exit 7" TERM; while true; do sleep 0.05; done'] },
      exitCode: 7,
    },
    {
      name: 'its own stop signal is used',
      container: { stopSignal: 'USR1', command: ['sh', '-c', 'trap "exit 8" USR1; while true; do sleep 0.05; done'] },
      exitCode: 8,
    },
    {
      name: 'an init that waits for signals passes them on',
      container: { init: true, command: ['sh', '-c', 'trap "exit 9" TERM; while true; do sleep 0.05; done'] },
      exitCode: 9,
    },
    {
      name: 'who ignores the signal is killed after the grace',
      container: { stopGraceMs: 300, command: ['sh', '-c', 'trap "" TERM; while true; do sleep 0.05; done'] },
      exitCode: 137,
      leastMs: 300,
    },
  ];
  for (const { name, container, exitCode, leastMs } of stopTimes) {
    const noInit =
      container.init === true && rig.runtime.conmonPath !== '' && !fs.existsSync('/usr/bin/tini-static')
        ? 'needs tini-static'
        : false;
    await t.test(name, { skip: noInit }, async t => {
      const task = makeTask({ container });
      const { pid } = await rig.run(task);
      if (container.command[0] === 'sh') await untilTrapped(pid, container.stopSignal ? 'SIGUSR1' : 'SIGTERM');
      const began = Date.now();
      await rig.assign([{ ...task, desired: 'shutdown' }]);
      t.match(await rig.wait(task.id, 'complete'), { state: 'shutdown', exitCode, errorCode: '' });
      t.ok(Date.now() - began >= (leastMs ?? 0), `not before ${leastMs}`);
    });
  }
});

t.test('health', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvth' });
  const check = (test: readonly string[], more = {}) => ({
    test,
    intervalMs: 200,
    timeoutMs: 300,
    startPeriodMs: 0,
    startIntervalMs: 100,
    retries: 2,
    ...more,
  });

  await t.test('a task runs once its check succeeds', async t => {
    const task = makeTask({
      container: {
        command: ['sh', '-c', 'sleep 0.4; touch /tmp/up; sleep 1000'],
        healthcheck: check(['CMD', 'test', '-e', '/tmp/up'], { retries: 9 }),
      },
    });
    t.equal((await rig.run(task, 'starting')).state, 'starting');
    t.match(await rig.wait(task.id, status => status.health !== ''), { state: 'starting', health: 'starting' });
    t.match(await rig.wait(task.id, 'running'), { state: 'running', health: 'healthy' });
  });

  await t.test('a task whose check fails too often ends as unhealthy, with what the check said', async t => {
    const task = makeTask({ container: { healthcheck: check(['CMD-SHELL', 'echo no luck; exit 1']) } });
    const status = await rig.run(task, 'complete');
    t.match(status, { state: 'failed', errorCode: 'unhealthy' });
    t.match(status.error, /no luck/);
  });

  await t.test('a check that hangs is killed with its children and counts as failed', async t => {
    const task = makeTask({
      container: { healthcheck: check(['CMD-SHELL', 'sleep 77 & sleep 78'], { retries: 100 }) },
    });
    await rig.run(task, 'starting');
    await sleep(900);
    const members = fs.globSync('/proc/[0-9]*/cmdline').filter(path => {
      try {
        return /^sleep\0(77|78)\0/.test(fs.readFileSync(path, 'utf8'));
      } catch {
        return false; // it ended meanwhile
      }
    });
    t.ok(members.length <= 2, `${members.length} left of several checks`);
    t.equal(rig.status(task.id)?.state, 'starting');
    const files = fs
      .readdirSync(`${rig.runDir}/bundles/${task.id}/0`)
      .filter(name => name.startsWith('health-process'));
    t.ok(files.length <= 2, 'no files pile up');
  });
});

t.test('logs', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtl' });

  await t.test('both streams, tail, and following to the end', async t => {
    const task = makeTask({
      container: {
        command: ['sh', '-c', 'for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done; sleep 0.5; echo last'],
      },
    });
    await rig.run(task);
    const start = { taskId: task.id, container: '', follow: true, tail: -1, sinceMs: 0, untilMs: 0 };
    const frames = await collect(rig.agent.logs(start, limit()));
    t.equal(textOf(frames, 'stdout'), 'out 1\nout 2\nout 3\nout 4\nout 5\nlast\n');
    t.equal(textOf(frames, 'stderr'), 'err 1\nerr 2\nerr 3\nerr 4\nerr 5\n');
    t.equal(await rig.logs(task.id, { tail: 1 }), 'last\n');
    t.equal((await rig.logs(task.id, { tail: 4 })).split('\n').length, 5);
    t.equal(await rig.logs(task.id, { tail: 0 }), '');
    const first = frames[0]?.body;
    t.ok(first?.kind === 'data' && Math.abs(first.atMs - Date.now()) < 600_000, 'lines have the time of their writing');
    const since = await collect(rig.agent.logs({ ...start, follow: false, sinceMs: Date.now() + 1_000 }, limit()));
    t.equal(textOf(since), '');
  });

  await t.test('a log is rotated at its cap without losing a line, under a follower', async t => {
    const line = 'x'.repeat(4_000);
    const script = `yes ${line} | head -n 3000; sleep 2.5; yes ${line} | head -n 500; echo end`;
    const task = makeTask({ container: { command: ['sh', '-c', script] } });
    await rig.run(task);
    let seen = 0;
    let text = '';
    for await (const { body } of rig.agent.logs(
      { taskId: task.id, container: '', follow: true, tail: -1, sinceMs: 0, untilMs: 0 },
      limit(),
    )) {
      if (body.kind !== 'data') continue;
      seen += 1;
      text = Buffer.from(body.data).toString('utf8');
    }
    t.equal(text, 'end\n');
    t.equal(seen, 3_501);
    t.ok(fs.existsSync(`${rig.dataDir}/tasks/${task.id}/0.log.1`), 'it was rotated');
  });
});

t.test('exec', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtx' });
  const task = makeTask({ container: { env: ['COLOUR=blue'], command: ['sleep', '1000'] } });
  await rig.run(task);

  await t.test('output, error output and exit code come apart', async t => {
    const { out, err, code } = await exec(
      rig,
      execOf(task, {
        args: ['sh', '-c', 'echo $COLOUR $EXTRA; pwd; echo bad >&2; exit 6'],
        env: ['EXTRA=1'],
        workingDir: '/tmp',
      }),
    );
    t.equal(out, 'blue 1\n/tmp\n');
    t.equal(err, 'bad\n');
    t.equal(code, 6);
  });

  await t.test('it runs as the user that was asked for, with no capabilities', async t => {
    const { out } = await exec(
      rig,
      execOf(task, {
        args: ['sh', '-c', 'id -u; id -g; grep CapEff /proc/self/status; grep ^Seccomp: /proc/self/status'],
        user: 'web',
      }),
    );
    t.match(out, /^33\n34\nCapEff:\t0+\nSeccomp:\t2/);
  });

  await t.test('input is passed on, to its end', async t => {
    const { out, code } = await exec(rig, execOf(task, { args: ['wc', '-c'], stdin: true }), 'x'.repeat(100_000));
    t.equal(out.trim(), '100000');
    t.equal(code, 0);
  });

  await t.test('a program that is not there is told as such', async t => {
    const { code, frames } = await exec(rig, execOf(task, { args: ['nope'] }));
    const last = frames.at(-1)?.body;
    t.equal(code, 127);
    t.match(last, { kind: 'end', problem: { code: 'exec-failed' } });
  });

  await t.test('a cancelled program is killed with its children', async t => {
    const ending = new AbortController();
    const frames = openChannel<BulkFrame>(4);
    const running = collect(
      rig.agent.exec(frames, execOf(task, { args: ['sh', '-c', 'sleep 555 & sleep 556'] }), ending.signal),
    );
    const sleepers = (): number =>
      fs.globSync('/proc/[0-9]*/cmdline').filter(path => {
        try {
          return /^sleep\0(555|556)\0/.test(fs.readFileSync(path, 'utf8'));
        } catch {
          return false; // it ended meanwhile
        }
      }).length;
    await until(() => sleepers() === 2);
    ending.abort();
    await running;
    await until(() => sleepers() === 0);
    t.pass('both are gone');
    t.strictSame(
      fs.readdirSync(`${rig.runDir}/bundles/${task.id}/0`).filter(name => name.startsWith('exec-')),
      [],
    );
  });

  await t.test('a reader that does not read slows the program, not the daemon', async t => {
    const frames = openChannel<BulkFrame>(4);
    const ending = new AbortController();
    const output = rig.agent.exec(frames, execOf(task, { args: ['yes'] }), ending.signal)[Symbol.asyncIterator]();
    await output.next();
    await sleep(300);
    const before = process.memoryUsage().rss;
    await sleep(300);
    t.ok(process.memoryUsage().rss - before < 20 * 2 ** 20, 'memory does not grow');
    ending.abort();
    await output.return?.();
  });

  await t.test('a terminal has a size, takes a new one, and tells the exit code', async t => {
    const frames = openChannel<BulkFrame>(16);
    const output = rig.agent.exec(
      frames,
      execOf(task, { args: ['sh'], tty: true, stdin: true, size: { rows: 30, columns: 100 } }),
      limit(),
    );
    let text = '';
    let code: number | undefined;
    const type = (line: string): boolean =>
      frames.push({ body: { kind: 'data', stream: 'stdin', data: Buffer.from(line), eof: false, atMs: 0 } });
    const reading = (async () => {
      for await (const { body } of output) {
        if (body.kind === 'data') text += Buffer.from(body.data).toString('utf8');
        if (body.kind === 'end') code = body.exitCode;
      }
    })();
    type('stty size; echo got-$((6*7))\n');
    await until(() => text.includes('got-42'));
    t.match(text, /30 100/);
    frames.push({ body: { kind: 'resize', rows: 40, columns: 120 } });
    await until(async () => {
      type('stty size\n');
      await sleep(50);
      return text.includes('40 120');
    });
    type('exit 7\n');
    await reading;
    t.equal(code, 7);
  });

  await t.test('a task that does not run refuses', async t => {
    const ended = makeTask({ container: { command: ['true'] } });
    await rig.run(ended, 'complete');
    await t.rejects(exec(rig, execOf(ended, { args: ['true'] })), { code: 'task-ended' });
  });
});

t.test('secrets', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtk' });
  const id = asId<SecretId>('k'.repeat(25));
  const secret = {
    id,
    meta: { version: 1, createdAtMs: 0, updatedAtMs: 0, owner: 'uid:0' },
    spec: { name: 'db-password', labels: {}, stack: '' },
    data: Buffer.from('tr0ub4dor'),
    digest: new Uint8Array(),
  };
  const task = makeTask({
    container: {
      user: 'web',
      command: ['sh', '-c', 'cat /run/secrets/pw; echo; stat -c "%a %u %g" /run/secrets/pw; sleep 1000'],
      secrets: [{ source: id, target: 'pw', uid: 33, gid: 34, mode: 0o400 }],
    },
  });

  await t.test('a task waits for its secret, then shows it as a file of its owner', async t => {
    await rig.assign([task]);
    await rig.wait(task.id, status => status.message.includes('waits for secret'));
    await rig.agent.assign({
      term: 1,
      sequence: 2,
      full: false,
      tasks: [task],
      removedTasks: [],
      secrets: [secret],
      configs: [],
    });
    await rig.wait(task.id, 'running');
    await until(async () => (await rig.logs(task.id)).split('\n').length > 2);
    t.equal(await rig.logs(task.id), 'tr0ub4dor\n400 33 34\n');
  });

  await t.test('its content is in memory only, and gone with the task', async t => {
    const files = fs
      .globSync(`${rig.directory}/**`, { withFileTypes: true })
      .filter(entry => entry.isFile() && !entry.parentPath.includes('/master'));
    const device = fs.statSync(`${rig.runDir}/secrets`).dev;
    const holders = files
      .map(entry => `${entry.parentPath}/${entry.name}`)
      .filter(path => {
        try {
          return (
            fs.statSync(path).size < 100_000 &&
            fs.readFileSync(path, 'utf8').includes('tr0ub4dor') &&
            !path.endsWith('.log')
          );
        } catch {
          return false; // a FIFO, or gone
        }
      });
    t.equal(holders.length, 1);
    t.equal(fs.statSync(holders[0]!).dev, device);
    t.not(device, fs.statSync(rig.runDir).dev, 'on a tmpfs of its own');
    await rig.reopen();
    t.equal(rig.status(task.id)?.state, 'running', 'it runs on without the managers');
    await rig.assign([], { removed: [task.id] });
    await until(() => rig.status(task.id) === undefined);
    t.strictSame(fs.readdirSync(`${rig.runDir}/secrets`), []);
  });
});

t.test('several containers of one task', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtm' });
  const task = makeTask({
    container: { name: 'main', command: ['sh', '-c', 'sleep 0.5; exit 2'] },
    more: [{ name: 'side', command: ['sh', '-c', 'echo beside; ip link | grep -c lo:; sleep 1000'] }],
    spec: { limits: { cpuNanos: 0, memoryBytes: 64 * 2 ** 20, pids: 50 } },
  });
  await rig.run(task);
  t.equal(rig.cgroup(task.id, 'pids', 'pids.max'), '50', 'the limits are those of the task');
  const namespaces = [0, 1].map(index =>
    fs.readlinkSync(
      `/proc/${fs.readFileSync(`${rig.runDir}/bundles/${task.id}/${index}/pidfile`, 'utf8').trim()}/ns/net`,
    ),
  );
  t.equal(namespaces[0], namespaces[1], 'they share the network namespace');
  await until(async () => (await rig.logs(task.id, { container: 'side' })).includes('beside'));
  t.match(
    await rig.wait(task.id, 'complete'),
    { state: 'failed', exitCode: 2 },
    'the end of the main one is the end of the task',
  );
});
