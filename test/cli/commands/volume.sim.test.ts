import t from 'tap';
import { CoveyError } from '../../../src/errors.js';
import type { Volume } from '../../../src/gen/types.js';
import { openFakeDaemon } from '../fake-daemon.js';

const volume = (name: string, more: Partial<Volume> = {}): Volume => ({
  name,
  path: `/var/lib/covey/volumes/${name}/_data`,
  options: {},
  labels: {},
  createdAtMs: 0,
  anonymous: false,
  mounted: false,
  taskIds: [],
  usage: { bytes: 3 * 2 ** 20, inodes: 12, asOfMs: 0 },
  freeBytes: 2 ** 30,
  freeInodes: 1_000,
  ...more,
});
const used = volume('shop_data', { taskIds: ['t'.repeat(25) as never] });

t.test('volumes are listed with what they hold, and removed only when that is meant', async t => {
  const removed: string[] = [];
  const daemon = await openFakeDaemon(t, {
    local: {
      listVolumes: async ({ names }) => ({
        volumes: [used, volume('old', { usage: undefined }), volume('_x', { anonymous: true })].filter(
          one => names.length === 0 || names.includes(one.name),
        ),
      }),
      createVolume: async ({ name, options, labels }) => volume(name, { options, labels }),
      removeVolume: async ({ name }) => {
        if (name === 'shop_data') throw new CoveyError('volume-in-use', 'Cannot remove volume "shop_data": in use');
        removed.push(name);
        return {};
      },
    },
  });
  const list = await daemon.covey(['volume', 'ls']);
  t.match(list.out, /VOLUME +TYPE +USED +INODES +FREE +TASKS/);
  t.match(list.out, /shop_data +directory +3.0 MiB +12 +1.0 GiB +1/);
  t.match(list.out, /old +directory +- +-/);
  t.match(JSON.parse((await daemon.covey(['volume', 'inspect', '--format', 'json', 'old'])).out), {
    name: 'old',
    usage: null,
  });
  t.match(await daemon.covey(['volume', 'rm', 'old']), { code: 2, err: /--yes/ });
  t.strictSame(removed, []);
  t.match(await daemon.covey(['volume', 'rm', '--yes', 'old']), { code: 0, out: 'old\n' });
  t.match(await daemon.covey(['volume', 'rm', '--yes', 'shop_data']), { code: 5, err: /volume-in-use/ });
  t.match(await daemon.covey(['volume', 'prune', '--yes']), { code: 0, out: '_x\n', err: /1 named volume/ });
  t.match(await daemon.covey(['volume', 'prune', '--all', '--yes']), { code: 0, out: '_x\nold\n' });
  t.match(await daemon.covey(['volume', 'create', '-o', 'type=nfs', '--label', 'a=b', 'data']), {
    code: 0,
    out: 'data\n',
  });
  t.match(await daemon.covey(['volume', 'create', '-d', 'cloud', 'data']), { code: 2 });
});
