import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { linuxFiles } from '../../src/host-linux/files.js';
import { linuxMounts, mountFlags } from '../../src/host-linux/mounts.js';

const root = process.getuid?.() === 0 ? false : 'needs root';

t.test('a replaced file has the old or the new content, and its mode, and leaves no temporary', async t => {
  const directory = t.testdir({ state: 'old' });
  const path = join(directory, 'state');
  await linuxFiles.replace(path, 'new', { mode: 0o640 });
  t.equal(await linuxFiles.readText(path), 'new');
  t.equal((await linuxFiles.findStat(path))?.mode, 0o640);
  await t.rejects(linuxFiles.replace(join(directory, 'none/state'), 'x'), { code: 'not-found' });
  t.same(fs.readdirSync(directory), ['state']);
});

t.test('what is not there is undefined, empty, or not-found, as the call says', async t => {
  const none = join(t.testdir({}), 'none');
  t.equal(await linuxFiles.findText(none), undefined);
  t.equal(linuxFiles.findTextSync(none), undefined);
  t.equal(await linuxFiles.findStat(none), undefined);
  t.equal(await linuxFiles.findLink(none), undefined);
  t.same(await linuxFiles.list(none), []);
  await linuxFiles.remove(none);
  await linuxFiles.removeTree(none);
  await t.rejects(linuxFiles.read(none), { code: 'not-found', message: /none/ });
});

t.test('a full file system is no-space, and the old file stays', { skip: root }, async t => {
  const directory = t.testdir({ small: {} });
  const small = join(directory, 'small');
  linuxMounts.mount({ source: 'tmpfs', target: small, type: 'tmpfs', flags: 0, data: 'size=64k' });
  try {
    await linuxFiles.replace(join(small, 'state'), 'old');
    await t.rejects(linuxFiles.replace(join(small, 'state'), Buffer.alloc(1 << 20)), { code: 'no-space' });
    t.equal(await linuxFiles.readText(join(small, 'state')), 'old');
    t.same(fs.readdirSync(small), ['state']);
  } finally {
    linuxMounts.unmount(small, { detach: true });
  }
});

t.test('a tree with a mount inside is not removed', { skip: root }, async t => {
  const directory = t.testdir({ tree: { sub: {} }, precious: { file: 'x' } });
  const inside = join(directory, 'tree/sub');
  linuxMounts.mount({ source: join(directory, 'precious'), target: inside, type: '', flags: mountFlags.bind });
  t.teardown(() => linuxMounts.unmount(inside, { detach: true }));
  await t.rejects(linuxFiles.removeTree(join(directory, 'tree')), { code: 'mount-failed', message: /tree\/sub/ });
  t.equal(fs.readFileSync(join(directory, 'precious/file'), 'utf8'), 'x');
  linuxMounts.unmount(inside);
  await linuxFiles.removeTree(join(directory, 'tree'));
  t.equal(fs.existsSync(join(directory, 'tree')), false);
});

t.test('a lock has one holder at a time among processes', async t => {
  const path = join(t.testdir({}), 'lock');
  t.equal(linuxMounts.lockFile(path), true);
  const { spawnSync } = await import('node:child_process');
  t.equal(spawnSync('flock', ['-n', path, 'true']).status, 1, 'another process is refused');
});

t.test('mount errors name call, objects and errno', { skip: root }, async t => {
  t.throws(() => linuxMounts.mount({ source: 'overlay', target: '/nowhere', type: 'overlay', flags: 0 }), {
    code: 'mount-failed',
    message: /mount overlay "overlay" on "\/nowhere": E/,
  });
  linuxMounts.unmount('/nowhere');
});
