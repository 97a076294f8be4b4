/**
 * The configurations of readback.real.test.ts: what a row asks for, and what has to be seen inside because of it. What a row
 * does not speak of is as in any container.
 */
import type { ContainerSpec, TaskSpec } from '../../../src/gen/types.js';
import type { ImageRunConfig } from '../../../src/tasks/images.js';
import { makeMount } from '../objects.js';
import { readbackScript, type Seen } from './readback.js';

export interface Row {
  readonly name: string;
  readonly container?: Partial<ContainerSpec>;
  readonly spec?: Partial<TaskSpec>;
  /** Of the environment; undefined: not there. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly seen?: { readonly [Key in keyof Seen]?: unknown };
  readonly facts?: Readonly<Record<string, string | RegExp>>;
  /** It makes no sense in the other mode. */
  readonly only?: 'host' | 'auto';
  /** Run with runc too. */
  readonly runc?: boolean;
}

export const secretId = 'k'.repeat(25);
export const image: Partial<ImageRunConfig> = { env: ['FROM_IMAGE=1', 'BOTH=image'], workingDir: '/tmp/work' };
const none = '0000000000000000';
const shell = ['/bin/sh', '-c', readbackScript];
const tmpfs = makeMount('tmpfs', '', '/cache', { tmpfsBytes: 2 ** 20, tmpfsMode: 0o750 });
const allowAll = 'seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}';
const webGroups = { uid: 33, gid: 34, groups: [7, 34] };

/** A vendor's file with a device that is the machine's zero, a library, a variable and a group. */
export function cdiSpec(folder: string): unknown {
  return {
    cdiVersion: '0.6.0',
    kind: 'vendor.test/gpu',
    containerEdits: { env: ['VENDOR=1'] },
    devices: [
      {
        name: '0',
        containerEdits: {
          env: ['GPU=0'],
          deviceNodes: [{ path: '/dev/given', hostPath: '/dev/zero', permissions: 'rw' }],
          mounts: [{ hostPath: `${folder}/lib`, containerPath: '/vendor/lib', options: ['ro', 'bind'] }],
          additionalGids: [44],
        },
      },
    ],
  };
}

