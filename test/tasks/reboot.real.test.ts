/**
 * The machine loses power and comes back: processes, mounts, namespaces, cgroups and the run directory are gone, the boot id
 * is another one, and files that were being written are half there (F10 of failures.md).
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { openCgroups } from '../../src/tasks/cgroup/index.js';
import { whyNotReal } from './fixtures.js';
import { makeTask } from './objects.js';
import { isDead, until } from './waiting.js';
import { dataDirOf, fullSet, runDirOf, wholeTask } from './whole.js';
import { openStage, type Stage } from './whole-stage.js';

t.setTimeout(60_000);

/** All that a machine forgets. The hierarchy that was mounted for the runtime stays: it is the host's. */
async function losePower({ place }: Stage): Promise<void> {
  const run = runDirOf(place);
  const cgroups = openCgroups(linuxHost, place.prefix);
  const pids = [...cgroups.monitors(), ...cgroups.tasks().flatMap(id => cgroups.members(id))];
  for (const pid of pids) linuxHost.processes.kill(pid, 9);
  await until(() => pids.every(isDead));
  await until(() => cgroups.tasks().every(id => cgroups.remove(id)));
  await until(() => cgroups.monitors().size === 0);
  cgroups.removeAll();
  const mounts = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map(line => line.split(' ')[4] ?? '');
  for (const path of mounts.filter(one => one.startsWith(`${place.directory}/`) && !one.endsWith('cgroup-hugetlb')))
    linuxHost.kernel.unmount(path, { detach: true });
  for (const name of fs.readdirSync(run)) {
    if (name !== 'cgroup-hugetlb') fs.rmSync(join(run, name), { recursive: true, force: true });
  }
}

/** What the disk shows of a write that was under way: some of it, or other bytes. */
function damage(path: string, how: 'cut' | 'bit'): void {
  const bytes = fs.readFileSync(path);
  if (how === 'cut') fs.writeFileSync(path, bytes.subarray(0, bytes.length / 2));
  else {
    const at = bytes.indexOf('"desired":"running"') + '"desired":"'.length;
    bytes[at] = 'q'.charCodeAt(0);
    fs.writeFileSync(path, bytes);
  }
}

t.test('F10: power is lost', { skip: whyNotReal() }, async t => {
  await using stage = await openStage(t, 'cvsb');
  const data = dataDirOf(stage.place);
  const [ran, waits, cut, bit] = [
    wholeTask(),
    wholeTask({ container: { secrets: [] }, task: { desired: 'ready' } }),
    wholeTask(),
    wholeTask(),
  ];
  const ended = makeTask({ container: { image: 'hello:1', command: ['true'] } });
  const all = [ran, waits, cut, bit, ended].map((task, at) => ({
    ...task,
    endpoints: task.endpoints.map(endpoint => ({ ...endpoint, addresses: [`10.0.1.${11 + at}`] })),
  }));
  const first = await stage.open();
  await first.agent.assign(fullSet(all));
  for (const task of [ran, cut, bit]) await stage.wait(task.id, 'running');
  await stage.wait(waits.id, 'ready');
  await stage.wait(ended.id, 'complete');
  fs.writeFileSync(`${data}/volumes/keep/_data/precious`, 'data');
  const keep = (): string =>
    createHash('sha256')
      .update(fs.readFileSync(`${data}/volumes/keep/_data/starts`))
      .update('data')
      .digest('hex');
  const before = keep();
  await stage.drop();
  await losePower(stage);
  fs.writeFileSync(`${data}/tasks/${ran.id}/.0123456789ab.tmp`, '{"half');
  damage(`${data}/tasks/${cut.id}/task.json`, 'cut');
  damage(`${data}/tasks/${bit.id}/task.json`, 'bit');

  const second = await stage.open({
    ...linuxHost,
    processes: { ...linuxHost.processes, bootId: () => '00000000-0000-4000-8000-000000000002' },
  });
  await t.test('no task is thought to run that does not', async t => {
    t.match((await stage.wait(ran.id, 'failed')).status, { errorCode: 'node-rebooted', pid: undefined });
    t.equal(second.status(ended.id)?.state, 'complete', 'what ended before is told as it was');
    t.equal((await stage.wait(waits.id, 'ready', 'failed')).status.state, 'ready', 'what had not begun is made again');
  });
  await t.test('half-written files are not obeyed, and go', async t => {
    t.equal(second.status(cut.id), undefined);
    t.equal(second.status(bit.id), undefined);
    t.notOk(fs.existsSync(`${data}/tasks/${cut.id}`));
    t.notOk(fs.existsSync(`${data}/tasks/${bit.id}`));
  });
  await t.test('volumes are as they were', async t => {
    t.equal(keep(), before);
    t.equal(fs.readFileSync(`${data}/volumes/keep/_data/precious`, 'utf8'), 'data');
  });
  await t.test('each is begun once more, as another task, over the same volume', async t => {
    const next = wholeTask();
    const starts = (): number => fs.readFileSync(`${data}/volumes/keep/_data/starts`, 'utf8').trim().split('\n').length;
    const had = starts();
    await second.agent.assign(fullSet([{ ...ran, desired: 'shutdown' }, next]));
    t.equal((await stage.wait(next.id, 'running', 'failed', 'rejected')).status.state, 'running');
    await until(() => starts() > had);
    t.equal(starts(), had + 1);
  });
  t.strictSame(await stage.clear(), []);
  t.strictSame(second.failures, []);
});
