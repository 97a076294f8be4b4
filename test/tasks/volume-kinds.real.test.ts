/** Every kind of mount as a container sees it, and what POSIX promises on each. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import koffi from 'koffi';
import t, { type Test } from 'tap';
import type { Mount } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { openVolumes, type Volumes } from '../../src/tasks/volumes.js';
import { makeMount, makeTask, openRig, whyNotReal } from './fixtures.js';
import { silentLog } from './image/test-store.js';

const skip = whyNotReal();
const run = (program: string, args: readonly string[], options: { readonly stdio?: 'ignore' } = {}) =>
  execFileSync(program, args, options);
const libc = koffi.load('libc.so.6');
const setxattr = libc.func(
  'int setxattr(const char *path, const char *name, const char *value, size_t size, int flags)',
);
const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)');
const munmap = libc.func('int munmap(void *address, size_t length)');

/** What a file system owes its users; `direct`: it can do without the page cache. */
function smoke(t: Test, folder: string, direct: boolean): void {
  const path = `${folder}/file`;
  const fd = fs.openSync(`${path}.new`, 'w+');
  fs.writeSync(fd, Buffer.alloc(4096, 'a'));
  fs.fsyncSync(fd);
  fs.renameSync(`${path}.new`, path);
  const shared = mmap(null, 4096, 3, 1, fd, 0);
  koffi.encode(shared, 'char', 98);
  munmap(shared, 4096);
  t.equal(fs.readFileSync(path, 'latin1').slice(0, 2), 'ba', 'mmap writes through');
  t.equal(setxattr(path, 'trusted.covey', 'x', 1, 0), 0, 'extended attributes');
  run('flock', ['--nonblock', path, 'true']);
  fs.linkSync(path, `${path}.link`);
  t.equal(fs.fstatSync(fd).nlink, 2);
  fs.ftruncateSync(fd, 10);
  fs.closeSync(fd);
  t.equal(fs.statSync(path).size, 10);
  if (direct) run('dd', ['if=/dev/zero', `of=${path}`, 'bs=4096', 'count=1', 'oflag=direct', 'status=none']);
  fs.rmSync(path);
  fs.rmSync(`${path}.link`);
}

