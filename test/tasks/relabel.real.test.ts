/**
 * SELinux labels on files, read back. The kernel here need not have SELinux on: the labels are attributes that root may
 * write, and a file of /sys that says so stands for it.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { relabel } from '../../src/tasks/relabel.js';
import { makeMount, makeTask, openRig, whyNotReal } from './fixtures.js';

const label = 'system_u:object_r:container_file_t:s0:c3,c7';
const seen = (path: string): string => {
  try {
    return execFileSync('stat', ['--format=%C', path], { encoding: 'utf8' }).trim();
  } catch {
    return '?'; // without SELinux, a file without a label has none to show
  }
};
const canLabel = (): string | false => {
  const file = fs.mkdtempSync('/tmp/covey-label-');
  try {
    execFileSync('chcon', ['--', label, file], { stdio: 'ignore' });
    return seen(file) === label ? false : 'labels cannot be read back here';
  } catch {
    return 'needs chcon, and a file system that takes labels';
  } finally {
    fs.rmdirSync(file);
  }
};
const skip = whyNotReal() || canLabel();

t.test('a whole tree gets the label, and nothing that a link in it leads to', { skip }, async t => {
  const folder = fs.mkdtempSync('/tmp/covey-label-');
  t.teardown(() => fs.rmSync(folder, { recursive: true }));
  fs.mkdirSync(`${folder}/tree/sub`, { recursive: true });
  for (const name of ['tree/sub/file', 'outside']) fs.writeFileSync(`${folder}/${name}`, '');
  fs.symlinkSync('../outside', `${folder}/tree/link`);
  fs.symlinkSync('tree', `${folder}/way`);
  await relabel(linuxHost, [{ label, paths: [`${folder}/way`] }]);
  for (const name of ['tree', 'tree/sub', 'tree/sub/file']) t.equal(seen(`${folder}/${name}`), label, name);
  t.not(seen(`${folder}/outside`), label);
  await t.rejects(relabel(linuxHost, [{ label, paths: [`${folder}/none`] }]), {
    code: 'mount-source',
    state: /none.*No such file/,
  });
});

t.test(
  'on a node with SELinux a bind with z is labelled before the container is made, others keep theirs',
  { skip },
  async t => {
    const findTextSync = (path: string): string | undefined =>
      path === '/sys/fs/selinux/enforce' ? '1' : linuxHost.files.findTextSync(path);
    const host = { ...linuxHost, files: { ...linuxHost.files, findTextSync } };
    await using rig = await openRig(t, { prefix: 'cvtl', agent: () => ({ host }) });
    for (const name of ['z', 'plain']) fs.mkdirSync(`${rig.directory}/${name}`);
    const bind = (name: string, wish = '') =>
      makeMount('bind', `${rig.directory}/${name}`, `/${name}`, { relabel: wish });
    const task = makeTask({ container: { mounts: [bind('z', 'shared'), bind('plain')] } });
    await rig.run(task, 'running'); // where SELinux is off, the runtime fails to label the process
    t.equal(seen(`${rig.directory}/z`), 'system_u:object_r:container_file_t:s0');
    t.not(seen(`${rig.directory}/plain`), seen(`${rig.directory}/z`));
    const refused = makeTask({ container: { mounts: [makeMount('bind', '/etc', '/x', { relabel: 'private' })] } });
    t.match(await rig.run(refused, 'running'), {
      state: 'rejected',
      errorCode: 'mount-source',
      error: /Cannot relabel "\/etc"/,
    });
  },
);

t.test('on a node without SELinux z means nothing, as with Docker', { skip: whyNotReal() }, async t => {
  if (fs.existsSync('/sys/fs/selinux/enforce')) return t.pass('this one has it');
  await using rig = await openRig(t, { prefix: 'cvtm' });
  fs.mkdirSync(`${rig.directory}/z`);
  const mounts = [makeMount('bind', `${rig.directory}/z`, '/z', { relabel: 'private' })];
  t.equal((await rig.run(makeTask({ container: { mounts } }))).state, 'running');
  t.equal(seen(`${rig.directory}/z`), '?');
  return undefined;
});
