/** Volumes: filled from the image once, kept, and gone with their task when they have no name. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type TaskId } from '../../src/ids.js';
import { openVolumes, type Volumes } from '../../src/tasks/volumes.js';
import { isRoot, silentLog } from './image/test-store.js';
import { makeRichTree, treeOf } from './image/tree.js';

const skip = isRoot ? false : 'needs root';
const task = asId<TaskId>('000000000000000000000000a');
const other = asId<TaskId>('000000000000000000000000b');

interface Place extends AsyncDisposable {
  readonly volumes: Volumes;
  readonly directory: string;
  readonly rootPath: string;
  readonly prepare: (request: Partial<Parameters<Volumes['prepare']>[0]>) => Promise<string>;
}

function openPlace(): Place {
  const scratch = fs.mkdtempSync('/tmp/covey-image-volumes-');
  const directory = join(scratch, 'volumes');
  const rootPath = join(scratch, 'root');
  fs.mkdirSync(join(rootPath, 'data'), { recursive: true });
  const volumes = openVolumes({ directory, host: linuxHost, log: silentLog });
  return {
    volumes,
    directory,
    rootPath,
    prepare: async request =>
      (await volumes.prepare({ taskId: task, name: 'web', rootPath, target: '/data', noCopy: false, ...request })).path,
    [Symbol.asyncDispose]: async () => fs.rmSync(scratch, { recursive: true, force: true }),
  };
}

t.test('a fresh volume has what the image has there, with all that belongs to it', { skip }, async t => {
  await using place = openPlace();
  fs.rmdirSync(join(place.rootPath, 'data'));
  fs.renameSync(makeRichTree(place.rootPath), join(place.rootPath, 'data'));
  fs.chmodSync(join(place.rootPath, 'data'), 0o1770);
  fs.chownSync(join(place.rootPath, 'data'), 12, 34);
  const path = await place.prepare({});
  t.equal(path, join(place.directory, 'web/_data'));
  t.same(treeOf(path), treeOf(join(place.rootPath, 'data')));
  t.equal(fs.statSync(join(place.directory, 'web')).mode & 0o777, 0o700, 'only root may look in');
});

t.test('a volume that is there is never filled again', { skip }, async t => {
  await using place = openPlace();
  fs.writeFileSync(join(place.rootPath, 'data/of-image'), 'x');
  const path = await place.prepare({});
  fs.rmSync(join(path, 'of-image'));
  t.equal(await place.prepare({ taskId: other }), path);
  t.same(fs.readdirSync(path), [], 'although it is empty');
});

t.test(
  'without a copy, or with nothing to copy, a volume is empty; an empty directory gives its owner and mode',
  { skip },
  async t => {
    await using place = openPlace();
    const umask = process.umask(0o077);
    fs.chownSync(join(place.rootPath, 'data'), 33, 34);
    fs.chmodSync(join(place.rootPath, 'data'), 0o2775);
    const shape = (path: string): readonly number[] => [
      fs.statSync(path).mode & 0o7777,
      fs.statSync(path).uid,
      fs.statSync(path).gid,
      fs.readdirSync(path).length,
    ];
    t.same(shape(await place.prepare({ name: 'owned' })), [0o2775, 33, 34, 0]);
    fs.writeFileSync(join(place.rootPath, 'data/x'), 'x');
    t.same(shape(await place.prepare({ name: 'no-copy', noCopy: true })), [0o755, 0, 0, 0]);
    t.same(shape(await place.prepare({ name: 'nothing', target: '/elsewhere/deep' })), [0o755, 0, 0, 0]);
    t.same(shape(await place.prepare({ name: 'of-a-file', target: '/data/x' })), [0o755, 0, 0, 0]);
    process.umask(umask);
  },
);

t.test('links in the image lead nowhere but into the image', { skip }, async t => {
  await using place = openPlace();
  fs.mkdirSync(join(place.rootPath, 'etc'));
  fs.writeFileSync(join(place.rootPath, 'etc/inside'), 'x');
  fs.symlinkSync('/etc', join(place.rootPath, 'link'));
  fs.symlinkSync('/etc/passwd', join(place.rootPath, 'etc/link'));
  const path = await place.prepare({ target: '/link' });
  t.same(fs.readdirSync(path).sort(), ['inside', 'link']);
  t.equal(fs.readlinkSync(join(path, 'link')), '/etc/passwd', 'links are copied as links');
});

t.test('two tasks that want a fresh volume at once get one, whole', { skip }, async t => {
  await using place = openPlace();
  for (let at = 0; at < 200; at += 1) fs.writeFileSync(join(place.rootPath, `data/${at}`), 'x');
  const paths = await Promise.all([task, other, task].map(taskId => place.prepare({ taskId })));
  t.equal(new Set(paths).size, 1);
  t.equal(fs.readdirSync(paths[0] ?? '').length, 200);
});

t.test(
  'a volume without a name is the same for the same place of a task, and ends with the task',
  { skip },
  async t => {
    await using place = openPlace();
    const path = await place.prepare({ name: '' });
    t.equal(await place.prepare({ name: '' }), path);
    const more = [
      await place.prepare({ name: '', target: '/more' }),
      await place.prepare({ name: '', rootPath: `${place.rootPath}/.` }),
      await place.prepare({ name: '', taskId: other }),
    ];
    t.equal(new Set([path, ...more]).size, 4);
    const named = await place.prepare({ name: 'kept' });
    await place.volumes.release(task);
    await place.volumes.release(task);
    t.same(
      (await place.volumes.list()).map(volume => volume.isAnonymous),
      [true, false],
    );
    t.ok(fs.existsSync(more[2] ?? ''), "the other task's");
    t.ok(fs.existsSync(named));
  },
);

t.test('what a daemon that died left half made is made anew', { skip }, async t => {
  await using place = openPlace();
  fs.mkdirSync(join(place.directory, '.making-web/_data/half'), { recursive: true });
  fs.mkdirSync(join(place.directory, '.removing-_x/_data'), { recursive: true });
  fs.writeFileSync(join(place.rootPath, 'data/whole'), 'x');
  t.same(fs.readdirSync(await place.prepare({})), ['whole']);
  t.same(fs.readdirSync(place.directory), ['web']);
});

t.test('names that are paths, or nothing, are refused', { skip }, async t => {
  await using place = openPlace();
  for (const name of ['..', '.', '/etc', 'a/b', '../x', '_mine', '.hidden', '-x', 'a b', 'x'.repeat(201), 'ü']) {
    await t.rejects(place.prepare({ name }), { code: 'bad-argument' }, name);
  }
  t.notOk(fs.existsSync(place.directory));
});

t.test('a full disk is told, and leaves no half of a volume', { skip }, async t => {
  await using place = openPlace();
  fs.mkdirSync(place.directory);
  linuxHost.kernel.mount({ source: 'tmpfs', target: place.directory, type: 'tmpfs', flags: 0, data: 'size=1m' });
  try {
    fs.writeFileSync(join(place.rootPath, 'data/large'), Buffer.alloc(2 ** 21));
    await t.rejects(place.prepare({}), { code: 'no-space' });
    t.same(fs.readdirSync(place.directory), []);
    await place.prepare({ noCopy: true });
  } finally {
    linuxHost.kernel.unmount(place.directory);
  }
});
