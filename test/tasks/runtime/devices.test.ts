import t from 'tap';
import type { FileStat } from '../../../src/host.js';
import { type CdiFile, planCdi } from '../../../src/tasks/runtime/cdi.js';
import { planDevices } from '../../../src/tasks/runtime/devices.js';
import { categoriesOf, planLabels } from '../../../src/tasks/runtime/lsm.js';

const file = (path: string, spec: object, trusted = true): CdiFile => ({ path, text: JSON.stringify(spec), trusted });
const spec = (more: object = {}) => ({
  cdiVersion: '0.6.0',
  kind: 'vendor.com/gpu',
  containerEdits: { env: ['ALL=1'], additionalGids: [0, 44] },
  devices: [
    { name: '0', containerEdits: { env: ['ONE=0'], deviceNodes: [{ path: '/dev/gpu0' }] } },
    { name: '1', containerEdits: { env: ['ONE=1'], deviceNodes: [{ path: '/dev/gpu1', permissions: 'none' }] } },
  ],
  ...more,
});
const node = (name: string) => ({ name, containerEdits: { env: [`FROM=${name}`] } });

t.test('the common part of a file counts once, and a later file wins', async t => {
  const first = file('/etc/cdi/a.json', spec());
  t.strictSame(planCdi(['vendor.com/gpu=0', 'vendor.com/gpu=1'], [first]).env, ['ALL=1', 'ONE=0', 'ONE=1']);
  t.strictSame(planCdi(['vendor.com/gpu=0'], [first]).groups, [44], 'group 0 does not count');
  const later = file('/var/run/cdi/b.json', { cdiVersion: '0.6.0', kind: 'vendor.com/gpu', devices: [node('0')] });
  t.strictSame(planCdi(['vendor.com/gpu=0'], [first, later]).env, ['FROM=0']);
  const yaml = {
    ...first,
    text: 'cdiVersion: "0.6.0"\nkind: vendor.com/gpu\ndevices:\n- name: x\n  containerEdits:\n    env: [A=b]\n',
  };
  t.strictSame(planCdi(['vendor.com/gpu=x'], [yaml]).env, ['A=b']);
});

t.test('what a file does not name, or says wrongly, is refused', async t => {
  const refused = (names: readonly string[], files: readonly CdiFile[], error: RegExp): void =>
    void t.throws(() => planCdi(names, files), { code: 'device-not-found', message: error });
  refused(['vendor.com/gpu=7'], [file('/a', spec())], /no CDI specification names it/);
  refused(['vendor.com/gpu=0'], [], /no CDI specification names it/);
  const one = ['vendor.com/gpu=0'];
  refused(one, [{ path: '/a', text: '{', trusted: true }], /neither JSON nor YAML/);
  refused(one, [file('/a', spec({ kind: 'gpu' }))], /kind has to be/);
  refused(one, [file('/a', spec({ devices: [] }))], /names no device/);
  refused(one, [file('/a', spec({ colour: 1 }))], /unknown field "colour"/);
  refused(one, [file('/a', spec({ containerEdits: { env: ['A'] } }))], /"A" in env/);
  refused(one, [file('/a', spec({ containerEdits: { deviceNodes: [{ path: 'dev/x' }] } }))], /not absolute/);
  const hooks = { hooks: [{ hookName: 'createContainer', path: '/usr/bin/hook', args: ['hook'] }] };
  refused(one, [file('/a', spec({ containerEdits: hooks }), false)], /others than root can write it/);
  refused(one, [file('/a', spec({ containerEdits: { hooks: [{ hookName: 'x', path: '/h' }] } }))], /no hook "x"/);
  t.match(planCdi(one, [file('/a', spec({ containerEdits: hooks }))]).hooks, [{ name: 'createContainer' }]);
});

const stat = (kind: FileStat['kind'], more: Partial<FileStat> = {}): FileStat => {
  const plain = { sizeBytes: 0, mode: 0o660, uid: 0, gid: 6, inode: 1, device: 1, modifiedMs: 0 };
  return { kind, ...plain, ...more };
};
const machine: Readonly<Record<string, FileStat>> = {
  '/dev': stat('directory'),
  '/dev/null': stat('other', { node: { type: 'c', major: 1, minor: 3 } }),
  '/dev/sda': stat('other', { node: { type: 'b', major: 8, minor: 0 } }),
  '/dev/gpu0': stat('other', { node: { type: 'c', major: 195, minor: 0 } }),
  '/dev/snd': stat('directory'),
  '/dev/snd/pcm': stat('other', { node: { type: 'c', major: 116, minor: 2 } }),
  '/dev/disk': stat('symlink'),
  '/dev/empty': stat('directory'),
  '/dev/file': stat('file'),
  '/dev/pts': stat('directory'),
  '/dev/pts/0': stat('other', { node: { type: 'c', major: 136, minor: 0 } }),
};
const files = {
  findStat: async (path: string) => machine[path],
  findLink: async () => 'sda',
  findText: async () => undefined,
  list: async (path: string) =>
    Object.keys(machine).flatMap(name =>
      name.slice(0, name.lastIndexOf('/')) === path ? [name.split('/').at(-1)!] : [],
    ),
};
const ask = async (source: string, more = {}) =>
  await planDevices(files, {
    requests: [{ kind: 'path', source, target: '/dev/x', access: 'rw' }],
    rules: [],
    privileged: false,
    asMounts: false,
    cdiFolders: [],
    ...more,
  });

