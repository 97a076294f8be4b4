import t from 'tap';
import type { ContainerSpec, Mount } from '../../../src/gen/types.js';
import type { ImageRunConfig } from '../../../src/tasks/images.js';
import { type BundleInput, planBundle, renderHosts, renderResolvConf } from '../../../src/tasks/runtime/bundle.js';
import {
  defaultCapabilities,
  knownCapabilities,
  parseCapabilityMask,
  planCapabilities,
} from '../../../src/tasks/runtime/capabilities.js';
import { noDevices } from '../../../src/tasks/runtime/devices.js';
import { renderConfig } from '../../../src/tasks/runtime/oci.js';
import { parseHardLimits } from '../../../src/tasks/runtime/process.js';
import { planLimits } from '../../../src/tasks/runtime/resources.js';
import { plainMount } from '../../../src/tasks/spec/mounts.js';
import { emptyImage, makeTask } from '../fixtures.js';

interface Asked {
  readonly container?: Partial<ContainerSpec>;
  readonly image?: Partial<ImageRunConfig>;
  readonly input?: Partial<BundleInput>;
}

const plainIsolation: BundleInput['isolation'] = {
  privileged: false,
  range: undefined,
  noNewPrivileges: false,
  bareSystemPaths: false,
  masks: undefined,
  devices: noDevices,
  labels: {},
  sysSource: undefined,
  startedInNetwork: false,
  withoutCgroups: false,
  filter: { profile: undefined, compiled: undefined },
};

function bundle({ container = {}, image = {}, input = {} }: Asked = {}) {
  const task = makeTask({ container: { command: [], ...container } });
  const spec = task.spec.containers[0]!;
  return planBundle({
    task,
    index: 0,
    container: spec,
    image: { ...emptyImage, command: ['sleep'], ...image },
    user: { uid: 0, gid: 0, groups: [], home: '/root' },
    rootPath: '/root',
    networkPath: '/run/netns/x',
    cgroupPath: '/covey/x',
    cgroupNamespace: false,
    mounts: { mounts: spec.mounts, volumePaths: new Map(), files: [], shmBytes: 0 },
    limits: planLimits({}, { countsSwap: true }),
    host: { hardLimits: new Map([['nofile', 20_000]]), mayRaise: false, capabilities: knownCapabilities },
    capabilities: planCapabilities(spec, knownCapabilities),
    isolation: plainIsolation,
    ...input,
  });
}

const mount = (changes: Partial<Mount>): Mount => ({
  ...plainMount('bind', '/x'),
  source: '/data',
  ...changes,
});

const commands: readonly (readonly [string, Asked, readonly string[]])[] = [
  ['the image’s command', { image: { command: ['a', 'b'] } }, ['a', 'b']],
  ['the image’s entrypoint with its command', { image: { entrypoint: ['e'], command: ['a'] } }, ['e', 'a']],
  [
    'a command replaces the image’s',
    { image: { entrypoint: ['e'], command: ['a'] }, container: { command: ['c'] } },
    ['e', 'c'],
  ],
  [
    'an entrypoint drops the image’s command',
    { image: { entrypoint: ['e'], command: ['a'] }, container: { entrypoint: ['n'] } },
    ['n'],
  ],
  [
    'both',
    { image: { entrypoint: ['e'], command: ['a'] }, container: { entrypoint: ['n'], command: ['c'] } },
    ['n', 'c'],
  ],
  ['an init in front', { container: { init: true } }, ['/dev/init', '--', 'sleep']],
  ['an empty word is a word', { container: { command: ['c', ''] } }, ['c', '']],
];

t.test('argv is what Docker would make of it', async t => {
  for (const [name, asked, args] of commands) t.strictSame(bundle(asked).process.args, args, name);
  t.throws(() => bundle({ image: { command: [] } }), { code: 'bad-bundle' }, 'nothing to run');
  t.throws(() => bundle({ container: { command: ['a\0b'] } }), { code: 'bad-bundle' }, 'a NUL byte');
  t.throws(() => bundle({ container: { command: ['a', 'x'.repeat(3 * 2 ** 20)] } }), { code: 'too-large' });
});

