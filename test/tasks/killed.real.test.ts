import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { makeTask, openRig, type Rig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();
const rounds = Number(process.env['COVEY_ROUNDS'] ?? '6');
const perRound = 6;

/** The same moments on every run: spread over the time that the tasks take, some before, some after. */
function moments(count: number, overMs: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => Math.round(((at * 0.618_034) % 1) * overMs));
}

function openChild(rig: Rig, file: string): ChildProcess {
  const program = fileURLToPath(new URL('./fixtures-child.js', import.meta.url));
  return spawn(process.execPath, [program, rig.directory, rig.prefix, file], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function killAfter(child: ChildProcess, ms: number): Promise<void> {
  if (child.stdout !== null) await once(child.stdout, 'data');
  await sleep(ms);
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** Starts of each task's program: it writes a line each time. */
async function startsOf(rig: Rig, id: ReturnType<typeof makeTask>['id']): Promise<number> {
  return (await rig.logs(id)).split('\n').filter(line => line === 'started').length;
}

t.test('the daemon may be killed at any moment', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtz' });
  const file = `${rig.directory}/tasks.json`;

  await t.test('while tasks are made: each runs once, and nothing is made twice', async t => {
    for (const ms of moments(rounds, 160)) {
      const tasks = Array.from({ length: perRound }, () =>
        makeTask({ container: { command: ['sh', '-c', 'echo started; sleep 1000'] } }),
      );
      fs.writeFileSync(file, JSON.stringify(tasks));
      await rig.drop();
      await killAfter(openChild(rig, file), ms);
      await rig.reopen();
      await rig.assign(tasks, { full: true });
      for (const task of tasks) {
        const { state, error } = await rig.wait(task.id, 'running');
        t.equal(state, 'running', `killed after ${ms} ms: ${error}`);
      }
      const containers = fs.readdirSync(`${rig.runDir}/runtime/${rig.runtime.name}`);
      t.equal(containers.length, perRound, `killed after ${ms} ms: ${containers.length} containers`);
      for (const task of tasks) {
        while ((await startsOf(rig, task.id)) === 0) await sleep(5);
        t.equal(await startsOf(rig, task.id), 1, `killed after ${ms} ms: started once`);
      }
      await rig.assign([], { full: true });
      while (rig.agent.reports().length > 0) await sleep(5);
    }
  });

  await t.test('while tasks are removed: all are gone', async t => {
    for (const ms of moments(rounds, 60)) {
      const tasks = Array.from({ length: perRound }, () => makeTask());
      await rig.assign(tasks, { full: true });
      for (const task of tasks) await rig.wait(task.id, 'running');
      fs.writeFileSync(file, '[]');
      await rig.drop();
      await killAfter(openChild(rig, file), ms);
      await rig.reopen();
      await rig.assign([], { full: true });
      while (rig.agent.reports().length > 0) await sleep(5);
      t.strictSame(await rig.agent.sweep(), [], `killed after ${ms} ms: nothing to sweep`);
      t.strictSame(fs.readdirSync(`${rig.dataDir}/tasks`), []);
      t.strictSame(fs.readdirSync(`${rig.runDir}/bundles`), []);
      t.strictSame(fs.readdirSync(`${rig.directory}/netns`), []);
    }
  });
});
