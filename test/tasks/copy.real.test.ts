import * as fs from 'node:fs';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { BulkFrame, CopyStart, Task } from '../../src/gen/types.js';
import { openUnpack, packTree } from '../../src/host-linux/tree-copy.js';
import { collect, makeTask, openRig, type Rig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();

function startOf(task: Task, more: Partial<CopyStart>): CopyStart {
  const plain = { container: '', path: '/', into: false, followLink: false, archive: false, onlyStat: false };
  return { taskId: task.id, ...plain, ...more };
}

async function copy(rig: Rig, start: CopyStart, input: readonly Uint8Array[] = []): Promise<readonly BulkFrame[]> {
  const frames = openChannel<BulkFrame>(10_000);
  for (const data of input) frames.push({ body: { kind: 'data', stream: 'stdin', data, eof: false, atMs: 0 } });
  frames.push({ body: { kind: 'data', stream: 'stdin', data: new Uint8Array(0), eof: true, atMs: 0 } });
  return await collect(rig.agent.copy(frames, start, AbortSignal.timeout(20_000)));
}

t.test('cp where the container has a user namespace', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvcu' });
  const command = [
    'sh',
    '-c',
    'echo own > /tmp/own; touch /tmp/web; chown 33:34 /tmp/web; touch /tmp/done; sleep 1000',
  ];
  const task = makeTask({ container: { userns: 'auto', command } });
  const { pid, state, error } = await rig.run(task);
  if (state === 'rejected' && /user namespace/.test(error)) return t.pass(`not here: ${error}`);
  const inside = (path: string): string => `/proc/${pid}/root${path}`;
  while (!fs.existsSync(inside('/tmp/done'))) await new Promise(resolve => setTimeout(resolve, 10));
  const ownersIn = async (path: string): Promise<readonly number[]> => {
    const target = fs.mkdtempSync(`${rig.directory}/to-`);
    const unpack = openUnpack({ directory: target, owner: 'archive', setuid: false });
    for (const { body } of await copy(rig, startOf(task, { path }))) if (body.kind === 'data') unpack.push(body.data);
    unpack.finish();
    const { uid, gid } = fs.statSync(`${target}/${path.split('/').at(-1)}`);
    return [uid, gid];
  };
  t.strictSame(await ownersIn('/tmp/own'), [0, 0], 'root of the container comes out as root, not as an id of the host');
  t.strictSame(await ownersIn('/tmp/web'), [33, 34]);

  const source = fs.mkdtempSync(`${rig.directory}/from-`);
  fs.writeFileSync(`${source}/file`, 'x');
  fs.chownSync(`${source}/file`, 33, 34);
  const owner = fs.statSync(inside('/tmp/own'));
  t.ok(owner.uid > 65_535, `on the host it is somebody else: ${owner.uid}`);
  for (const archive of [false, true]) {
    const pieces = [...packTree({ path: source, name: `new-${archive}`, followLink: false })];
    const [end] = await copy(rig, startOf(task, { path: '/tmp', into: true, archive }), pieces);
    t.match(end?.body, { kind: 'end', problem: undefined });
    const { uid, gid } = fs.statSync(inside(`/tmp/new-${archive}/file`));
    t.strictSame([uid - owner.uid, gid - owner.gid], archive ? [33, 34] : [0, 0], archive ? 'with -a' : 'without');
  }
  fs.chownSync(`${source}/file`, 200_000, 0);
  const pieces = [...packTree({ path: source, name: 'far', followLink: false })];
  await t.rejects(copy(rig, startOf(task, { path: '/tmp', into: true, archive: true }), pieces), {
    message: /200000: the user namespace of the container has none/,
  });
  return undefined;
});

