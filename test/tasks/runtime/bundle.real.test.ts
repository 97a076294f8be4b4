/**
 * What was asked for, read back from inside the container and from the kernel, with each runtime that is installed.
 */
import * as fs from 'node:fs';
import t from 'tap';
import type { ContainerSpec, Mount } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import type { ImageRunConfig } from '../../../src/tasks/images.js';
import { plainMount } from '../../../src/tasks/spec/mounts.js';
import { makeTask, openRig, type TaskChanges, whyNotReal } from '../fixtures.js';

const skip = whyNotReal();

const mount = (changes: Partial<Mount>): Mount => ({
  ...plainMount('bind', '/x'),
  ...changes,
});

const image: Partial<ImageRunConfig> = { env: ['FROM_IMAGE=1', 'BOTH=image'], workingDir: '/tmp/work' };

interface Row {
  readonly name: string;
  readonly container?: Partial<ContainerSpec>;
  readonly changes?: TaskChanges;
  readonly script: string;
  readonly says: RegExp;
}

const rows: readonly Row[] = [
  { name: 'working directory of the image, made', script: 'pwd', says: /^\/tmp\/work\n$/ },
  {
    name: 'environment',
    container: { env: ['BOTH=spec', 'OWN=2'] },
    script: 'echo $FROM_IMAGE $BOTH $OWN $HOME',
    says: /^1 spec 2 \/root\n$/,
  },
  {
    name: 'user and groups',
    container: { user: 'web' },
    script: 'id -u; id -g; id -G; echo $HOME',
    says: /^33\n34\n34 7\n\/srv\n$/,
  },
  { name: 'host name', container: { hostname: 'db' }, script: 'hostname; cat /etc/hostname', says: /^db\ndb\n$/ },
  {
    name: 'hosts and resolver',
    container: { extraHosts: ['other:10.9.8.7'] },
    script: 'cat /etc/hosts /etc/resolv.conf',
    says: /10\.9\.8\.7\tother\n[\s\S]*nameserver 169\.254\.1\.1\nsearch shop\.internal\noptions ndots:0\n$/,
  },
  {
    name: 'capabilities',
    container: { capDrop: ['ALL'], capAdd: ['NET_RAW'] },
    script: 'grep -E "Cap(Eff|Bnd|Amb)" /proc/self/status',
    says: /^CapEff:\t0000000000002000\nCapBnd:\t0000000000002000\nCapAmb:\t0000000000000000\n$/,
  },
  {
    name: 'no capabilities for who is not root',
    container: { user: 'web' },
    script: 'grep -E "Cap(Eff|Bnd)" /proc/self/status',
    says: /^CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n$/,
  },
  {
    name: 'a system call filter',
    script: 'grep ^Seccomp: /proc/self/status; unshare -m true 2>/dev/null || echo refused',
    says: /^Seccomp:\t2\nrefused\n$/,
  },
  {
    name: 'a read-only root',
    container: { readOnly: true },
    script: 'touch /x 2>/dev/null || echo refused; touch /dev/shm/y && echo fine',
    says: /^refused\nfine\n$/,
  },
  {
    name: 'masked paths',
    script:
      'head -c 1 /proc/timer_list | wc -c; ls /sys/firmware | wc -l; (echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo refused',
    says: /^0\n0\nrefused\n$/,
  },
  { name: 'own process numbers, and process 1', script: 'echo $$', says: /^1\n$/ },
  {
    name: 'limits of the process',
    container: { ulimits: [{ name: 'nofile', soft: 100, hard: 200 }] },
    script: 'ulimit -Sn; ulimit -Hn',
    says: /^100\n200\n$/,
  },
  {
    name: 'tmpfs',
    container: { mounts: [mount({ kind: 'tmpfs', target: '/cache', tmpfsBytes: 2 ** 20, tmpfsMode: 0o750 })] },
    script: 'grep " /cache " /proc/mounts; stat -c %a /cache',
    says: /^tmpfs \/cache tmpfs rw,nosuid,nodev,noexec,[\s\S]*size=1024k,mode=750[\s\S]*\n750\n$/,
  },
  {
    name: 'size of /dev/shm',
    container: { shmBytes: 8 * 2 ** 20 },
    script: 'grep " /dev/shm " /proc/mounts',
    says: /size=8192k/,
  },
  {
    name: 'a sysctl of its own network',
    container: { sysctls: { 'net.ipv4.ip_default_ttl': '77' } },
    script: 'cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/ip_unprivileged_port_start',
    says: /^77\n0\n$/,
  },
  {
    name: 'argv with empty and odd words',
    container: { command: ['sh', '-c', 'for a; do echo "[$a]"; done; exit 0', 'x', '', ' a b ', '$HOME', '"'] },
    script: '',
    says: /^\[\]\n\[ a b \]\n\[\$HOME\]\n\["\]\n$/,
  },
  { name: 'the OOM score', container: { oomScoreAdj: 321 }, script: 'cat /proc/self/oom_score_adj', says: /^321\n$/ },
  {
    name: 'a terminal',
    container: { tty: true },
    script: 'test -t 1 && echo terminal $TERM',
    says: /^terminal xterm\r?\n$/,
  },
  {
    name: 'devices',
    script:
      'ls /dev | grep -cE "^(null|zero|full|random|urandom|tty)$"; cat /dev/vda 2>/dev/null | wc -c; echo x > /dev/null && echo fine',
    says: /^6\n0\nfine\n$/,
  },
];

for (const wanted of ['crun', 'runc'] as const) {
  const missing = linuxHost.processes.findOnPath(wanted) === undefined ? `needs ${wanted}` : false;
  t.test(`asked for and read back, with ${wanted}`, { skip: skip || missing }, async t => {
    await using rig = await openRig(t, { prefix: wanted === 'crun' ? 'cvtb' : 'cvtr', wanted, image });
    const tasks = rows.map(row =>
      makeTask({ container: { command: ['sh', '-c', row.script], ...row.container }, ...row.changes }),
    );
    await rig.assign(tasks);
    for (const [at, { name, says }] of rows.entries()) {
      const task = tasks[at]!;
      const status = await rig.wait(task.id, 'complete');
      t.match(await rig.logs(task.id), says, `${name} (${status.error || status.state})`);
    }

    await t.test('a bind mount shows the host, read-only where asked', async t => {
      const source = `${rig.directory}/shared`;
      fs.mkdirSync(source);
      const mounts = [mount({ source, target: '/rw' }), mount({ source, target: '/ro', readOnly: true })];
      const script = 'echo hello > /rw/file; cat /ro/file; touch /ro/x 2>/dev/null || echo refused';
      const task = makeTask({ container: { mounts, command: ['sh', '-c', script] } });
      await rig.run(task, 'complete');
      t.equal(await rig.logs(task.id), 'hello\nrefused\n');
      t.equal(fs.readFileSync(`${source}/file`, 'utf8'), 'hello\n');
    });

    await t.test('limits of the task are in the kernel', async t => {
      const limits = { cpuNanos: 25e7, memoryBytes: 48 * 2 ** 20, pids: 11 };
      const task = makeTask({ spec: { limits, reservations: { cpuNanos: 5e8, memoryBytes: 0, pids: 0 } } });
      await rig.run(task);
      const { openCgroups } = await import('../../../src/tasks/cgroup/index.js');
      t.match(openCgroups(linuxHost, rig.prefix).readLimits(task.id), {
        memoryBytes: 48 * 2 ** 20,
        cpuQuotaUs: 25_000,
        pidsMax: 11,
      });
    });

    await t.test('what one container writes no other sees', async t => {
      const [one, other] = [
        makeTask({ container: { command: ['sh', '-c', 'echo mine > /tmp/mine'] } }),
        makeTask({ container: { command: ['ls', '/tmp'] } }),
      ];
      await rig.run(one, 'complete');
      await rig.run(other, 'complete');
      t.equal(await rig.logs(other.id), 'work\n');
    });
  });
}
