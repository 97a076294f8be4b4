/**
 * Helpers that die or hang: what holds which descriptor, and who is asked at all (F9 and F15 of failures.md).
 */
import * as fs from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { openImageStore } from '../../src/tasks/image/index.js';
import { whyNotReal } from './fixtures.js';
import { bytesOf, plainStart, silentLog, unpackCommand } from './image/test-store.js';
import { until } from './waiting.js';
import { fullSet, processesOf, wholeTask } from './whole.js';
import { openStage } from './whole-stage.js';

t.setTimeout(120_000);
const skip = whyNotReal();

/** Descriptors of network namespaces that a process holds. */
function namespacesHeld(pid: number | 'self'): readonly string[] {
  return fs.readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      const target = fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
      return target.startsWith('net:[') ? [target] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}

t.test('F9: a system bus that never answers', { skip }, async t => {
  await using stage = await openStage(t, 'cvsd');
  const socket = join(stage.place.directory, 'bus');
  let asked = 0;
  const bus = net.createServer(() => {
    asked += 1; // and no word
  });
  await new Promise<void>(resolve => bus.listen(socket, resolve));
  t.teardown(() => bus.close());
  const names = ['DBUS_SYSTEM_BUS_ADDRESS', 'DBUS_SESSION_BUS_ADDRESS'];
  for (const name of names) process.env[name] = `unix:path=${socket}`;
  t.teardown(() => {
    for (const name of names) delete process.env[name];
  });
  const whole = await stage.open();
  const task = wholeTask();
  const began = performance.now();
  await whole.agent.assign(fullSet([task]));
  t.equal((await stage.wait(task.id, 'running', 'failed', 'rejected')).status.state, 'running');
  t.comment(`runs after ${Math.round(performance.now() - began)} ms`);
  const monitor = processesOf(stage.place).find(command => /^\S*conmon /.test(command)) ?? '';
  t.match(monitor, /--cgroup-manager=cgroupfs|\/runc /, 'groups are made as directories');
  t.notMatch(monitor, /systemd/);
  t.strictSame(await stage.clear(), []);
  t.equal(asked, 0, 'nobody asked the bus');
});

t.test('F15: helpers die', { skip }, async t => {
  await using stage = await openStage(t, 'cvsh');
  const whole = await stage.open();

  await t.test('the child that unpacks: a clean error, nothing half made, and the next import works', async t => {
    const archive = fs.readFileSync(join(stage.place.directory, 'hello.tar'));
    const directory = join(stage.place.directory, 'other-images');
    const store = await openImageStore({ directory, host: killingHost(), log: silentLog, unpackCommand });
    for (const ms of [0, 5, 20, 40, 60, 80]) {
      killAfterMs = ms;
      const importing = (async () => {
        for await (const _ of store.importImage(
          { ...plainStart, name: 'h:1' },
          bytesOf(archive),
          AbortSignal.timeout(20_000),
        ));
      })();
      const error = await importing.then(
        () => undefined,
        reason => reason,
      );
      if (error !== undefined) t.match(String(error), /Cannot /, `killed after ${ms} ms: ${error}`);
      t.strictSame(fs.readdirSync(join(directory, 'tmp')), [], 'nothing half made');
    }
    killAfterMs = undefined;
    for await (const _ of store.importImage(
      { ...plainStart, name: 'h:1' },
      bytesOf(archive),
      AbortSignal.timeout(20_000),
    ));
    t.equal(store.list().length, 1);
  });

  await t.test('no descriptor of a namespace is left behind, or given to anybody', async t => {
    const round = async (): Promise<void> => {
      const tasks = Array.from({ length: 5 }, (_, at) => {
        const task = wholeTask();
        const endpoints = task.endpoints.map(one => ({ ...one, addresses: [`10.0.1.${20 + at}`] }));
        return { ...task, endpoints };
      });
      await whole.agent.assign(fullSet(tasks));
      for (const { id } of tasks) await stage.wait(id, 'running');
      for (const command of fs.globSync('/proc/[0-9]*/cmdline')) {
        const pid = Number(command.split('/')[2]);
        const line = linuxHost.files.findTextSync(command) ?? '';
        if (line.includes(`\0${stage.place.prefix}-`)) t.strictSame(namespacesHeld(pid), [], line);
      }
      t.strictSame(await stage.clear(), []);
    };
    await round();
    const before = [namespacesHeld('self').length, fs.readdirSync('/proc/self/fd').length];
    for (let count = 0; count < 3; count += 1) await round();
    await until(() => fs.readdirSync('/proc/self/fd').length <= (before[1] ?? 0));
    t.equal(namespacesHeld('self').length, before[0]);
  });
});

let killAfterMs: number | undefined;

/** Ends each child that is spawned, so many milliseconds later. */
function killingHost(): typeof linuxHost {
  return {
    ...linuxHost,
    processes: {
      ...linuxHost.processes,
      spawn: async (argv, options) => {
        const child = await linuxHost.processes.spawn(argv, options);
        if (killAfterMs !== undefined) setTimeout(() => linuxHost.processes.kill(child.pid, 9), killAfterMs);
        return child;
      },
    },
  };
}
