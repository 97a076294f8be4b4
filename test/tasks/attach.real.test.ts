import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type Channel, openChannel } from '../../src/channel.js';
import type { BulkFrame, Task } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { makeTask, openRig, type Rig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();
const limit = (): AbortSignal => AbortSignal.timeout(30_000);

async function until(look: () => boolean): Promise<void> {
  const endMs = Date.now() + 15_000;
  while (!look()) {
    if (Date.now() > endMs) throw new Error('it never came to be so');
    await sleep(10);
  }
}

const stdin = (text: string): BulkFrame => ({
  body: { kind: 'data', stream: 'stdin', data: Buffer.from(text), eof: false, atMs: 0 },
});

interface Attached {
  readonly frames: Channel<BulkFrame>;
  readonly text: () => string;
  readonly end: Promise<BulkFrame['body'] | undefined>;
}

function attach(rig: Rig, task: Task, size?: { rows: number; columns: number }): Attached {
  const frames = openChannel<BulkFrame>(64);
  let text = '';
  const read = async (): Promise<BulkFrame['body'] | undefined> => {
    const start = { taskId: task.id, container: '', stdin: true, size };
    for await (const { body } of rig.agent.attach(frames, start, limit())) {
      if (body.kind === 'data') text += Buffer.from(body.data).toString();
      if (body.kind === 'end') return body;
    }
    return undefined;
  };
  return { frames, text: () => text, end: read() };
}

t.test('attach', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvat' });

  await t.test('input goes in, output comes out, and the exit code at the end', async t => {
    const task = makeTask({
      container: {
        stdin: true,
        command: ['sh', '-c', 'while read line; do echo "got $line"; [ "$line" = end ] && exit 5; done'],
      },
    });
    await rig.run(task);
    const one = attach(rig, task);
    one.frames.push(stdin('hello\n'));
    await until(() => one.text() === 'got hello\n');
    one.frames.push({ body: { kind: 'detach' } });
    t.match(await one.end, { kind: 'end', exitCode: undefined }, 'who leaves is let go');
    t.equal(rig.status(task.id)?.state, 'running', 'and the task runs on');
    const two = attach(rig, task);
    two.frames.push(stdin('x'.repeat(3_000)));
    two.frames.push(stdin(`${'y'.repeat(3_000)}\nend\n`));
    t.match(await two.end, { kind: 'end', exitCode: 5 });
    t.equal(two.text(), `got ${'x'.repeat(3_000)}${'y'.repeat(3_000)}\ngot end\n`, 'from the moment of joining on');
  });

  await t.test('a program with a terminal finds 24 rows of 80 columns with its first look', async t => {
    const task = makeTask({ container: { tty: true, command: ['sh', '-c', 'stty size; sleep 1000'] } });
    await rig.run(task);
    await until(() => fs.readFileSync(`${rig.dataDir}/tasks/${task.id}/0.log`, 'utf8').includes('stdout'));
    t.match(await rig.logs(task.id), '24 80');
  });

  await t.test('a terminal has its size, and the bytes are those of the terminal', async t => {
    const task = makeTask({ container: { stdin: true, tty: true, command: ['sh'] } });
    await rig.run(task);
    const one = attach(rig, task, { rows: 33, columns: 99 });
    one.frames.push(stdin('stty size\n'));
    await until(() => one.text().includes('33 99\r\n'));
    one.frames.push({ body: { kind: 'resize', rows: 40, columns: 120 } });
    await until(() => {
      one.frames.push(stdin('stty size\n'));
      return one.text().includes('40 120');
    });
    one.frames.push(stdin('exit 3\n'));
    t.match(await one.end, { exitCode: 3 });
  });
});

t.test('F12: a client that never reads does not slow the container', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvaf' });
  const lines = 300_000;
  const flood = ['sh', '-c', `read go; seq 1 ${lines}; exit 7`];

  await t.test('all its lines are written while clients of attach and of logs stand still', async t => {
    const task = makeTask({
      container: { stdin: true, command: flood, log: { sizeMaxBytes: 2 ** 30, filesMax: 2 } },
    });
    await rig.run(task);
    const frames = openChannel<BulkFrame>(4);
    const ending = new AbortController();
    const start = { taskId: task.id, container: '', stdin: true };
    const stuck = [
      rig.agent.attach(frames, start, ending.signal)[Symbol.asyncIterator](),
      rig.agent
        .logs({ ...start, follow: true, tail: -1, sinceMs: 0, untilMs: 0 }, ending.signal)
        [Symbol.asyncIterator](),
    ];
    frames.push(stdin('go\n'));
    for (const reader of stuck) await reader.next(); // the first words, and never again
    t.match(await rig.wait(task.id, 'complete'), { exitCode: 7 });
    const log = fs.readFileSync(`${rig.dataDir}/tasks/${task.id}/0.log`, 'utf8').trimEnd().split('\n');
    t.equal(log.filter(line => / F /.test(line)).length, lines);
    t.match(log.at(-1), / F \d+$/);
    ending.abort();
    for (const reader of stuck) await reader.return?.();
  });

  await t.test('a program that does not read its input is not held up by one who sends it', async t => {
    const task = makeTask({
      container: { stdin: true, command: ['sh', '-c', 'read go; seq 1 100000; exit 7'] },
    });
    await rig.run(task);
    const one = attach(rig, task);
    one.frames.push(stdin('go\n'));
    for (let count = 0; count < 60; count += 1) one.frames.push(stdin('z'.repeat(16_384)));
    t.match(await one.end, { exitCode: 7 });
  });

  await t.test('when the disk of its log is full the container goes on to its own end', async t => {
    const task = makeTask({ container: { stdin: true, command: flood, log: { sizeMaxBytes: 2 ** 30, filesMax: 2 } } });
    const folder = `${rig.dataDir}/tasks/${task.id}`;
    fs.mkdirSync(folder, { recursive: true });
    linuxHost.kernel.mount({ source: 'tmpfs', target: folder, type: 'tmpfs', flags: 0, data: 'size=6m' });
    try {
      const merged = join(folder, '0/merged');
      fs.mkdirSync(merged, { recursive: true });
      execFileSync('cp', ['-a', `${rig.directory}/master/.`, merged]);
      fs.writeFileSync(join(merged, 'done'), '');
      await rig.run(task);
      const one = attach(rig, task);
      one.frames.push(stdin('go\n'));
      t.match(await rig.wait(task.id, 'complete'), { state: 'failed', exitCode: 7 });
      t.match(await one.end, { exitCode: 7 });
      const seen = one.text().trimEnd().split('\n');
      t.ok(seen.length > 1_000 && seen.length < lines, `${seen.length} lines were kept`);
    } finally {
      linuxHost.kernel.unmount(folder, { detach: true });
    }
  });
});