t.test('cp', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvcp' });
  const secret = `${rig.directory}/secret`;
  fs.writeFileSync(secret, 'of the host');
  const script = `ln -s ${secret} /tmp/out; ln -s / /tmp/root; ln -s /proc/1/root/etc /tmp/etc; echo inside > /tmp/file; sleep 1000`;
  const task = makeTask({ container: { command: ['sh', '-c', script] } });
  await rig.run(task);
  const merged = `${rig.dataDir}/tasks/${task.id}/0/merged`;
  while (!fs.existsSync(`${merged}/tmp/file`)) await new Promise(resolve => setTimeout(resolve, 10));

  const unpacked = async (path: string, more: Partial<CopyStart> = {}): Promise<string> => {
    const target = fs.mkdtempSync(`${rig.directory}/to-`);
    const unpack = openUnpack({ directory: target, owner: undefined, setuid: false });
    for (const { body } of await copy(rig, startOf(task, { path, ...more })))
      if (body.kind === 'data') unpack.push(body.data);
    unpack.finish();
    return target;
  };

  await t.test('files and trees come out, and go in with the owner of the container', async t => {
    t.equal(fs.readFileSync(`${await unpacked('/tmp/file')}/file`, 'utf8'), 'inside\n');
    t.ok(fs.existsSync(`${await unpacked('/etc')}/etc/passwd`));
    const source = fs.mkdtempSync(`${rig.directory}/from-`);
    fs.writeFileSync(`${source}/big`, Buffer.alloc(5_000_000, 9));
    fs.chownSync(`${source}/big`, 33, 34);
    for (const archive of [false, true]) {
      const pieces = [...packTree({ path: source, name: `new-${archive}`, followLink: false })];
      const [end] = await copy(rig, startOf(task, { path: '/tmp', into: true, archive }), pieces);
      t.match(end?.body, { kind: 'end', problem: undefined });
      const stat = fs.statSync(`${merged}/tmp/new-${archive}/big`);
      t.same([stat.size, stat.uid, stat.gid], archive ? [5_000_000, 33, 34] : [5_000_000, 0, 0]);
    }
  });

  await t.test('links of the container lead to what the container sees, never to the host', async t => {
    const stat = (path: string, followLink = true): Promise<readonly BulkFrame[]> =>
      copy(rig, startOf(task, { path, followLink, onlyStat: true }));
    t.match((await stat('/tmp/out'))[0]?.body, { kind: 'stat', exists: false });
    t.match((await stat('/tmp/out', false))[0]?.body, { kind: 'stat', exists: true, link: true, linkTarget: secret });
    t.match((await stat('/tmp/root/etc'))[0]?.body, { kind: 'stat', exists: true, directory: true });
    await t.rejects(copy(rig, startOf(task, { path: secret })), { code: 'not-found' });
    await t.rejects(copy(rig, startOf(task, { path: '/tmp/out', followLink: true })), { code: 'not-found' });
    await t.rejects(copy(rig, startOf(task, { path: `/tmp/root/..${secret}` })), { code: 'not-found' });
    t.equal(
      fs.readFileSync(`${await unpacked('/tmp/etc/passwd')}/passwd`, 'utf8').split('\n')[1],
      'web:x:33:34::/srv:/bin/sh',
    );
    const source = fs.mkdtempSync(`${rig.directory}/evil-`);
    fs.writeFileSync(`${source}/secret`, 'overwritten');
    const pieces = [...packTree({ path: source, name: '.', followLink: false })];
    await t.rejects(copy(rig, startOf(task, { path: `/tmp/root${rig.directory}`, into: true }), pieces), {
      code: 'not-found',
    });
    t.equal(fs.readFileSync(secret, 'utf8'), 'of the host');
  });

  await t.test('a whole root file system comes out without what the kernel shows in it', async t => {
    const all = await unpacked('/');
    t.ok(fs.existsSync(`${all}/etc/passwd`));
    t.strictSame(
      ['proc', 'sys'].filter(name => fs.existsSync(`${all}/${name}`)),
      [],
    );
    await t.rejects(copy(rig, startOf(task, { path: '/proc/1/status' })), {
      message: /"\/proc\/1\/status": it is a view of the kernel/,
    });
    const pieces = [...packTree({ path: secret, name: 'x', followLink: false })];
    await t.rejects(copy(rig, startOf(task, { path: '/tmp/no/such', into: true }), pieces), {
      message: 'Cannot copy into "/tmp/no/such": there is no such directory',
    });
  });

  await t.test('a hostile archive is refused with its reason', async t => {
    await t.rejects(copy(rig, startOf(task, { path: '/tmp', into: true }), [Buffer.alloc(1_024, 65)]), {
      code: 'bad-archive',
    });
  });

  await t.test('a caller that goes away ends the child; an ended task says so', async t => {
    const ending = new AbortController();
    const start = startOf(task, { path: '/tmp', into: true });
    const reading = rig.agent.copy(openChannel<BulkFrame>(1), start, ending.signal)[Symbol.asyncIterator]().next();
    setTimeout(() => ending.abort(), 200);
    await t.rejects(reading);
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    await rig.wait(task.id, 'complete');
    await t.rejects(copy(rig, startOf(task, { path: '/tmp/file' })), { code: 'task-ended' });
  });
});