export const rows: readonly Row[] = [
  { name: 'nothing asked', runc: true },
  {
    name: 'arguments, odd and empty, and an init',
    container: { command: ['', ' a b ', '$HOME', '"\\'], init: true },
    seen: { argv: [...shell, '', ' a b ', '$HOME', '"\\'], pid: Number, mounts: { '/dev/init': { options: ['ro'] } } },
    runc: true,
  },
  {
    name: 'variables over those of the image, one taken away',
    container: { env: ['BOTH=spec', 'FROM_IMAGE', 'EMPTY=', 'LINES=a b=c'], hostname: 'db' },
    env: { BOTH: 'spec', FROM_IMAGE: undefined, EMPTY: '', LINES: 'a b=c' },
    seen: { hosts: /\tlocalhost/ },
  },
  {
    name: 'a user, its home, no rights, its limits',
    container: { user: 'web', ulimits: [{ name: 'nofile', soft: 100, hard: 200 }], workingDir: '/tmp' },
    env: { HOME: '/srv' },
    seen: { ...webGroups, cwd: '/tmp', capEff: none, limits: { 'open files': ['100', '200'] } },
    facts: { root: /Permission denied/, chown: /not permitted/ },
    runc: true,
  },
  {
    name: 'all capabilities dropped, one given, no new privileges',
    container: { capDrop: ['ALL'], capAdd: ['net_raw'], securityOpt: ['no-new-privileges'] },
    seen: { capEff: '0000000000002000', capBnd: '0000000000002000', noNewPrivs: 1 },
    facts: { chown: /not permitted/ },
    runc: true,
  },
  {
    name: 'a capability dropped, a read-only root with a tmpfs on it',
    container: { capDrop: ['CHOWN', 'MKNOD'], readOnly: true, mounts: [tmpfs], workingDir: '/cache' },
    seen: {
      capEff: '00000000a00425fa',
      capBnd: '00000000a00425fa',
      cwd: '/cache',
      mounts: { '/': { options: ['ro'] }, '/cache': { type: 'tmpfs' } },
    },
    facts: { root: /Read-only/, chown: /Read-only/ },
  },
  {
    name: 'rights over the network, which no user namespace has',
    container: { capAdd: ['NET_ADMIN', 'SYS_PTRACE'], hostname: 'router' },
    seen: { capEff: '00000000a80c35fb', capBnd: '00000000a80c35fb' },
    only: 'host',
  },
  {
    name: 'rights over processes and a terminal',
    container: { capAdd: ['SYS_PTRACE'], tty: true },
    env: { TERM: 'xterm' },
    seen: { capEff: '00000000a80c25fb', capBnd: '00000000a80c25fb', terminal: true },
  },
  {
    name: 'rights to mount, so that namespaces may be made',
    container: { capAdd: ['SYS_ADMIN'] },
    seen: { capEff: '00000000a82425fb', capBnd: '00000000a82425fb' },
    facts: { unshare: 'made' },
    only: 'host',
  },
  {
    name: 'every capability',
    container: { capAdd: ['ALL'], securityOpt: ['seccomp=builtin'] },
    seen: { capEff: /^000001ff/, capBnd: /^000001ff/ },
    facts: { unshare: 'made' },
    only: 'host',
  },
  {
    name: 'no filter, and who is not root stays without rights',
    container: { securityOpt: ['seccomp=unconfined'], user: 'web', oomScoreAdj: 321 },
    env: { HOME: '/srv' },
    seen: { ...webGroups, seccomp: 0, capEff: none, oomScore: 321 },
    facts: { root: /Permission denied/, chown: /not permitted/ },
    runc: true,
  },
  {
    name: 'a filter of its own, with no new privileges and a small shm',
    container: { securityOpt: [allowAll, 'no-new-privileges:true'], shmBytes: 8 * 2 ** 20 },
    seen: { noNewPrivs: 1, mounts: { '/dev/shm': { type: 'tmpfs', options: /size=8192k/ } } },
    facts: { unshare: /not permitted|made/ },
  },
  {
    name: 'a filter that refuses to change owners',
    container: {
      securityOpt: [
        'seccomp={"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":[]}],' +
          '"syscalls":[{"names":["chown","fchownat","lchown"],"action":"SCMP_ACT_ERRNO","errno":"EPERM"}]}',
      ],
    },
    facts: { chown: /not permitted/, unshare: /not permitted|made/ },
    runc: true,
  },
  {
    name: 'sysctls of its network, and a small memory',
    container: { sysctls: { 'net.ipv4.ip_default_ttl': '77' }, hostname: 'ttl' },
    spec: { limits: { cpuNanos: 5e8, memoryBytes: 64 * 2 ** 20, pids: 64 } },
    facts: { ttl: '77', ports: '0' },
  },
  {
    name: 'an own threshold for ports, and resolvers',
    container: {
      sysctls: { 'net.ipv4.ip_unprivileged_port_start': '500' },
      dns: ['9.9.9.9'],
      dnsSearch: ['x.test'],
      dnsOptions: ['ndots:2'],
    },
    seen: { resolv: 'nameserver 169.254.1.1\nsearch x.test\noptions ndots:2' },
    facts: { ports: '500' },
    runc: true,
  },
  {
    name: 'a sysctl of shared memory',
    container: { sysctls: { 'kernel.shmmni': '2048' } },
    facts: { shmmni: '2048' },
    only: 'host',
  },
  {
    name: 'hosts, and the resolver of the cluster',
    container: { extraHosts: ['other:10.9.8.7'], init: true, tty: true },
    env: { TERM: 'xterm' },
    seen: {
      hosts: /10\.9\.8\.7\tother/,
      resolv: /nameserver 169\.254\.1\.1\nsearch shop\.internal/,
      pid: 2,
      terminal: true,
    },
  },
  {
    name: 'several limits',
    container: {
      ulimits: [
        { name: 'core', soft: 0, hard: 0 },
        { name: 'stack', soft: 2 ** 20, hard: 2 ** 22 },
        { name: 'nproc', soft: 50, hard: 60 },
      ],
      user: '1000:1001',
    },
    env: { HOME: '/' },
    seen: {
      uid: 1000,
      gid: 1001,
      capEff: none,
      limits: { 'core file size': ['0', '0'], 'stack size': ['1048576', '4194304'], processes: ['50', '60'] },
    },
    facts: { root: /Permission denied/, chown: /not permitted/ },
  },
  {
    name: 'a device under another name, to read only',
    container: { devices: ['/dev/zero:/dev/given:r'], capDrop: ['MKNOD'] },
    seen: { capEff: '00000000a00425fb', capBnd: '00000000a00425fb' },
    facts: { device: 'character special file 1:5', 'device-use': '2' },
    runc: true,
  },
  {
    name: 'a device by the name that its vendor gave it',
    container: { devices: ['vendor.test/gpu=0'], user: 'web' },
    env: { VENDOR: '1', GPU: '0', HOME: '/srv' },
    seen: { uid: 33, gid: 34, groups: [7, 34, 44], capEff: none, mounts: { '/vendor/lib': { options: /ro/ } } },
    facts: {
      device: 'character special file 1:5',
      'device-use': '2',
      extra: 'vendor library',
      root: /denied/,
      chown: /not/,
    },
    runc: true,
  },
  {
    name: 'a folder of devices',
    container: { devices: ['/dev/net'] },
    facts: { devices: /\bnet\b/ },
    only: 'host',
  },
  {
    name: 'privileges over everything',
    container: { privileged: true },
    seen: { capEff: /^000001ff/, capBnd: /^000001ff/, seccomp: 0, mounts: { '/sys': { options: ['rw'] } } },
    facts: {
      masked: /^[1-9]/,
      'sysctl-write': 'written',
      unshare: 'made',
      console: /nvalid|upported|ermitted/,
      devices: /\bkmsg\b/,
    },
    only: 'host',
    runc: true,
  },
  {
    name: 'paths of the system that are not masked',
    container: { securityOpt: ['systempaths=unconfined'], hostname: 'bare' },
    facts: { masked: /^[1-9]|^0 [1-9]/, 'sysctl-write': /written|denied/ },
    only: 'host',
  },
  {
    name: 'a volume, whose files have their owners',
    container: { mounts: [makeMount('volume', 'data', '/data')] },
    seen: { mounts: { '/data': { type: 'ext4', options: ['rw'] } } },
    facts: { volume: /^0 0 7 8$/ },
    runc: true,
  },
  {
    name: 'a volume to read only, and who is not root',
    container: {
      mounts: [makeMount('volume', 'other', '/data', { readOnly: true })],
      user: 'web',
      workingDir: '/data',
    },
    env: { HOME: '/srv' },
    seen: { ...webGroups, cwd: '/data', capEff: none, mounts: { '/data': { options: ['ro'] } } },
    facts: { volume: /Read-only/, root: /denied/, chown: /not permitted/ },
  },
  {
    name: 'a secret of the user that reads it',
    container: { user: 'web', secrets: [{ source: secretId, target: 'pw', uid: 33, gid: 34, mode: 0o400 }] },
    env: { HOME: '/srv' },
    seen: { ...webGroups, capEff: none, mounts: { '/run/secrets/pw': { options: ['ro'] } } },
    facts: { secret: 'tr0ub4dor33 400', root: /denied/, chown: /not permitted/ },
    runc: true,
  },
];
