// The peer: Docker Swarm from Debian's docker.io, each dockerd in a network namespace of its own on one bridge. No default
// route there, so that look-ups of images fail at once. Started and removed by the run that compares with it.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const directory = '/tmp/covey-peer-swarm';
const trap = 'trap "exit 0" TERM; sleep 100000 & wait';

export async function openPeer({ nodes, signal, say }) {
  if (!fs.existsSync('/usr/sbin/dockerd')) throw new Error('Cannot run the peer: apt-get install docker.io');
  const peer = new Peer(nodes, signal);
  try {
    await peer.up();
  } catch (error) {
    await peer[Symbol.asyncDispose]();
    throw error;
  }
  say(`peer up: Docker Swarm, ${nodes} nodes`);
  return peer;
}

class Peer {
  joinSeconds = [];
  #daemons = [];
  #nodes;
  #signal;
  #count = 0;

  constructor(nodes, signal) {
    this.#nodes = nodes;
    this.#signal = signal;
  }

  #docker(index, ...args) {
    return execFileSync('docker', ['-H', `unix://${directory}/${index}/docker.sock`, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async up() {
    fs.mkdirSync(`${directory}/image/bin`, { recursive: true });
    fs.copyFileSync('/bin/busybox', `${directory}/image/bin/busybox`);
    for (const applet of ['sh', 'sleep']) fs.symlinkSync('busybox', `${directory}/image/bin/${applet}`);
    execFileSync('tar', ['-C', `${directory}/image`, '-cf', `${directory}/image.tar`, '.']);
    ip('link', 'add', 'cvpeerbr', 'type', 'bridge');
    ip('link', 'set', 'cvpeerbr', 'up');
    for (let index = 1; index <= this.#nodes; index += 1) await this.#start(index);
    this.#docker(1, 'swarm', 'init', '--advertise-addr', '10.90.0.1');
    const token = this.#docker(1, 'swarm', 'join-token', '-q', 'worker').trim();
    for (let index = 2; index <= this.#nodes; index += 1) {
      const begin = performance.now();
      this.#docker(index, 'swarm', 'join', '--token', token, '--advertise-addr', `10.90.0.${index}`, '10.90.0.1:2377');
      this.joinSeconds.push((performance.now() - begin) / 1000);
    }
    this.#docker(1, 'network', 'create', '-d', 'overlay', 'ov1');
  }

  async #start(index) {
    const namespace = `covey-peer-${index}`;
    ip('netns', 'add', namespace);
    ip('link', 'add', `cvpeer${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    ip('link', 'set', `cvpeer${index}`, 'master', 'cvpeerbr', 'up');
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
    ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    ip('-n', namespace, 'address', 'add', `10.90.0.${index}/24`, 'dev', 'eth0');
    const home = join(directory, String(index));
    fs.mkdirSync(home, { recursive: true });
    const out = fs.openSync(`${home}/log`, 'w');
    const flags = [
      '--cgroup-parent=/coveypeer',
      '--data-root',
      `${home}/data`,
      '--exec-root',
      `${home}/exec`,
      '-H',
      `unix://${home}/docker.sock`,
      '-p',
      `${home}/pid`,
      '--storage-driver',
      'overlay2',
    ];
    const child = spawn(
      'nsenter',
      [
        `--net=/run/netns/${namespace}`,
        'unshare',
        '--uts',
        'sh',
        '-c',
        'hostname "$1"; shift; exec dockerd "$@"',
        'sh',
        `peer${index}`,
        ...flags,
      ],
      { stdio: ['ignore', out, out], detached: true },
    );
    fs.closeSync(out);
    this.#daemons.push(child);
    for (let tries = 0; spawnSync('docker', ['-H', `unix://${home}/docker.sock`, 'info']).status !== 0; tries += 1) {
      if (tries > 150 || child.exitCode !== null)
        throw new Error(`Cannot start dockerd: ${fs.readFileSync(`${home}/log`, 'utf8').slice(-600)}`);
      await sleep(200);
    }
    this.#docker(index, 'import', '-c', 'CMD ["/bin/sleep","100000"]', `${directory}/image.tar`, 'bb:1');
  }

  /** A service of so many replicas: milliseconds to all running, then to all gone. `look` is called in between. */
  async create(replicas, flags = [], look = () => undefined) {
    this.#count += 1;
    const name = `s${this.#count}`;
    const begin = performance.now();
    this.#docker(
      1,
      'service',
      'create',
      '-d',
      '--name',
      name,
      '--replicas',
      String(replicas),
      '--no-resolve-image',
      ...flags,
      'bb:1',
      '/bin/sh',
      '-c',
      trap,
    );
    await this.#until(() => this.#replicas(name) === `${replicas}/${replicas}`);
    const createMs = performance.now() - begin;
    look();
    const removing = performance.now();
    this.#docker(1, 'service', 'rm', name);
    await this.#until(
      () =>
        Array.from({ length: this.#nodes }, (_, at) => this.#docker(at + 1, 'ps', '-q', '--filter', `name=${name}.`))
          .join('')
          .trim() === '',
    );
    return { createMs, removeMs: performance.now() - removing };
  }

  /** Seconds from a command that replaces all tasks of a service, one after the other, to the update being complete. */
  async updates(replicas, rounds, flags = []) {
    const name = 'roll';
    const parts = ['-d', '--name', name, '--replicas', String(replicas), '--no-resolve-image', ...flags];
    // It takes 0 for its default of 5 s.
    const config = ['--update-delay', '0s', '--update-monitor', '1ns', '--update-parallelism', '1'];
    this.#docker(1, 'service', 'create', ...parts, ...config, 'bb:1', '/bin/sh', '-c', trap);
    await this.#until(() => this.#replicas(name) === `${replicas}/${replicas}`);
    const state = () =>
      this.#docker(
        1,
        'service',
        'inspect',
        '--format',
        '{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ForceUpdate}}',
        name,
      );
    const samples = [];
    for (let round = 1; round <= rounds; round += 1) {
      const begin = performance.now();
      this.#docker(1, 'service', 'update', '-d', '--force', '--no-resolve-image', name);
      await this.#until(() => state().trim() === `completed ${round}`);
      samples.push((performance.now() - begin) / 1000);
    }
    this.#docker(1, 'service', 'rm', name);
    return samples;
  }

  /** A container on each of two nodes, on one overlay: where they are and how they are called. */
  pair() {
    const trapped = ['bb:1', '/bin/sh', '-c', trap];
    this.#docker(
      1,
      'service',
      'create',
      '--detach=false',
      '-q',
      '--name',
      'pair',
      '--mode',
      'global',
      '--no-resolve-image',
      '--network',
      'ov1',
      ...trapped,
    );
    return [1, 2].map(index => {
      const id = this.#docker(index, 'ps', '-q', '--filter', 'name=pair.').trim();
      const format = '{{.State.Pid}} {{.NetworkSettings.Networks.ov1.IPAddress}}';
      const [pid, address] = this.#docker(index, 'inspect', '--format', format, id).trim().split(' ');
      return { pid: Number(pid), address };
    });
  }

