/**
 * A disk without a byte or without an inode left, at every step of a task's life: making it, its log, writing down how it is.
 * The reason is told, what runs runs on, and all is as before when there is room again. Images: image/full-disk.real.test.ts.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import { codeOf } from '../../src/errors.js';
import type { BulkFrame, Task } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { mountRoot } from '../../src/tasks/image/mount.js';
import type { TaskImages } from '../../src/tasks/images.js';
import { collect, makeTask, openRig, type Rig, waitMaxMs, whyNotReal } from './fixtures.js';
import { codes } from './usage/objects.js';

const skip = whyNotReal();
const plan = { lower: ['.'], root: { mode: 0o755, uid: 0, gid: 0 } };

/** Roots as every node has them, with their own layer on the disk of the tasks. */
function onOverlay(directory: string, plain: TaskImages): TaskImages {
  const options = { host: linuxHost, images: `${directory}/master` };
  return { ...plain, mountRoot: (_image, folder, look) => mountRoot(plan, { ...options, directory: folder, ...look }) };
}

/** A small file system in the place of a folder. */
function smallDisk(folder: string): Disk {
  fs.mkdirSync(folder, { recursive: true });
  linuxHost.kernel.mount({ source: 'tmpfs', target: folder, type: 'tmpfs', flags: 0, data: 'size=4m,nr_inodes=300' });
  const filler = `${folder}/.filler`;
  fs.mkdirSync(filler);
  const untilFull = (step: (at: number) => void): number => {
    for (let at = 0; ; at += 1) {
      try {
        step(at);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return at;
        throw error;
      }
    }
  };
  return {
    fill: (what, free) => {
      if (what === 'inodes') {
        const count = untilFull(at => fs.writeFileSync(`${filler}/${at}`, ''));
        for (let at = 0; at < free; at += 1) fs.rmSync(`${filler}/${count - 1 - at}`);
      } else {
        const fd = fs.openSync(`${filler}/bytes`, 'w');
        const pages = untilFull(() => fs.writeSync(fd, Buffer.alloc(4_096)));
        fs.ftruncateSync(fd, Math.max(0, pages - free) * 4_096);
        fs.closeSync(fd);
      }
    },
    clear: () => {
      for (const name of fs.readdirSync(filler)) fs.rmSync(`${filler}/${name}`);
    },
    used: () => {
      const { bfree, blocks, ffree, files } = fs.statfsSync(folder);
      return { pages: blocks - bfree, inodes: files - ffree };
    },
    [Symbol.dispose]: () => linuxHost.kernel.unmount(folder, { detach: true }),
  };
}

interface Disk extends Disposable {
  /** All but so many pages or inodes. */
  readonly fill: (what: 'bytes' | 'inodes', free: number) => void;
  readonly clear: () => void;
  readonly used: () => { readonly pages: number; readonly inodes: number };
}

const ticking = ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done'];
const freeMax = { bytes: 12, inodes: 24 } as const;
/** So much more is left in each round. */
const steps = { bytes: 2, inodes: 3 } as const;

async function remove(rig: Rig, task: Task): Promise<void> {
  await rig.assign([{ ...task, desired: 'shutdown' }]);
  await rig.wait(task.id, 'complete');
  await rig.assign([], { removed: [task.id] });
  const end = Date.now() + waitMaxMs;
  while (rig.status(task.id) !== undefined) {
    if (Date.now() > end) throw new Error(`task ${task.id} is not forgotten: ${JSON.stringify(rig.status(task.id))}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

for (const [title, folderOf] of [
  ['of the data directory', (rig: Rig) => `${rig.dataDir}/tasks`],
  ['of the run directory', (rig: Rig) => `${rig.runDir}/bundles`],
] as const) {
  t.test(`F5: a full disk ${title}`, { skip }, async t => {
    await using rig = await openRig(t, { prefix: 'cvfd', wrapImages: onOverlay });
    using disk = smallDisk(folderOf(rig));
    const bystander = makeTask({ container: { command: ticking } });
    const { pid } = await rig.run(bystander);

    for (const what of ['bytes', 'inodes'] as const) {
      await t.test(
        `with more and more ${what} left: a task runs, or is rejected with the reason and leaves nothing`,
        async t => {
          const before = disk.used().inodes;
          let free = 0;
          for (; free < freeMax[what]; free += steps[what]) {
            disk.fill(what, free);
            const task = makeTask({});
            const status = await rig.run(task);
            disk.clear();
            await remove(rig, task);
            if (status.state === 'running') break;
            t.match(status, { state: 'rejected', errorCode: 'no-space' }, `${free} ${what} free: ${status.error}`);
            t.equal(disk.used().inodes, before, `${free} ${what} free: nothing is left`);
          }
          t.ok(free > 0 && free < freeMax[what], `it ran with ${free} ${what} free`);
          t.match(rig.status(bystander.id), { state: 'running', pid }, 'what runs runs on');
        },
      );
    }

    await t.test('a task ends as it should although nothing can be written down', async t => {
      const task = makeTask({
        container: { command: ['sh', '-c', 'trap "exit 3" TERM; while :; do sleep 0.02; done'] },
      });
      await rig.run(task);
      const inRun = folderOf(rig).startsWith(rig.runDir);
      disk.fill('bytes', 0);
      disk.fill('inodes', 0);
      const start = {
        taskId: task.id,
        container: '',
        env: [],
        workingDir: '',
        user: '',
        tty: false,
        stdin: false,
        detach: false,
      };
      const run = collect(
        rig.agent.exec(openChannel<BulkFrame>(1), { ...start, args: ['true'] }, AbortSignal.timeout(waitMaxMs)),
      );
      const told = await run.then(frames => frames.at(-1)?.body, codeOf);
      if (inRun) t.equal(told, 'no-space', 'a program cannot be run inside, and why');
      else t.match(told, { kind: 'end', exitCode: 0 });
      await rig.reopen();
      t.match(rig.status(bystander.id), { state: 'running', pid }, 'a new daemon takes over what runs');
      await rig.assign([{ ...task, desired: 'shutdown' }]);
      const ended = await rig.wait(task.id, 'complete');
      // The monitor leaves the exit code in the run directory: there it is lost, and told as unknown.
      t.equal(ended.exitCode, inRun ? undefined : 3, `${ended.state}: ${ended.error}`);
      disk.clear();
      await rig.assign([], { removed: [task.id] });
      await remove(rig, bystander);
    });
  });
}

t.test('F5: a full disk of logs', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvfl', wrapImages: onOverlay, limitsEveryMs: 200 });
  using disk = smallDisk(`${rig.dataDir}/tasks`);
  const task = makeTask({ container: { command: ticking } });
  const { pid } = await rig.run(task);
  disk.fill('bytes', 0);
  const told = await rig.wait(task.id, status => codes(status).includes('log-disk-full'));
  t.match(told.limits?.warnings[0]?.message, /of 4 MiB are free/, 'told with numbers');
  t.match(told, { state: 'running', pid });
  disk.clear();
  await rig.wait(task.id, status => codes(status).length === 0);
  const last = async (): Promise<number> => Number((await rig.logs(task.id, { tail: 1 })).trim());
  const before = Number((await rig.logs(task.id)).split('\n').findLast(line => /^\d+$/.test(line)));
  const end = Date.now() + waitMaxMs;
  let after = before;
  while (!(after > before) && Date.now() < end) after = await last(); // a line that was cut short is no number
  t.ok(after > before, `it writes on: line ${after} after ${before}`);
  t.match(rig.status(task.id), { state: 'running', pid });
  await remove(rig, task);
});
