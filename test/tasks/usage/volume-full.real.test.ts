/** A named volume that is a file system of its own, full: told on its task. Limits of a cgroup are in limits-hit.real.test.ts. */
import * as fs from 'node:fs';
import t from 'tap';
import { linuxHost } from '../../../src/host-linux/index.js';
import { openVolumes } from '../../../src/tasks/volumes.js';
import { makeMount, makeTask, openRig, whyNotReal } from '../fixtures.js';
import { silentLog } from '../image/test-store.js';
import { codes } from './objects.js';

const skip = whyNotReal();

t.test('a volume that is full', { skip }, async t => {
  await using rig = await openRig(t, {
    prefix: 'cvtfu',
    limitsEveryMs: 700,
    agent: ({ dataDir }) => ({
      volumes: openVolumes({ host: linuxHost, directory: `${dataDir}/volumes`, log: silentLog }),
    }),
  });

  await t.test(
    'a named volume that is a file system of its own is told when it is full, and no more when it is not',
    async t => {
      const volumeOptions = { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' };
      const mount = makeMount('volume', 'spool', '/spool', { volumeOptions });
      const command = ['sh', '-c', 'dd if=/dev/zero of=/spool/x bs=1M; sleep 1000'];
      const task = makeTask({ container: { command, mounts: [mount] } });
      const { pid } = await rig.run(task);
      const told = await rig.wait(task.id, status => codes(status).includes('volume-full'));
      t.match(told.limits?.warnings[0]?.message, /^volume spool at \/spool is full: 0 B of 1 MiB are free/);
      fs.rmSync(`/proc/${pid}/root/spool/x`);
      await rig.wait(task.id, status => codes(status).length === 0);
      t.pass('told no more');
      await rig.assign([{ ...task, desired: 'shutdown' }]);
      await rig.wait(task.id, 'complete');
    },
  );
});
