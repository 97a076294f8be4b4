// `scripts/vm-test [--timeout SECONDS] [--memory MIB] [--network] [FILE… | -- COMMAND]`: runs compiled real tests (dist/test/….js), or a
// shell command, as root in a virtual machine with Debian's kernel, where cgroup version 2 is alone. Prints what they print;
// the exit status is theirs.
//
// The machine sees this machine's files read-only under a layer in memory: the repository, its Node and the packages that are
// installed here are the same inside, and what is written there is gone afterwards. No disk image and no boot loader: QEMU
// loads the kernel and an initramfs that is made here. Software emulation, so that it needs no rights: up in a few seconds.
//
// Test files are bundled first, with tap inside: hundreds of small files over the shared file system would take longer than
// the tests.
//
// The kernel is one that `scripts/setup --tests` unpacked below .cache/vm; nothing of it is installed on this machine.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** What the tests of limits and of the agent need; those that a kernel has built in are not found, which is fine. */
const modules = 'virtio_pci 9pnet_virtio 9p overlay veth dummy loop bfq'.split(' ');
/** With --network: what the overlay needs, WireGuard of the kernel included. */
const networkModules =
  'crc32c_generic chacha_x86_64 poly1305_x86_64 curve25519_x86_64 bridge vxlan wireguard nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_numgen nft_hash nft_fib_inet nft_reject_inet nf_conntrack_netlink nft_compat nft_limit nft_log nft_socket'.split(
    ' ',
  );

/** It takes some 8 s, on a busy machine several times that. */
const upWithinMs = 75_000;
const startsMax = 3;
let interrupted = false;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    timeout: { type: 'string', default: '300' },
    memory: { type: 'string', default: '1536' },
    why: { type: 'boolean', default: false },
    network: { type: 'boolean', default: false },
  },
});

const obstacle = findObstacle();
if (values.why) {
  process.stdout.write(obstacle === undefined ? '' : `${obstacle}\n`);
  process.exit(0);
}
if (obstacle !== undefined) {
  process.stderr.write(`error: Cannot start a virtual machine: ${obstacle}\n`);
  process.exit(1);
}
process.chdir(root);
process.exit(await boot());

function findObstacle() {
  if (process.arch !== 'x64') return `no kernel is unpacked for ${process.arch}`;
  if (findProgram('qemu-system-x86_64') === undefined)
    return 'qemu-system-x86_64 is not installed (scripts/setup --tests)';
  if (findKernel() === undefined) return 'no kernel lies in .cache/vm (scripts/setup --tests)';
  return findProgram('busybox') === undefined ? 'busybox is not installed (scripts/setup)' : undefined;
}

function findProgram(name) {
  return [...(process.env.PATH ?? '').split(':'), '/bin', '/usr/bin']
    .map(folder => join(folder, name))
    .find(existsSync);
}

/** The newest kernel below .cache/vm: its image and its modules by name. */
function findKernel() {
  const folder = join(root, '.cache/vm');
  const image = existsSync(join(folder, 'boot'))
    ? readdirSync(join(folder, 'boot'))
        .filter(name => name.startsWith('vmlinuz-'))
        .sort()
        .at(-1)
    : undefined;
  if (image === undefined) return undefined;
  const version = image.replace('vmlinuz-', '');
  const files = readdirSync(join(folder, 'lib/modules', version), { recursive: true })
    .filter(path => path.endsWith('.ko'))
    .map(path => [basename(path, '.ko').replaceAll('-', '_'), join(folder, 'lib/modules', version, path)]);
  return { image: join(folder, 'boot', image), modules: new Map(files) };
}

/** The wanted modules with what they depend on, each after its needs. */
function orderModules(kernel) {
  const ordered = new Map();
  const add = name => {
    const file = kernel.modules.get(name);
    if (file === undefined || ordered.has(name)) return;
    const content = readFileSync(file);
    const needs = /\0depends=([^\0]*)\0/.exec(content.toString('latin1'))?.[1] ?? '';
    for (const need of needs.split(',').filter(Boolean)) add(need.replaceAll('-', '_'));
    ordered.set(name, content);
  };
  for (const name of values.network ? [...modules, ...networkModules] : modules) add(name);
  return ordered;
}

function makeInitramfs(kernel, command) {
  const ordered = orderModules(kernel);
  const files = [
    ...['bin', 'mod', 'proc', 'sys', 'dev', 'lower', 'rw', 'merged'].map(name => [name, 0o040755, Buffer.alloc(0)]),
    ['bin/busybox', 0o100755, readFileSync(findProgram('busybox'))],
    ['init', 0o100755, Buffer.from(initScript([...ordered.keys()]))],
    ['command', 0o100755, Buffer.from(command)],
    ...[...ordered].map(([name, content]) => [`mod/${name}.ko`, 0o100644, content]),
  ];
  return gzipSync(Buffer.concat([...files.map(cpioEntry), cpioEntry(['TRAILER!!!', 0, Buffer.alloc(0)], 0)]), {
    level: 1,
  });
}