t.test('rules allow besides, and mean nothing to who may do all', async t => {
  const rules = [
    { type: 'c', major: 10, minor: undefined, access: 'r' },
    { type: 'a', major: undefined, minor: undefined, access: 'rwm' },
  ];
  const plan = await ask('/dev/sda', { rules });
  t.strictSame(plan.rules.slice(1), [
    { allow: true, type: 'c', major: 10, access: 'r' },
    { allow: true, type: 'a', access: 'rwm' },
  ]);
  t.strictSame((await ask('/dev/sda', { rules, privileged: true })).rules.length, 1);
});

t.test('a device has the numbers and the owner that the machine gives it', async t => {
  t.match(await ask('/dev/sda'), {
    devices: [{ path: '/dev/x', type: 'b', major: 8, minor: 0, fileMode: 0o660, uid: 0, gid: 6 }],
    rules: [{ allow: true, type: 'b', major: 8, minor: 0, access: 'rw' }],
  });
  t.match(await ask('/dev/disk'), { devices: [{ path: '/dev/x', major: 8 }] }, 'a link is followed');
  t.match(
    await ask('/dev/snd'),
    { devices: [{ path: '/dev/x/pcm', major: 116 }] },
    'a folder stands for what is in it',
  );
  const mapped = await ask('/dev/sda', { asMounts: true });
  t.match(mapped, { devices: [], mounts: [{ destination: '/dev/x', source: '/dev/sda' }], rules: [{ major: 8 }] });
  for (const [source, error] of [
    ['/dev/none', /no such file/],
    ['/dev/file', /is no device/],
    ['/dev/empty', /no device in it/],
  ] as const) {
    await t.rejects(ask(source), { code: 'device-not-found', message: error }, source);
  }
});

t.test('a privileged container has all of them, but for those of its own mounts', async t => {
  const plan = await planDevices(files, { requests: [], rules: [], privileged: true, asMounts: false, cdiFolders: [] });
  t.strictSame(plan.devices.map(({ path }) => path).sort(), ['/dev/gpu0', '/dev/null', '/dev/sda', '/dev/snd/pcm']);
  t.strictSame(plan.rules, [{ allow: true, type: 'a', access: 'rwm' }]);
});

t.test('labels are given where the kernel has the module, refused or harmless where it has not', async t => {
  const none = { seccomp: undefined, apparmor: undefined, labels: [], noNewPrivileges: false, bareSystemPaths: false };
  const plan = (asked: object, on: 'apparmor' | 'selinux' | '', privileged = false) =>
    planLabels({
      modules: { apparmor: on === 'apparmor', selinux: on === 'selinux' },
      options: { ...none, ...asked },
      privileged,
      defaultProfile: 'own',
      categories: [7, 3],
    });
  t.strictSame(plan({}, ''), {});
  t.strictSame(plan({}, 'apparmor'), { apparmorProfile: 'own' });
  t.strictSame(plan({}, 'apparmor', true), {});
  t.strictSame(plan({ apparmor: 'mine' }, 'apparmor', true), { apparmorProfile: 'mine' });
  t.strictSame(plan({ apparmor: 'unconfined' }, 'apparmor'), { apparmorProfile: 'unconfined' });
  t.strictSame(plan({ apparmor: 'unconfined', labels: ['disable'] }, ''), {});
  t.throws(() => plan({ apparmor: 'mine' }, ''), { code: 'no-apparmor' });
  t.throws(() => plan({ labels: ['type:x_t'] }, ''), { code: 'no-selinux' });
  t.strictSame(plan({}, 'selinux'), {
    selinuxLabel: 'system_u:system_r:container_t:s0:c3,c7',
    mountLabel: 'system_u:object_r:container_file_t:s0:c3,c7',
  });
  t.strictSame(plan({ labels: ['type:svirt_t', 'level:s0:c1,c2'] }, 'selinux'), {
    selinuxLabel: 'system_u:system_r:svirt_t:s0:c1,c2',
    mountLabel: 'system_u:object_r:container_file_t:s0:c1,c2',
  });
  t.strictSame(plan({ labels: ['disable'] }, 'selinux'), {});
  for (let byte = 0; byte < 256; byte += 1) {
    const [low, high] = categoriesOf(Uint8Array.of(byte, 255 - byte, byte, 7));
    if (low >= high || high > 1_023) t.fail(`${low}, ${high}`);
  }
});
