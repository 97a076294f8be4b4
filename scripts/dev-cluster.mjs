// A cluster of real daemons on one machine: every node is a network namespace on one underlay bridge, entered with
// `nsenter --net` (so that the cgroup mounts stay in sight), with its own data directory, run directory, host name and prefix.
//
// Keeps true: what it makes carries the cluster's name (bridge, namespaces, links, directories, prefixes), so that several
// clusters and a Docker daemon share the machine; `down` leaves nothing of it, whatever state it is in.
//
// Used by tests, by scripts/bench and by curious people. Not here: the daemon's own clean-up (`covey leave`).
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const usage = `Usage: scripts/dev-cluster COMMAND [--name NAME] [--json]

A cluster of real daemons on this machine, each a host of its own in a network namespace.

Commands:
  up [--managers N] [--workers N] [--disk MIB]
                                    start the daemons, make the cluster, import hello:1 on every node (default: 1 and 1);
                                    --disk: each data directory is an ext4 of its own, on a loop device
  status                            the nodes: process, address, state
  exec N -- CMD…                    run a command as on node N (covey is on its PATH)
  kill N                            kill -9 the daemon of node N; its containers run on
  poweroff N                        node N loses power: daemon, containers, mounts, namespaces, and with --disk what was
                                    not synced; \`start N\` is its next boot, with another boot id
  start N                           start the daemon again
  partition N…                      cut nodes off from all others, not from one another (both ways, silently)
  heal                              undo all partitions
  down                              end and remove everything

Options:
  --name NAME   which cluster, 1 to 5 letters or digits (default: dev); several can run side by side
  --json        answer in JSON
  --dir DIR     where to keep state (default: /run/covey-dev/NAME)

Examples:
  scripts/dev-cluster up --workers 2
  scripts/dev-cluster exec 1 -- covey node ls
`;

class UsageError extends Error {}

const { values, positionals } = readArguments();
const name = values.name;
const directory = values.dir ?? `/run/covey-dev/${name}`;
const stateFile = join(directory, 'cluster.json');

const commands = { up, status, exec: execute, kill, poweroff, start, partition, heal, down };