/** One member of a cpio archive in the form "newc". */
function cpioEntry([name, mode, content], at) {
  const hex = value => value.toString(16).padStart(8, '0');
  const fields = [at + 1, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const head = Buffer.from(`070701${fields.map(hex).join('')}${name}\0`);
  const pad = buffer => Buffer.concat([buffer, Buffer.alloc((4 - (buffer.length % 4)) % 4)]);
  return Buffer.concat([pad(head), pad(content)]);
}

function initScript(names) {
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in ${names.join(' ')}; do insmod /mod/$m.ko; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /lower || poweroff -f
mount -t tmpfs -o size=70% rw /rw; mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /merged || poweroff -f
cp /command /rw/command
for d in proc sys dev; do mount --move /$d /merged/$d; done
mkdir /keep; mount --bind /merged${root} /keep
mount -t tmpfs run /merged/run; mount -t tmpfs tmp /merged/tmp
mkdir -p /merged${root}; mount --move /keep /merged${root} # it may lie below /tmp
mkdir -p /merged/dev/pts /merged/dev/shm
mount -t devpts devpts /merged/dev/pts; mount -t tmpfs shm /merged/dev/shm
mount -t cgroup2 cgroup /merged/sys/fs/cgroup
cp /rw/command /merged/run/vm-command
ip link set lo up
cat >/merged/run/vm-init <<'END'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
echo; echo ::vm-up
(cd ${root}; . /run/vm-command); status=$?; echo; echo "::vm-status $status"
/bin/busybox poweroff -f
END
# Not chroot: programs that enter a container's mounts would then find the initramfs instead of its root.
exec switch_root /merged /bin/bash /run/vm-init
`;
}

async function boot() {
  const kernel = findKernel();
  const work = mkdtempSync(join(tmpdir(), 'covey-vm-'));
  const isTests = positionals.length > 0 && positionals.every(word => word.endsWith('.js'));
  const command = isTests ? testsCommand(await bundle(positionals)) : `${positionals.join(' ')}\n`;
  writeFileSync(join(work, 'initramfs'), makeInitramfs(kernel, command));
  const sign = isTests ? '::vm-file' : '::vm-up';
  let outcome = { status: undefined, up: false };
  for (let start = 1; start <= startsMax && !outcome.up && !interrupted; start += 1) {
    outcome = await runOnce({ kernel: kernel.image, initramfs: join(work, 'initramfs'), sign });
    if (!outcome.up) process.stderr.write(`start ${start} of the virtual machine: it has not come up\n`);
  }
  rmSync(work, { recursive: true, force: true });
  rmSync(join('dist/vm', String(process.pid)), { recursive: true, force: true });
  if (outcome.status === undefined)
    process.stderr.write(`error: the virtual machine ended within ${values.timeout} s without a result\n`);
  return outcome.status ?? 1;
}

/** Up when it has said the sign. One was seen to say nothing for minutes on a busy machine: that is not what is tested. */
async function runOnce({ kernel, initramfs, sign }) {
  const share = 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap';
  const machine = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', values.memory],
      ...['-nographic', '-no-reboot', '-nic', 'none', '-kernel', kernel, '-initrd', initramfs],
      ...['-append', 'console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off cgroup_no_v1=all swapaccount=1'],
      ...['-fsdev', share, '-device', 'virtio-9p-pci,fsdev=host,mount_tag=host'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const end = () => machine.kill('SIGKILL');
  const timer = setTimeout(end, Number(values.timeout) * 1000);
  const starting = setTimeout(end, upWithinMs);
  const interrupt = () => {
    interrupted = true;
    end();
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, interrupt);
  const outcome = { status: undefined, up: false };
  for await (const line of createInterface({ input: machine.stdout })) {
    // The firmware begins with sequences for terminals.
    const text = stripVTControlCharacters(line).replaceAll('\r', '');
    if (text.includes(sign)) {
      outcome.up = true;
      clearTimeout(starting);
    }
    const found = /::vm-status (\d+)/.exec(text);
    if (found !== null) outcome.status = Number(found[1]);
    else if (!text.includes('::vm-up')) process.stdout.write(`${text}\n`);
  }
  clearTimeout(starting);
  clearTimeout(timer);
  return outcome;
}

/** One file of all, below dist: where it finds the library that cannot be bundled. Starting Node takes seconds in there. */
async function bundle(files) {
  const folder = join('dist/vm', String(process.pid));
  mkdirSync(folder, { recursive: true });
  const banner = {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url); const __filename = import.meta.filename; const __dirname = import.meta.dirname;",
  };
  const common = { bundle: true, platform: 'node', format: 'esm', external: ['koffi'], logLevel: 'error', banner };
  const parts = files.map(file => `t.comment('::vm-file ${file}');\nawait import('./${file}');`);
  const contents = `import t from 'tap';\n${parts.join('\n')}\n`;
  const outfile = join(folder, 'tests.mjs');
  await build({ ...common, stdin: { contents, resolveDir: root }, outfile });
  return outfile;
}

/** The tests of all files one after the other; a mark before those of each. The firmware may have left a line half written. */
function testsCommand(path) {
  return `echo\nexport TAP_TIMEOUT=${values.timeout} COVEY_TEST_WAIT_S=90\nscripts/node ${path}\n`;
}