const environments: readonly (readonly [string, Asked, readonly string[]])[] = [
  ['defaults', {}, ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root']],
  ['the image’s path', { image: { env: ['PATH=/bin'] } }, ['PATH=/bin']],
  ['the spec wins over the image', { image: { env: ['A=1', 'B=2'] }, container: { env: ['A=3'] } }, ['A=3', 'B=2']],
  ['a value may hold =', { container: { env: ['A=b=c'] } }, ['A=b=c']],
  ['a terminal', { container: { tty: true } }, ['TERM=xterm']],
  ['HOME may be set', { container: { env: ['HOME=/x'] } }, ['HOME=/x']],
];

t.test('the environment', async t => {
  for (const [name, asked, expected] of environments) {
    const { env } = bundle(asked).process;
    for (const entry of expected) t.ok(env.includes(entry), `${name}: ${entry} in ${env.join(' ')}`);
    const names = env.map(entry => entry.split('=')[0]);
    t.equal(new Set(names).size, names.length, `${name}: no name twice`);
  }
  const without = bundle({ image: { env: ['A=1'] }, container: { env: ['A'] } }).process.env;
  t.notOk(
    without.some(entry => entry.startsWith('A')),
    'a name alone takes it away',
  );
  const named = bundle({ container: { hostname: 'db' } });
  t.ok(named.process.env.includes('HOSTNAME=db'));
  t.equal(named.hostname, 'db');
  t.throws(() => bundle({ container: { hostname: 'a b' } }), { code: 'bad-bundle' });
});

t.test('the working directory', async t => {
  t.equal(bundle().process.cwd, '/');
  t.equal(bundle({ image: { workingDir: '/srv' } }).process.cwd, '/srv');
  t.equal(bundle({ image: { workingDir: '/srv' }, container: { workingDir: '/a/../b/' } }).process.cwd, '/b');
  t.equal(bundle({ container: { workingDir: 'rel' } }).process.cwd, '/rel');
  for (const workingDir of ['/proc', '/proc/self/fd/8', '/x/../proc/1'])
    t.throws(() => bundle({ container: { workingDir } }), { code: 'bad-bundle' }, workingDir);
});

const capabilityRows: readonly (readonly [string, readonly string[], readonly string[], readonly string[] | number])[] =
  [
    ['Docker’s fourteen', [], [], 14],
    ['one more', ['NET_ADMIN'], [], 15],
    ['one less', [], ['chown'], 13],
    ['one that is there', ['CAP_CHOWN'], [], 14],
    ['none', [], ['ALL'], []],
    ['only one', ['net_raw'], ['all'], ['CAP_NET_RAW']],
    ['all', ['ALL'], [], knownCapabilities.length],
    ['all but one', ['ALL'], ['SYS_ADMIN'], knownCapabilities.length - 1],
  ];

t.test('capabilities', async t => {
  for (const [name, capAdd, capDrop, expected] of capabilityRows) {
    const planned = planCapabilities({ capAdd, capDrop }, knownCapabilities);
    if (typeof expected === 'number') t.equal(planned.length, expected, name);
    else t.strictSame(planned, expected, name);
  }
  t.throws(() => planCapabilities({ capAdd: ['FLY'], capDrop: [] }, knownCapabilities), { code: 'bad-bundle' });
  t.throws(
    () => planCapabilities({ capAdd: ['SYS_ADMIN'], capDrop: [] }, defaultCapabilities),
    { code: 'bad-bundle' },
    'nobody can give what he has not',
  );
  const root = bundle().process.capabilities;
  t.strictSame(root.effective, root.bounding);
  const user = bundle({ input: { user: { uid: 7, gid: 7, groups: [8], home: '/' } } }).process;
  t.match(user, {
    user: { uid: 7, gid: 7, additionalGids: [8] },
    capabilities: { effective: [], permitted: [], ambient: [] },
  });
  t.equal(user.capabilities.bounding.length, 14);
  t.strictSame(parseCapabilityMask('Name:\tx\nCapEff:\t0000000000000003\n', 'CapEff'), [
    'CAP_CHOWN',
    'CAP_DAC_OVERRIDE',
  ]);
});

t.test('limits of the process are clamped to what the daemon may give', async t => {
  const ulimits = [
    { name: 'nofile', soft: 1_024, hard: 1_000_000 },
    { name: 'core', soft: -1, hard: -1 },
  ];
  const config = bundle({ container: { ulimits, oomScoreAdj: -500 } });
  t.strictSame(config.process.rlimits[0], { type: 'RLIMIT_NOFILE', soft: 1_024, hard: 20_000 });
  t.match(renderConfig(config), /"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615/);
  t.equal(config.process.oomScoreAdj, undefined, 'a negative score needs CAP_SYS_RESOURCE');
  t.equal(bundle({ container: { oomScoreAdj: 300 } }).process.oomScoreAdj, 300);
  t.throws(() => bundle({ container: { ulimits: [{ name: 'fun', soft: 1, hard: 1 }] } }), { code: 'bad-bundle' });
  t.throws(() => bundle({ container: { ulimits: [{ name: 'nofile', soft: 2, hard: 1 }] } }), { code: 'bad-bundle' });
  const limits = parseHardLimits(
    'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 20000                files     \nMax cpu time              unlimited            unlimited            seconds   \n',
  );
  t.strictSame(
    [...limits],
    [
      ['nofile', 20_000],
      ['cpu', Number.POSITIVE_INFINITY],
    ],
  );
});

t.test('resources', async t => {
  const none = bundle().linux.resources;
  t.strictSame(none.memory, undefined);
  t.equal(none.pids.limit, 8_192, 'there is always a limit of processes');
  t.match(none.devices[0], { allow: false, access: 'rwm' }, 'devices are refused first');
  const limits = { cpuNanos: 1.5e9, memoryBytes: 2 ** 26, pids: 9 };
  const asked = planLimits({ limits, reservations: { cpuNanos: 5e8, memoryBytes: 0, pids: 0 } }, { countsSwap: true });
  t.match(bundle({ input: { limits: asked } }).linux.resources, {
    cpu: { quota: 150_000, period: 100_000, shares: 512 },
    memory: { limit: 2 ** 26, swap: 2 ** 26 },
    pids: { limit: 9 },
  });
  t.equal(
    planLimits({ limits: { ...limits, cpuNanos: 1 } }, { countsSwap: true }).cpuQuotaUs,
    1_000,
    'the kernel’s least',
  );
  t.notHas(bundle({ input: { limits: { ...asked, limitSwap: false } } }).linux.resources.memory, { swap: 2 ** 26 });
});

t.test('namespaces', async t => {
  const types = (asked: Asked) => bundle(asked).linux.namespaces.map(({ type }) => type);
  t.strictSame(types({}), ['pid', 'mount', 'ipc', 'uts', 'network']);
  t.strictSame(types({ input: { networkPath: undefined } }), ['pid', 'mount', 'ipc', 'uts']);
  t.ok(types({ input: { cgroupNamespace: true } }).includes('cgroup'));
});

t.test('mounts', async t => {
  const system = bundle().mounts.map(({ destination }) => destination);
  t.strictSame(system, ['/proc', '/dev', '/dev/pts', '/sys', '/sys/fs/cgroup', '/dev/mqueue', '/dev/shm']);
  const find = (asked: Asked, target: string) =>
    bundle(asked).mounts.filter(({ destination }) => destination === target);
  t.strictSame(find({ container: { mounts: [mount({ readOnly: true })] } }, '/x'), [
    { destination: '/x', type: 'bind', source: '/data', options: ['rbind', 'ro', 'rprivate'] },
  ]);
  t.match(
    find({ container: { mounts: [mount({ kind: 'tmpfs', tmpfsBytes: 4_096, tmpfsMode: 0o750 })] } }, '/x')[0]?.options,
    ['nosuid', 'nodev', 'noexec', 'mode=750', 'size=4096'],
  );
  t.equal(
    find({ container: { mounts: [mount({ kind: 'tmpfs', target: '/dev/shm' })] } }, '/dev/shm').length,
    1,
    'what is asked for replaces the default',
  );
  const nested = bundle({
    container: { mounts: [mount({ target: '/a/b/c' }), mount({ target: '/a' }), mount({ target: '/a/b' })] },
  });
  t.strictSame(
    nested.mounts.slice(-3).map(({ destination }) => destination),
    ['/a', '/a/b', '/a/b/c'],
    'outer ones first',
  );
  t.equal(bundle({ container: { mounts: [mount({ propagation: 'rshared' })] } }).linux.rootfsPropagation, 'shared');
  const bad = [
    mount({ target: 'rel' }),
    mount({ target: '/' }),
    mount({ target: '/proc/sys' }),
    mount({ target: '/a/../dev' }),
    mount({ propagation: 'odd' }),
    mount({ kind: 'volume' }),
  ];
  for (const one of bad)
    t.throws(() => bundle({ container: { mounts: [one] } }), { code: 'bad-bundle' }, JSON.stringify(one));
  t.throws(
    () => bundle({ container: { mounts: [mount({}), mount({ target: '/x/' })] } }),
    { code: 'bad-bundle' },
    'a target twice',
  );
});

t.test('sysctls that belong to the machine are refused', async t => {
  t.match(bundle({ container: { sysctls: { 'net.core.somaxconn': '9' } } }).linux.sysctl, {
    'net.core.somaxconn': '9',
    'net.ipv4.ip_unprivileged_port_start': '0',
  });
  const own = { networkPath: undefined };
  t.strictSame(bundle({ input: own, container: { sysctls: { 'kernel.shmmax': '1' } } }).linux.sysctl, {
    'kernel.shmmax': '1',
  });
  for (const name of ['kernel.panic', 'vm.swappiness', 'net.../../kernel/panic'])
    t.throws(() => bundle({ container: { sysctls: { [name]: '1' } } }), { code: 'bad-bundle' }, name);
  t.throws(() => bundle({ input: own, container: { sysctls: { 'net.core.somaxconn': '1' } } }), { code: 'bad-bundle' });
});

t.test('masks and the compiled filter', async t => {
  const { linux, annotations } = bundle({
    input: { isolation: { ...plainIsolation, filter: { profile: undefined, compiled: Buffer.from('bpf') } } },
  });
  t.ok(linux.maskedPaths.includes('/proc/kcore') && linux.maskedPaths.includes('/sys/firmware'));
  t.ok(linux.readonlyPaths.includes('/proc/sys'));
  t.equal(annotations['run.oci.seccomp_bpf_data'], Buffer.from('bpf').toString('base64'));
  t.equal(linux.seccomp, undefined);
});

t.test(
  'folders of the machine are hidden under one empty folder, after all other mounts; the rest by the runtime',
  async t => {
    const masks = { emptyFolder: '/run/covey/empty', folders: ['/proc/acpi', '/sys/firmware'] };
    const container = { mounts: [mount({ target: '/sys/firmware/dmi' })] };
    const { linux, mounts } = bundle({ container, input: { isolation: { ...plainIsolation, masks } } });
    const hidden = mounts.filter(({ source }) => source === masks.emptyFolder);
    t.strictSame(hidden, mounts.slice(-2));
    t.strictSame(
      hidden.map(({ destination }) => destination),
      masks.folders,
    );
    t.ok(
      hidden.every(({ options }) => ['bind', 'ro', 'nosuid', 'nodev', 'noexec'].every(one => options.includes(one))),
    );
    t.notOk(linux.maskedPaths.some(path => masks.folders.includes(path)));
    t.ok(linux.maskedPaths.includes('/proc/kcore') && linux.maskedPaths.includes('/proc/asound'));
    const bare = bundle({ input: { isolation: { ...plainIsolation, masks, bareSystemPaths: true } } });
    t.strictSame([bare.linux.maskedPaths, bare.mounts.filter(({ source }) => source === masks.emptyFolder)], [[], []]);
  },
);

t.test('/etc/hosts and /etc/resolv.conf', async t => {
  const hosts = renderHosts(
    'web',
    [{ networkId: 'n' as never, addresses: ['10.1.0.5/32'] }],
    ['db:10.0.0.1', 'v6:fe80::1'],
  );
  for (const line of ['127.0.0.1\tlocalhost', '10.1.0.5\tweb', '10.0.0.1\tdb', 'fe80::1\tv6'])
    t.ok(hosts.split('\n').includes(line), line);
  t.throws(() => renderHosts('web', [], ['nothing']), { code: 'bad-bundle' });
  const network = { nameservers: ['169.254.1.1'], searchDomains: ['shop.internal'], takesUpstreams: false };
  t.equal(
    renderResolvConf({ dns: [], dnsSearch: [], dnsOptions: [] }, network),
    'nameserver 169.254.1.1\nsearch shop.internal\noptions ndots:0\n',
  );
  t.equal(
    renderResolvConf({ dns: ['1.1.1.1', '2.2.2.2'], dnsSearch: ['.'], dnsOptions: ['rotate'] }, network),
    'nameserver 1.1.1.1\nnameserver 2.2.2.2\noptions rotate\n',
  );
  t.equal(
    renderResolvConf({ dns: ['1.1.1.1'], dnsSearch: [], dnsOptions: [] }, { ...network, takesUpstreams: true }),
    'nameserver 169.254.1.1\nsearch shop.internal\noptions ndots:0\n',
    'the resolver of the cluster asks it in the name of the task',
  );
});