function readArguments() {
  const separator = process.argv.indexOf('--');
  const own = separator < 0 ? process.argv.slice(2) : process.argv.slice(2, separator);
  try {
    const parsed = parseArgs({
      args: own,
      allowPositionals: true,
      options: {
        name: { type: 'string', default: 'dev' },
        dir: { type: 'string' },
        managers: { type: 'string', default: '1' },
        workers: { type: 'string', default: '1' },
        disk: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (!/^[a-z][a-z0-9]{0,4}$/.test(parsed.values.name))
      throw new Error(`"${parsed.values.name}" is no name: 1 to 5 letters or digits, a letter first`);
    return {
      values: parsed.values,
      positionals: separator < 0 ? parsed.positionals : [...parsed.positionals, ...process.argv.slice(separator + 1)],
    };
  } catch (error) {
    process.stderr.write(`error: ${error.message}\n`);
    process.exit(2);
  }
}

// ---- names ------------------------------------------------------------------------------------------------------------

function nodeNames(index) {
  return {
    index,
    host: `${name}${index}`,
    prefix: `${name}${index}`,
    namespace: `covey-${name}-${index}`,
    underlay: `cv${name}u${index}`,
    dataDir: join(directory, String(index), 'data'),
    runDir: join(directory, String(index), 'run'),
    socket: join(directory, String(index), 'run/covey.sock'),
    log: join(directory, String(index), 'coveyd.log'),
    pidFile: join(directory, String(index), 'pid'),
    disk: join(directory, String(index), 'disk'),
    bootId: join(directory, String(index), 'boot-id'),
  };
}
const bridge = `cv${name}br`;

function readState() {
  try {
    return JSON.parse(fs.readFileSync(stateFile, 'utf8'));
  } catch {
    throw new Error(`Cannot find a cluster "${name}" (looked at ${stateFile}); scripts/dev-cluster up makes one`);
  }
}

function nodeOf(text) {
  const state = readState();
  const index = Number(text);
  if (!state.nodes.some(node => node.index === index))
    throw new UsageError(`Cannot find node "${text ?? ''}": there are 1 to ${state.nodes.length}`);
  return { ...nodeNames(index), ...state.nodes.find(node => node.index === index) };
}

// ---- processes --------------------------------------------------------------------------------------------------------

function run(argv, { check = true, input } = {}) {
  const result = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8', input, timeout: 60_000 });
  if (check && result.status !== 0)
    throw new Error(`Cannot run ${argv.join(' ')}: ${result.error?.message ?? result.stderr.trim()}`);
  return result;
}

const ip = (...args) => run(['ip', ...args]);
const say = text => values.json || process.stderr.write(`${text}\n`);

function covey(node, args, options) {
  return run([join(root, 'bin/covey'), '--socket', node.socket, ...args], options);
}

function pidOf(node) {
  const text = readOptional(node.pidFile);
  if (text === undefined) return undefined;
  const [pid, start] = text.trim().split(' ');
  const stat = readOptional(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] !== 'Z' && fields[19] === start ? Number(pid) : undefined;
}

function readOptional(path) {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

async function until(what, milliseconds, condition) {
  const end = performance.now() + milliseconds;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > end) throw new Error(`Cannot wait longer for ${what}: ${milliseconds / 1000} s are over`);
    await sleep(20);
  }
}

// ---- up ---------------------------------------------------------------------------------------------------------------

async function up() {
  const managers = count('managers', values.managers, 1);
  const workers = count('workers', values.workers, 0);
  const diskMib = values.disk === undefined ? undefined : count('MiB of disk', values.disk, 32, 1_024);
  if (fs.existsSync(stateFile))
    throw new Error(
      `Cannot start cluster "${name}": it is up already (scripts/dev-cluster down --name ${name} ends it)`,
    );
  if (!fs.existsSync(join(root, 'dist/coveyd.js')))
    throw new Error('Cannot start daemons: dist/coveyd.js is missing (scripts/build makes it)');
  try {
    await bringUp(managers, workers, diskMib);
  } catch (error) {
    const logs = readLogs();
    await down();
    throw new Error(`${error.message}${logs}`);
  }
  return status();
}

function count(what, text, least, most = 50) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < least || number > most)
    throw new UsageError(`Cannot make ${text} ${what}: ${least} to ${most} is valid`);
  return number;
}

function readLogs() {
  const found = fs
    .globSync(`${directory}/*/coveyd.log`)
    .map(file => `\n--- ${file}\n${(readOptional(file) ?? '').split('\n').slice(-12).join('\n')}`);
  return found.join('');
}

async function bringUp(managers, workers, diskMib) {
  fs.mkdirSync(directory, { recursive: true });
  const subnet = freeSubnet();
  const nodes = Array.from({ length: managers + workers }, (_, at) => ({
    index: at + 1,
    role: at < managers ? 'manager' : 'worker',
    address: `${subnet}.${at + 1}`,
  }));
  fs.writeFileSync(stateFile, JSON.stringify({ name, subnet, nodes, diskMib }));
  ip('link', 'add', bridge, 'type', 'bridge');
  ip('link', 'set', bridge, 'up');
  ip('address', 'add', `${subnet}.254/24`, 'dev', bridge);
  for (const node of nodes) await bringUpNode({ ...nodeNames(node.index), ...node });
  const [first, ...others] = nodes.map(node => ({ ...nodeNames(node.index), ...node }));
  covey(first, ['init', '--advertise-addr', first.address]);
  say(`${first.host} made the cluster`);
  for (const node of others) {
    const token = covey(first, ['token', node.role, '-q']).stdout.trim();
    joinNode(node, first, token);
    say(`${node.host} joined as ${node.role}`);
  }
  await importImage([first, ...others]);
}

const joinsMax = 10;

/** `covey join` says within 2 s that nobody answers; on a starved machine that may be too early, so it is asked again. */
function joinNode(node, { address }, token) {
  const words = ['join', '--token', token, '--advertise-addr', node.address, `${address}:7377`];
  for (let tries = 1; ; tries += 1) {
    const { status, stderr } = covey(node, words, { check: false });
    if (status === 0) return;
    if (tries === joinsMax || !/code\s+no-connection/.test(stderr))
      throw new Error(`Cannot join ${node.host}: ${stderr.trim()}`);
    say(`${node.host}: no answer yet, joins again`);
  }
}

