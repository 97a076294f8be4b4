/** An image store of one image, "test:1": a root file system with busybox, as a plain directory for each container. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { CoveyError } from '../../src/errors.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { mountRoot, unmountRoot } from '../../src/tasks/image/mount.js';
import type { ImageRunConfig, TaskImages } from '../../src/tasks/images.js';

const applets =
  'sh sleep cat true false echo ps id env ls mkdir touch kill stty dd head seq tail stat ulimit hostname trap wc yes mount unshare ip test pwd grep usleep nc readlink printf'.split(
    ' ',
  );

export function fakeImages(directory: string, config: ImageRunConfig): TaskImages {
  const master = join(directory, 'master');
  if (!fs.existsSync(master)) makeMaster(master);
  const record = { digest: 'sha256:0', config, layers: [] };
  return {
    find: reference => (reference === 'test:1' ? record : undefined),
    ensure: async ({ image }) => {
      if (image === 'test:1') return record;
      throw new CoveyError('image-not-found', `Cannot find image "${image}" on this node`);
    },
    mountRoot: async (_image, folder, look = {}) => {
      if (look.map !== undefined) {
        const plan = { lower: ['.'], root: { mode: 0o755, uid: 0, gid: 0 } };
        return await mountRoot(plan, { host: linuxHost, images: master, directory: folder, ...look });
      }
      const merged = join(folder, 'merged');
      if (!fs.existsSync(join(merged, 'done'))) {
        fs.mkdirSync(merged, { recursive: true });
        execFileSync('cp', ['-al', `${master}/.`, merged]);
        fs.writeFileSync(join(merged, 'done'), '');
      }
      return { rootPath: merged };
    },
    unmountRoot: async folder => {
      await unmountRoot(linuxHost, folder);
      fs.rmSync(folder, { recursive: true, force: true });
    },
    acquire: () => undefined,
    release: () => undefined,
    resolveUser: async (_root, user, groups) => {
      const [uid, gid] = /^\d+:\d+$/.test(user) ? user.split(':').map(Number) : [];
      if (uid !== undefined && gid !== undefined) return { uid, gid, groups: groups.map(Number), home: '/' };
      if (user === '' || user === 'root' || user === '0') return { uid: 0, gid: 0, groups: [], home: '/root' };
      if (user === 'web') return { uid: 33, gid: 34, groups: [34, 7], home: '/srv' };
      throw new CoveyError('user-not-found', `Cannot find user "${user}" in the image`);
    },
  };
}

function makeMaster(master: string): void {
  for (const folder of ['bin', 'etc', 'tmp', 'proc', 'dev', 'sys'])
    fs.mkdirSync(join(master, folder), { recursive: true });
  fs.copyFileSync(linuxHost.processes.findOnPath('busybox') ?? '/bin/busybox', join(master, 'bin/busybox'));
  for (const name of applets) fs.symlinkSync('busybox', join(master, 'bin', name));
  fs.writeFileSync(join(master, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n');
  fs.writeFileSync(join(master, 'etc/script'), 'no program');
  fs.chmodSync(join(master, 'tmp'), 0o1777);
  fs.writeFileSync(join(master, 'etc/owned'), '', { mode: 0o640 });
  fs.chownSync(join(master, 'etc/owned'), 33, 34);
  fs.mkdirSync(join(master, 'data'));
  fs.writeFileSync(join(master, 'data/owned'), '');
  fs.chownSync(join(master, 'data/owned'), 7, 8);
}
