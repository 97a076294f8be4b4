/**
 * The mounts of a container in order: what every Linux program expects, then what its spec asks for, then the files that the
 * daemon makes for it. Pure.
 *
 * Not here: whether the sources exist (prepare.ts), secrets' content (secrets.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { Mount } from '../../gen/types.js';
import { type Masks, planMaskMounts } from './masks.js';
import type { OciMount } from './oci.js';

/** A file or directory of the host that appears at target. */
export interface BoundFile {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** It lies on a mount without execution, which a user namespace may not take away. */
  readonly noExec?: boolean;
}

export interface MountsInput {
  readonly mounts: readonly Mount[];
  /** Directory of each mount of kind volume, image and shared, by target. */
  readonly volumePaths: ReadonlyMap<string, string>;
  /** hosts, hostname, resolv.conf, the init, secrets and configs. */
  readonly files: readonly BoundFile[];
  readonly shmBytes: number;
  /** In a user namespace: the mount of sysfs that is shown at /sys. */
  readonly sysSource?: string | undefined;
  readonly withoutCgroups?: boolean | undefined;
  /** Privileged: /sys and the cgroups can be written. */
  readonly writableSystem?: boolean | undefined;
  /** Where targets really are in this root (targets.ts); as they are called, without. */
  readonly places?: ReadonlyMap<string, string> | undefined;
  /** Of CDI devices. */
  readonly deviceMounts?: readonly OciMount[] | undefined;
  /** Folders that are hidden, whatever was mounted in them. */
  readonly masks?: Masks | undefined;
}

const shmDefaultBytes = 64 * 2 ** 20;
const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
/** Replacing these would take away what keeps the container in, or what the runtime needs to make it. */
const forbidden = ['/', '/proc', '/sys', '/dev'];

export function planMounts(input: MountsInput): readonly OciMount[] {
  const placed = <Item extends { readonly destination: string }>(mount: Item): Item => ({
    ...mount,
    destination: input.places?.get(mount.destination) ?? mount.destination,
  });
  const own = input.mounts.map(mount => planMount(mount, input.volumePaths));
  const asked = [...own, ...(input.deviceMounts ?? [])].map(placed).sort(byDepth);
  const targets = new Set<string>();
  for (const mount of asked) {
    if (targets.has(mount.destination)) {
      throw new CoveyError('bad-bundle', `Cannot mount twice at "${mount.destination}"`);
    }
    targets.add(mount.destination);
  }
  const hidden = input.withoutCgroups === true ? '/sys/fs/cgroup' : '';
  const system = systemMounts(input).filter(({ destination }) => destination !== hidden && !targets.has(destination));
  const files = input.files
    .map(planFile)
    .map(placed)
    .filter(file => !targets.has(file.destination));
  const hiding = input.masks === undefined ? [] : planMaskMounts(input.masks);
  return [...system, ...asked, ...files, ...hiding];
}

/** The target of a mount as a clean absolute path. */
export function parseTarget(text: string): string {
  if (!text.startsWith('/') || text.includes('\0')) {
    throw new CoveyError('bad-bundle', `Cannot mount at "${text}": the target has to be an absolute path`);
  }
  const target = posix.resolve(text);
  if (forbidden.includes(target) || target.startsWith('/proc/')) {
    throw new CoveyError('bad-bundle', `Cannot mount at "${target}": that place belongs to the runtime`);
  }
  return target;
}

function systemMounts({ shmBytes, sysSource, writableSystem }: MountsInput): readonly OciMount[] {
  const size = shmBytes === 0 ? shmDefaultBytes : shmBytes;
  const access = writableSystem === true ? 'rw' : 'ro';
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    sysSource === undefined
      ? { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', access] }
      : { destination: '/sys', type: 'bind', source: sysSource, options: ['bind', 'nosuid', 'noexec', 'nodev', 'ro'] },
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: [access, 'nosuid', 'noexec', 'nodev'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${size}`],
    },
  ];
}

function planMount(mount: Mount, volumePaths: ReadonlyMap<string, string>): OciMount {
  const destination = parseTarget(mount.target);
  if (mount.kind === 'tmpfs') return planTmpfs(mount, destination);
  const access = mount.readOnly || mount.kind === 'image' ? 'ro' : 'rw';
  if (mount.kind !== 'bind') {
    const source = volumePaths.get(mount.target);
    if (source === undefined) {
      throw new CoveyError(
        'bad-bundle',
        `Cannot mount ${mount.kind} "${mount.source}" at "${destination}": it was not made`,
      );
    }
    return { destination, type: 'bind', source, options: ['rbind', access, 'rprivate'] };
  }
  const propagation = mount.propagation === '' ? 'rprivate' : mount.propagation;
  if (!propagations.includes(propagation)) {
    throw new CoveyError('bad-bundle', `Cannot mount with propagation "${propagation}"`, {
      hint: propagations.join(', '),
    });
  }
  return { destination, type: 'bind', source: mount.source, options: ['rbind', access, propagation] };
}

function planTmpfs(mount: Mount, destination: string): OciMount {
  const mode = mount.tmpfsMode === 0 ? 0o1777 : mount.tmpfsMode;
  const size = mount.tmpfsBytes === 0 ? [] : [`size=${mount.tmpfsBytes}`];
  const options = ['nosuid', 'nodev', 'noexec', `mode=${mode.toString(8)}`, ...size, ...(mount.readOnly ? ['ro'] : [])];
  return { destination, type: 'tmpfs', source: 'tmpfs', options };
}

function planFile(file: BoundFile): OciMount {
  return {
    destination: file.target,
    type: 'bind',
    source: file.source,
    options: [
      'bind',
      file.readOnly ? 'ro' : 'rw',
      'rprivate',
      'nosuid',
      'nodev',
      ...(file.noExec === true ? ['noexec'] : []),
    ],
  };
}

/** Outer ones first, so that none hides another. */
function byDepth(one: OciMount, other: OciMount): number {
  return one.destination.split('/').length - other.destination.split('/').length;
}
