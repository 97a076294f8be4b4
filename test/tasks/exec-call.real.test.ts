import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { BulkFrame, ExecStart, Task } from '../../src/gen/types.js';
import { collect, makeTask, openRig, textOf, whyNotReal } from './fixtures.js';

const skip = whyNotReal();
const limit = (): AbortSignal => AbortSignal.timeout(20_000);

function execOf(task: Task, more: Partial<ExecStart>): ExecStart {
  const plain = { container: '', args: [], env: [], workingDir: '', user: '', tty: false, stdin: false, detach: false };
  return { taskId: task.id, ...plain, ...more };
}

async function until(look: () => boolean): Promise<void> {
  const endMs = Date.now() + 15_000;
  while (!look()) {
    if (Date.now() > endMs) throw new Error('it never came to be so');
    await sleep(10);
  }
}

const sleepers = (seconds: string): number =>
  fs.globSync('/proc/[0-9]*/cmdline').filter(path => {
    try {
      return fs.readFileSync(path, 'utf8') === `sleep\0${seconds}\0`;
    } catch {
      return false; // it ended meanwhile
    }
  }).length;

t.test('programs that are left running', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvxd' });
  const task = makeTask({});
  await rig.run(task);
  const leftovers = (): readonly string[] =>
    fs.readdirSync(`${rig.runDir}/bundles/${task.id}/0`).filter(name => name.startsWith('exec-'));

  await t.test('exec -d is answered once the program runs, which a restart of the daemon does not end', async t => {
    const start = execOf(task, { args: ['sleep', '4391'], detach: true });
    t.match(await collect(rig.agent.exec(openChannel<BulkFrame>(1), start, limit())), [{ body: { exitCode: 0 } }]);
    await until(() => sleepers('4391') === 1);
    t.same(leftovers(), []);
    await rig.reopen();
    t.equal(sleepers('4391'), 1);
  });

  await t.test('exec -d of what cannot be started says why', async t => {
    const start = execOf(task, { args: ['/no/such'], detach: true });
    const [end] = await collect(rig.agent.exec(openChannel<BulkFrame>(1), start, limit()));
    t.match(end?.body, { kind: 'end', exitCode: 127, problem: { code: 'exec-failed' } });
    t.same(leftovers(), []);
  });

  await t.test('a program that cannot be run is told in one line, with the exit code of a shell', async t => {
    const init = 'echo "#!/none" > /tmp/script; chmod 755 /tmp/script; touch /tmp/plain';
    await collect(rig.agent.exec(openChannel<BulkFrame>(1), execOf(task, { args: ['sh', '-c', init] }), limit()));
    const rows = [
      ['nosuch', 127, 'Cannot run "nosuch" in the container: executable file not found in $PATH'],
      ['/no/such', 127, 'Cannot run "/no/such" in the container: no such file or directory'],
      ['/tmp/plain', 126, 'Cannot run "/tmp/plain" in the container: permission denied'],
      ['/tmp', 126, /^Cannot run "\/tmp" in the container: /],
      ...(rig.runtime.name === 'crun'
        ? [['/tmp/script', 127, /its interpreter or loader is not there$/] as const]
        : []),
    ] as const;
    for (const [program, exitCode, message] of rows) {
      for (const tty of [false, true]) {
        const call = rig.agent.exec(openChannel<BulkFrame>(1), execOf(task, { args: [program], tty }), limit());
        const frames = await collect(call);
        t.match(
          frames,
          [{ body: { kind: 'end', exitCode, problem: { code: 'exec-failed', message } } }],
          `${program}, ${tty}`,
        );
        t.equal(frames.length, 1, 'nothing else is said');
      }
    }
  });

  await t.test('a terminal has the size of the caller from the start, and never stays without one', async t => {
    const script = 'until s=$(stty size 2>/dev/null); [ -n "$s" ] && [ "$s" != "0 0" ]; do :; done; echo "=$s="';
    const sized = async (more: Partial<ExecStart>): Promise<string> =>
      textOf(
        await collect(
          rig.agent.exec(
            openChannel<BulkFrame>(1),
            execOf(task, { args: ['sh', '-c', script], tty: true, ...more }),
            limit(),
          ),
        ),
      );
    t.match(await sized({ size: { rows: 33, columns: 99 } }), '=33 99=');
    t.match(await sized({}), '=24 80=');
  });

  await t.test('who leaves by the detach keys leaves the program running; who just goes ends it', async t => {
    for (const [seconds, leaves] of [
      ['4392', true],
      ['4393', false],
    ] as const) {
      const frames = openChannel<BulkFrame>(8);
      const ending = new AbortController();
      const start = execOf(task, { args: ['sleep', seconds], tty: true, stdin: true });
      const reading = collect(rig.agent.exec(frames, start, ending.signal));
      await until(() => sleepers(seconds) === 1);
      if (leaves) frames.push({ body: { kind: 'detach' } });
      else ending.abort();
      t.match((await reading).at(-1)?.body, leaves ? { kind: 'end', exitCode: undefined } : {});
      await until(() => sleepers(seconds) === (leaves ? 1 : 0));
    }
    t.equal(sleepers('4392'), 1);
  });
});