function freeSubnet() {
  const used = run(['ip', '-o', '-4', 'address']).stdout;
  for (let third = 0; third < 200; third += 1) {
    const subnet = `10.91.${third}`;
    if (!used.includes(` ${subnet}.`)) return subnet;
  }
  throw new Error('Cannot find a free subnet under 10.91.0.0/16');
}

async function bringUpNode(node) {
  const { subnet, diskMib } = readState();
  ip('netns', 'add', node.namespace);
  ip('link', 'add', node.underlay, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', node.namespace);
  ip('link', 'set', node.underlay, 'master', bridge, 'up');
  const inside = (...args) => ip('-n', node.namespace, ...args);
  inside('link', 'set', 'lo', 'up');
  inside('link', 'set', 'eth0', 'up');
  inside('address', 'add', `${node.address}/24`, 'dev', 'eth0');
  inside('route', 'add', 'default', 'via', `${subnet}.254`);
  fs.mkdirSync(node.dataDir, { recursive: true });
  fs.mkdirSync(node.runDir, { recursive: true });
  if (diskMib !== undefined) mountDisk(node, diskMib);
  // A run directory lies on a tmpfs, as /run does on a host that systemd started.
  run(['mount', '-t', 'tmpfs', '-o', 'mode=755', 'covey-dev', node.runDir]);
  await startDaemon(node);
}

function mountDisk(node, diskMib) {
  if (!fs.existsSync(node.disk)) {
    fs.writeFileSync(node.disk, '');
    fs.truncateSync(node.disk, diskMib * 2 ** 20);
    run(['mkfs.ext4', '-q', '-m', '0', node.disk]);
  }
  run(['mount', '-o', 'loop', node.disk, node.dataDir]);
}

/**
 * After its first boot a node has a boot id of its own: a mount that only its daemon sees. All other mounts are seen on both
 * sides, because the folder of the node is shared with the daemon's namespace.
 */
function bootIdWords(node) {
  if (!fs.existsSync(node.bootId)) return { unshare: [], script: '' };
  return {
    unshare: ['--mount', '--propagation', 'unchanged'],
    script: `mount --make-private /proc; mount --bind ${node.bootId} /proc/sys/kernel/random/boot_id; `,
  };
}

async function startDaemon(node) {
  const boot = bootIdWords(node);
  const out = fs.openSync(node.log, 'a');
  const daemon = [
    `${boot.script}hostname "$1"; shift; exec "$@"`,
    'sh',
    node.host,
    process.env.DEV_CLUSTER_DAEMON ?? join(root, 'bin/coveyd'),
    '--data-dir',
    node.dataDir,
    '--run-dir',
    node.runDir,
  ];
  const child = spawn(
    'nsenter',
    [
      `--net=/run/netns/${node.namespace}`,
      'unshare',
      '--uts',
      ...boot.unshare,
      'sh',
      '-c',
      ...daemon,
      '--prefix',
      node.prefix,
      ...(process.env.DEV_CLUSTER_FLAGS ?? '').split(' ').filter(Boolean),
    ],
    {
      stdio: ['ignore', out, out],
      detached: true,
      env: { ...process.env, COVEY_SOCKET: '' },
    },
  );
  child.unref();
  fs.closeSync(out);
  const stat = fs.readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  fs.writeFileSync(node.pidFile, `${child.pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}\n`);
  await until(`the daemon of node ${node.index} (${node.log})`, 90_000, () => {
    if (child.exitCode !== null)
      throw new Error(`Cannot start the daemon of node ${node.index}: exit code ${child.exitCode}${readLogs()}`);
    return fs.existsSync(node.socket) && covey(node, ['version'], { check: false }).status === 0;
  });
}

async function importImage(nodes) {
  const archive = join(directory, 'hello.tar');
  run([join(root, 'scripts/make-image'), archive]);
  for (const node of nodes) covey(node, ['image', 'import', archive, 'hello:1']);
  fs.rmSync(archive);
  say(`hello:1 imported on ${nodes.length} nodes`);
}

// ---- the other commands -----------------------------------------------------------------------------------------------

function status() {
  const state = readState();
  const rows = state.nodes.map(entry => {
    const node = { ...nodeNames(entry.index), ...entry };
    const pid = pidOf(node);
    const cut =
      run(['nsenter', `--net=/run/netns/${node.namespace}`, 'nft', 'list', 'table', 'inet', 'dev_partition'], {
        check: false,
      }).status === 0;
    return {
      index: node.index,
      name: node.host,
      role: node.role,
      address: node.address,
      pid,
      partitioned: cut,
      socket: node.socket,
      dataDir: node.dataDir,
      runDir: node.runDir,
      namespace: node.namespace,
      log: node.log,
    };
  });
  if (values.json) process.stdout.write(`${JSON.stringify({ name, directory, nodes: rows })}\n`);
  else {
    process.stdout.write(
      `${'NODE'.padEnd(5)}${'NAME'.padEnd(10)}${'ROLE'.padEnd(9)}${'ADDRESS'.padEnd(15)}${'DAEMON'.padEnd(14)}SOCKET\n`,
    );
    for (const row of rows) {
      const daemon = row.pid === undefined ? 'stopped' : row.partitioned ? `${row.pid} cut off` : String(row.pid);
      process.stdout.write(
        `${String(row.index).padEnd(5)}${row.name.padEnd(10)}${row.role.padEnd(9)}${row.address.padEnd(15)}${daemon.padEnd(14)}${row.socket}\n`,
      );
    }
  }
}

function execute([index, ...argv]) {
  const node = nodeOf(index);
  if (argv.length === 0) throw new UsageError('Cannot run nothing: scripts/dev-cluster exec N -- CMD');
  const result = spawnSync('nsenter', [`--net=/run/netns/${node.namespace}`, ...argv], {
    stdio: 'inherit',
    env: { ...process.env, COVEY_SOCKET: node.socket, PATH: `${join(root, 'bin')}:${process.env.PATH}` },
  });
  if (result.error) throw new Error(`Cannot run ${argv[0]}: ${result.error.message}`);
  return result.status ?? 1;
}

async function kill([index]) {
  const node = nodeOf(index);
  const pid = pidOf(node);
  if (pid === undefined) throw new Error(`Cannot kill the daemon of node ${index}: it does not run`);
  process.kill(pid, 'SIGKILL');
  await until('the end of the daemon', 30_000, () => pidOf(node) === undefined);
  return status();
}

async function start([index]) {
  const node = nodeOf(index);
  if (pidOf(node) !== undefined) throw new Error(`Cannot start the daemon of node ${index}: it runs already`);
  if (fs.existsSync(`/run/netns/${node.namespace}`)) await startDaemon(node);
  else await bringUpNode(node);
  return status();
}

async function poweroff([index]) {
  const node = nodeOf(index);
  const pid = pidOf(node);
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  await until('the end of the daemon', 30_000, () => pidOf(node) === undefined);
  await endProcesses(node);
  const folder = dirname(node.dataDir);
  // What the file system has not written by now is lost: its disk as it is goes on in a copy.
  if (fs.existsSync(node.disk)) {
    run(['cp', '--sparse=always', node.disk, `${node.disk}.next`]);
    unmountBelow(folder);
    fs.renameSync(`${node.disk}.next`, node.disk);
  }
  unmountBelow(folder);
  fs.rmSync(node.runDir, { recursive: true, force: true });
  removeNetwork(node);
  fs.writeFileSync(node.bootId, `${randomUUID()}\n`);
  if (!mountPoints().includes(folder)) {
    run(['mount', '--bind', folder, folder]);
    run(['mount', '--make-shared', folder]);
  }
  return status();
}

function partition(indices) {
  if (indices.length === 0) throw new UsageError('Cannot cut off nothing: scripts/dev-cluster partition N…');
  const group = indices.map(nodeOf);
  const within = `{ ${group.map(({ address }) => address).join(', ')} }`;
  const rules = `add table inet dev_partition
delete table inet dev_partition
table inet dev_partition {
  chain in { type filter hook input priority -300; ip saddr ${within} accept; iifname "eth0" drop; }
  chain out { type filter hook output priority -300; ip daddr ${within} accept; oifname "eth0" drop; }
  chain through { type filter hook forward priority -300; drop; }
}
`;
  for (const node of group) run(['nsenter', `--net=/run/netns/${node.namespace}`, 'nft', '-f', '-'], { input: rules });
  return status();
}

function heal() {
  for (const { index } of readState().nodes) {
    run(
      ['nsenter', `--net=/run/netns/${nodeNames(index).namespace}`, 'nft', 'delete', 'table', 'inet', 'dev_partition'],
      { check: false },
    );
  }
  return status();
}

async function down() {
  const state = JSON.parse(readOptional(stateFile) ?? '{"nodes":[]}');
  // Workers first: the last manager takes the cluster with it.
  for (const { index } of [...state.nodes].reverse()) await downNode(nodeNames(index));
  run(['ip', 'link', 'delete', bridge], { check: false });
  fs.rmSync(directory, { recursive: true, force: true });
  removeEmpty('/run/covey-dev');
  if (values.json) process.stdout.write(`${JSON.stringify({ name, nodes: [] })}\n`);
  else say(`cluster ${name} is gone`);
}

async function downNode(node) {
  run(['nsenter', `--net=/run/netns/${node.namespace}`, 'nft', 'delete', 'table', 'inet', 'dev_partition'], {
    check: false,
  });
  const pid = pidOf(node);
  if (pid !== undefined) {
    const left = covey(node, ['leave', '--force', '--yes'], { check: false });
    if (left.status !== 0 && !left.stderr.includes('not-in-cluster'))
      say(`node ${node.index} did not leave by itself: ${left.stderr.trim().split('\n')[0]}`);
    process.kill(pid, 'SIGTERM');
    await until(`the end of daemon ${node.index}`, 30_000, () => pidOf(node) === undefined).catch(() =>
      process.kill(pid, 'SIGKILL'),
    );
  }
  await sweepNode(node);
}

/** What a killed daemon left: processes in its cgroups, mounts below its directories, cgroups, namespaces. */
async function sweepNode(node) {
  await endProcesses(node);
  const folder = join(directory, String(node.index));
  unmountBelow(folder);
  if (mountPoints().includes(folder)) run(['umount', '-l', folder], { check: false });
  removeNetwork(node);
}

async function endProcesses(node) {
  endSocketHolder(node);
  const groups = fs.globSync([`/sys/fs/cgroup/${node.prefix}`, `/sys/fs/cgroup/*/${node.prefix}`]);
  await until(`the end of the processes of node ${node.index}`, 60_000, () => {
    const pids = groups
      .flatMap(group => fs.globSync([`${group}/cgroup.procs`, `${group}/**/cgroup.procs`]))
      .flatMap(file => (readOptional(file) ?? '').split('\n').filter(Boolean));
    for (const pid of new Set(pids)) run(['kill', '-9', pid], { check: false });
    return pids.length === 0;
  });
  for (const group of groups)
    for (const folder of [...fs.globSync(`${group}/**/`), group].sort((a, b) => b.length - a.length))
      removeEmpty(folder);
}

function removeNetwork(node) {
  run(['ip', 'netns', 'delete', node.namespace], { check: false });
  run(['ip', 'link', 'delete', node.underlay], { check: false });
}

/** The process that keeps the resolver's sockets between two lives of the daemon. */
function endSocketHolder(node) {
  const file = join(node.runDir, 'resolver-sockets');
  const pid = readOptional(file);
  if (pid !== undefined && readOptional(`/proc/${pid}/cmdline`)?.startsWith(`covey-sockets:${file}\0`))
    run(['kill', '-9', pid], { check: false });
}

function unmountBelow(folder) {
  for (const target of mountPoints().reverse())
    if (target.startsWith(`${folder}/`)) run(['umount', '-l', target], { check: false });
}

function mountPoints() {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map(line => line.split(' ')[4] ?? '');
}

function removeEmpty(folder) {
  try {
    fs.rmdirSync(folder);
  } catch {
    // not empty, or not there: nothing of ours
  }
}

try {
  const [command = '', ...rest] = positionals;
  if (values.help || command === 'help' || command === '') {
    process.stdout.write(usage);
  } else {
    if (!Object.hasOwn(commands, command))
      throw new UsageError(`Cannot run "${command}": known are ${Object.keys(commands).join(', ')}`);
    if (process.getuid() !== 0) throw new Error('Cannot make network namespaces without root');
    process.exitCode = (await commands[command](rest)) ?? 0;
  }
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