t.test('kinds of mounts', { skip }, async t => {
  let volumes: Volumes | undefined;
  const agent = (place: { readonly dataDir: string }) => {
    volumes = openVolumes({ directory: `${place.dataDir}/volumes`, host: linuxHost, log: silentLog });
    return { volumes };
  };
  await using rig = await openRig(t, { prefix: 'cvtv', agent });
  const disk = `${rig.directory}/disk`;
  run('truncate', ['-s', '16M', disk]);
  run('mkfs.ext4', ['-q', disk]);
  fs.mkdirSync(`${rig.directory}/bound`);
  const isDirect = (): boolean => {
    try {
      run('dd', ['if=/dev/zero', `of=${rig.directory}/d`, 'bs=4096', 'count=1', 'oflag=direct'], {
        stdio: 'ignore',
      });
      return true;
    } catch {
      return false; // the file system of the tests cannot
    }
  };
  const direct = isDirect();
  const hasLoop = fs.existsSync('/dev/loop-control');
  const rows: readonly {
    readonly name: string;
    readonly mount: Mount;
    readonly direct: boolean;
    readonly skip?: boolean;
  }[] = [
    { name: 'a directory of the host', mount: makeMount('bind', `${rig.directory}/bound`, '/v'), direct },
    { name: 'a named volume', mount: makeMount('volume', 'named', '/v'), direct },
    { name: 'an anonymous volume', mount: makeMount('volume', '', '/v'), direct },
    { name: 'tmpfs', mount: makeMount('tmpfs', '', '/v', { tmpfsBytes: 2 ** 20 }), direct: false },
    { name: 'a shared directory on disk', mount: makeMount('shared', 'spool', '/v'), direct },
    {
      name: 'a shared directory in memory',
      mount: makeMount('shared', 'ram', '/v', { tmpfsBytes: 2 ** 20 }),
      direct: false,
    },
    {
      name: 'a device with a file system',
      mount: makeMount('volume', 'ext', '/v', { volumeOptions: { type: 'ext4', device: disk, o: 'loop' } }),
      direct: true,
      skip: !hasLoop,
    },
  ];
  for (const { name, mount, direct, skip } of rows) {
    await t.test(
      `${name} keeps the promises of POSIX`,
      { skip: skip === true ? 'no loop devices' : false },
      async t => {
        const task = makeTask({ container: { mounts: [mount] } });
        const status = await rig.run(task);
        t.equal(status.state, 'running', status.error);
        smoke(t, `/proc/${status.pid}/root/v`, direct);
        await rig.assign([{ ...task, desired: 'shutdown' }]);
        await rig.wait(task.id, 'complete');
      },
    );
  }

  await t.test('a file system of its own is mounted while it is used, and only then; what is in it stays', async t => {
    const options = { type: 'ext4', device: disk, o: 'loop' };
    if (!hasLoop) return t.pass('no loop devices');
    const mounts = [makeMount('volume', 'ext', '/v', { volumeOptions: options })];
    const is = async (): Promise<boolean> =>
      (await volumes?.list())?.find(one => one.name === 'ext')?.isMounted ?? false;
    t.notOk(await is());
    const first = makeTask({ container: { mounts } });
    const second = makeTask({ container: { mounts } });
    const status = await rig.run(first);
    await rig.run(second);
    fs.writeFileSync(`/proc/${status.pid}/root/v/kept`, 'x');
    await rig.assign([{ ...first, desired: 'shutdown' }]);
    await rig.wait(first.id, 'complete');
    t.ok(await is(), 'another task uses it');
    await t.rejects(async () => await volumes?.remove('ext'), { code: 'volume-in-use' });
    await rig.assign([{ ...second, desired: 'shutdown' }]);
    await rig.wait(second.id, 'complete');
    t.notOk(await is());
    const again = await rig.run(makeTask({ container: { mounts } }));
    t.ok(fs.existsSync(`/proc/${again.pid}/root/v/kept`));
    const other = makeTask({
      container: { mounts: [makeMount('volume', 'ext', '/v', { volumeOptions: { type: 'xfs' } })] },
    });
    t.match(await rig.run(other, 'complete'), { state: 'rejected', error: /made with others/ });
    return undefined;
  });

  await t.test('containers of a task share a directory by name, and it ends with them', async t => {
    const mounts = [makeMount('shared', 'spool', '/v'), makeMount('shared', 'ram', '/ram', { tmpfsBytes: 2 ** 20 })];
    const task = makeTask({
      container: { mounts },
      more: [
        {
          name: 'side',
          role: 'sidecar',
          mounts,
          command: ['sh', '-c', 'echo hi > /v/a; echo hi > /ram/b; sleep 1000'],
        },
      ],
    });
    const { pid } = await rig.run(task);
    const until = async (path: string): Promise<void> => {
      while (!fs.existsSync(path)) await new Promise(resolve => setTimeout(resolve, 5));
    };
    await until(`/proc/${pid}/root/v/a`);
    await until(`/proc/${pid}/root/ram/b`);
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    await rig.wait(task.id, 'complete');
    t.strictSame(
      (await volumes?.list())?.filter(one => one.isAnonymous),
      [],
    );
  });

  await t.test('the files of an image, and a part of them, are read-only', async t => {
    const mounts = [makeMount('image', 'test:1', '/i'), makeMount('image', 'test:1', '/e', { subpath: 'etc' })];
    const { pid, state, error } = await rig.run(makeTask({ container: { mounts } }));
    t.equal(state, 'running', error);
    t.ok(fs.existsSync(`/proc/${pid}/root/i/bin/busybox`));
    t.ok(fs.existsSync(`/proc/${pid}/root/e/passwd`));
    t.throws(() => fs.writeFileSync(`/proc/${pid}/root/i/x`, ''), { code: 'EROFS' });
    const missing = makeTask({ container: { mounts: [makeMount('image', 'nope:1', '/i')] } });
    t.match(await rig.run(missing, 'complete'), { state: 'rejected', errorCode: 'image-not-found' });
  });

  await t.test('a part of a volume is what is there, and no link in it leads out', async t => {
    const data = `${rig.dataDir}/volumes/parts/_data`;
    await volumes?.create({ name: 'parts', options: {}, labels: {} });
    fs.mkdirSync(`${data}/a/b`, { recursive: true });
    fs.writeFileSync(`${data}/a/b/inner`, '');
    fs.writeFileSync(`${data}/file`, 'one');
    fs.symlinkSync('/etc', `${data}/out`);
    fs.symlinkSync('a/b', `${data}/in`);
    const part = (subpath: string, target: string): Mount => makeMount('volume', 'parts', target, { subpath });
    const { pid, state, error } = await rig.run(
      makeTask({ container: { mounts: [part('a/b', '/d'), part('file', '/f'), part('in', '/l')] } }),
    );
    t.equal(state, 'running', error);
    for (const path of ['d/inner', 'l/inner', 'f']) t.ok(fs.existsSync(`/proc/${pid}/root/${path}`), path);
    for (const subpath of ['nope', 'out']) {
      const end = await rig.run(makeTask({ container: { mounts: [part(subpath, '/d')] } }), 'complete');
      t.match(end, { state: 'rejected', errorCode: 'mount-source' }, subpath);
    }
  });
});