  #replicas(name) {
    return this.#docker(1, 'service', 'ls', '--filter', `name=${name}`, '--format', '{{.Replicas}}').trim();
  }

  async #until(condition) {
    for (let tries = 0; !condition(); tries += 1) {
      this.#signal.throwIfAborted();
      if (tries > 1_200) throw new Error('Cannot wait longer for the peer');
      await sleep(25);
    }
  }

  /** PSS of dockerd and its containerd on the first node, MiB. */
  memory() {
    const pid = fs.readFileSync(`${directory}/1/pid`, 'utf8').trim();
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    const pss = process =>
      Number(/^Pss:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${process}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    return [pid, ...children].reduce((sum, process) => sum + pss(process), 0) / 1024;
  }

  async [Symbol.asyncDispose]() {
    for (let index = 1; index <= this.#nodes; index += 1) {
      spawnSync('docker', ['-H', `unix://${directory}/${index}/docker.sock`, 'swarm', 'leave', '--force'], {
        timeout: 20_000,
      });
      const pid = fs.existsSync(`${directory}/${index}/pid`)
        ? Number(fs.readFileSync(`${directory}/${index}/pid`, 'utf8'))
        : undefined;
      if (pid) spawnSync('kill', [String(pid)]);
    }
    for (
      let tries = 0;
      this.#daemons.some(child => child.exitCode === null && child.signalCode === null) && tries < 100;
      tries += 1
    )
      await sleep(100);
    for (const child of this.#daemons) if (child.exitCode === null) child.kill('SIGKILL');
    this.#killLeft();
    for (const group of fs.globSync('/sys/fs/cgroup/{,*/}coveypeer/**/').sort((a, b) => b.length - a.length))
      spawnSync('rmdir', [group]);
    for (const point of mountsBelow(directory)) spawnSync('umount', ['-l', point]);
    for (let index = 1; index <= this.#nodes; index += 1) spawnSync('ip', ['netns', 'delete', `covey-peer-${index}`]);
    spawnSync('ip', ['link', 'delete', 'cvpeerbr']);
    fs.rmSync(directory, { recursive: true, force: true });
  }

  /** Shims and containers of our dockerds, found by their working directories and cgroups. */
  #killLeft() {
    const inGroups = fs
      .globSync('/sys/fs/cgroup/{,*/}coveypeer/**/cgroup.procs')
      .flatMap(file => fs.readFileSync(file, 'utf8').split('\n').filter(Boolean));
    const named = fs
      .readdirSync('/proc')
      .filter(name => /^\d+$/.test(name) && readOptional(`/proc/${name}/cmdline`).includes(directory));
    for (const pid of new Set([...inGroups, ...named])) if (Number(pid) !== process.pid) spawnSync('kill', ['-9', pid]);
  }
}

function ip(...args) {
  execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });
}

function readOptional(path) {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function mountsBelow(folder) {
  return readOptional('/proc/self/mountinfo')
    .split('\n')
    .map(line => line.split(' ')[4] ?? '')
    .filter(point => point.startsWith(`${folder}/`))
    .reverse();
}
