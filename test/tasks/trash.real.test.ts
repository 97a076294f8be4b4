/**
 * Root file systems that somebody holds or that resist (F4 of failures.md): the task goes at once, and the rest later.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import t from 'tap';
import { whyNotReal } from './fixtures.js';
import { dataDirOf, fullSet, remainsOf, wholeTask } from './whole.js';
import { openStage } from './whole-stage.js';

t.setTimeout(60_000);

t.test('F4: root file systems that are busy', { skip: whyNotReal() }, async t => {
  await using stage = await openStage(t, 'cvsz');
  const whole = await stage.open();

  await t.test('held from another mount namespace: gone at once, and its name is free', async t => {
    const task = wholeTask();
    await whole.agent.assign(fullSet([task]));
    await stage.wait(task.id, 'running');
    const merged = `${dataDirOf(stage.place)}/tasks/${task.id}/0/merged`;
    const script = `cd "${merged}" && exec 9< bin/busybox && echo held && exec sleep 1000`;
    const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => holder.kill('SIGKILL'));
    await once(holder.stdout, 'data');
    t.strictSame(await stage.clear(), [], 'nothing is left where it was');
    t.equal(holder.exitCode, null, 'who held it was not harmed');
    await whole.agent.assign(fullSet([task]));
    t.equal(
      (await stage.wait(task.id, 'running', 'failed', 'rejected')).status.state,
      'running',
      'the same name again',
    );
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    t.strictSame(await stage.clear(), []);
  });

  await t.test('with a file that cannot be removed: moved to the trash, and away when it can be', async t => {
    const task = wholeTask();
    await whole.agent.assign(fullSet([task]));
    await stage.wait(task.id, 'running');
    const upper = `${dataDirOf(stage.place)}/tasks/${task.id}/0/upper`;
    fs.writeFileSync(`${upper}/stone`, '');
    execFileSync('chattr', ['+i', `${upper}/stone`]);
    const left = (await stage.clear()).filter(line => !line.startsWith('trash'));
    t.strictSame(left, [], 'the task is gone');
    const trash = `${dataDirOf(stage.place)}/trash`;
    const [name = ''] = fs.readdirSync(trash);
    t.ok(name.startsWith(task.id), 'what resists is in the trash');
    await whole.agent.assign(fullSet([task]));
    t.equal(
      (await stage.wait(task.id, 'running', 'failed', 'rejected')).status.state,
      'running',
      'the same name again',
    );
    execFileSync('chattr', ['-i', `${trash}/${name}/upper/stone`]);
    await stage.clear();
    t.strictSame(remainsOf(stage.place), [], 'the next sweep took it');
  });
});
