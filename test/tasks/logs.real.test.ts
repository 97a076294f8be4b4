import * as fs from 'node:fs';
import t from 'tap';
import { makeTask, openRig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();
const limit = (): AbortSignal => AbortSignal.timeout(30_000);

t.test('logs under rotation', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvlr' });

  await t.test('as many lines as are written are read by a follower, in order, across rotations', async t => {
    // Bursts beyond the cap, so that each look at the log rotates it, with writing going on all the while.
    const script = 'i=0; for r in 1 2 3 4 5 6; do seq $((i+1)) $((i+20000)); i=$((i+20000)); usleep 500000; done';
    const task = makeTask({
      container: { command: ['sh', '-c', script], log: { sizeMaxBytes: 65_536, filesMax: 3 } },
    });
    await rig.run(task);
    let [next, rotations, inode] = [1, 0, 0];
    const path = `${rig.dataDir}/tasks/${task.id}/0.log`;
    const wrong: string[] = [];
    const start = { taskId: task.id, container: '', follow: true, tail: -1, sinceMs: 0, untilMs: 0 };
    for await (const { body } of rig.agent.logs(start, limit())) {
      if (body.kind === 'lost') wrong.push(`lost after ${next - 1}`);
      if (body.kind !== 'data') continue;
      const text = Buffer.from(body.data).toString();
      if (text !== `${next}\n`) wrong.push(`${text.trim()} instead of ${next}`);
      next = Number(text) + 1;
      if (next % 2_000 !== 0) continue;
      const now = fs.statSync(path, { throwIfNoEntry: false })?.ino ?? inode;
      if (now !== inode) rotations += 1;
      inode = now;
    }
    t.same(wrong.slice(0, 5), []);
    t.equal(next - 1, 120_000);
    t.ok(rotations >= 2, `${rotations} files seen`);
    const files = fs.readdirSync(`${rig.dataDir}/tasks/${task.id}`).filter(name => name.startsWith('0.log'));
    t.ok(files.length <= 3, files.join());
    const kept = (await rig.logs(task.id)).trim().split('\n').map(Number);
    t.equal(kept.at(-1), 120_000);
    t.ok(
      kept.every((number, at) => at === 0 || number === kept[at - 1]! + 1),
      'what is kept has no hole',
    );
  });

  await t.test('a rotation that a dying daemon left half done is gone on with', async t => {
    const script = 'i=0; while true; do i=$((i+1)); echo $i; usleep 20000; done';
    const task = makeTask({ container: { command: ['sh', '-c', script] } });
    await rig.run(task);
    const path = `${rig.dataDir}/tasks/${task.id}/0.log`;
    await rig.drop();
    fs.renameSync(path, `${path}.1`); // and the monitor was never told
    await rig.reopen();
    const start = { taskId: task.id, container: '', follow: true, tail: -1, sinceMs: 0, untilMs: 0 };
    let next = 1;
    for await (const { body } of rig.agent.logs(start, limit())) {
      if (body.kind !== 'data') continue;
      t.equal(Buffer.from(body.data).toString(), `${next}\n`);
      next += 1;
      if (next > 20 && fs.existsSync(path) && fs.statSync(path).size > 200) break;
    }
  });
});
