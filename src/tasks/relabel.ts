/**
 * SELinux: gives the files that a container may use the label that its processes may use. Nothing happens on nodes without
 * SELinux, nor for containers without a label (privileged, `label=disable`).
 *
 * Named volumes are labelled for all containers and what belongs to the task alone for it alone, as Docker and podman do. A
 * bind keeps its labels unless it asks (`:z`, `:Z`, `bind.selinux`), and never with a directory that the machine lives on:
 * relabelled, nobody could log in there any more.
 *
 * Called by prepare.ts. Not here: the labels themselves (runtime/lsm.ts), the root file system's (image/mount.ts).
 */
import { CoveyError } from '../errors.js';
import type { Mount } from '../gen/types.js';
import type { Host } from '../host.js';

export interface RelabelInput {
  /** Of the container's files; undefined: nothing is labelled. */
  readonly label: string | undefined;
  readonly mounts: readonly Mount[];
  /** Directory of each mount that is no bind, by target. */
  readonly paths: ReadonlyMap<string, string>;
  /** Files that the daemon wrote for the container. */
  readonly files: readonly string[];
}

export interface RelabelStep {
  readonly label: string;
  readonly paths: readonly string[];
}

export function planRelabel({ label, mounts, paths, files }: RelabelInput): readonly RelabelStep[] {
  if (label === undefined) return [];
  const shared: string[] = [];
  const own: string[] = [...files];
  for (const mount of mounts) {
    const path = mount.kind === 'bind' ? mount.source : paths.get(mount.target);
    const wish = wishOf(mount);
    if (path === undefined || wish === '') continue;
    if (mount.kind === 'bind') checkSource(path);
    (wish === 'shared' ? shared : own).push(path);
  }
  const steps = [
    { label: withoutCategories(label), paths: shared },
    { label, paths: own },
  ];
  return steps.filter(step => step.paths.length > 0);
}

function wishOf({ kind, source, relabel }: Mount): string {
  if (kind === 'tmpfs' || kind === 'image' || kind === 'bind' || relabel !== '') return relabel;
  return kind === 'volume' && source !== '' ? 'shared' : 'private';
}

/** "user:role:type:s0:c1,c2": the sensitivity stays, and any container of that type may. */
function withoutCategories(label: string): string {
  const [user = '', role = '', type = ''] = label.split(':');
  return `${user}:${role}:${type}:s0`;
}

const systemPlaces = new Set(
  (
    '/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /etc/ssh /home /lib /lib64 /media /mnt /opt /proc /root ' +
    '/run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib /usr/sbin /var /var/lib /var/log /var/run /var/tmp'
  ).split(' '),
);
/** Files there are no files. */
const madeByKernel = /^\/(?:dev|proc|sys)\//;

function checkSource(source: string): void {
  const path = `/${source
    .split('/')
    .filter(part => part !== '' && part !== '.')
    .join('/')}`;
  if (!systemPlaces.has(path) && !madeByKernel.test(path)) return;
  throw new CoveyError('mount-source', `Cannot relabel "${source}": the machine itself lives there`, {
    hint: 'leave :z, :Z or selinux away, or mount a directory below it',
  });
}

const timeoutMs = 10 * 60_000;

export async function relabel(host: Pick<Host, 'files' | 'processes'>, steps: readonly RelabelStep[]): Promise<void> {
  for (const { label, paths } of steps) {
    const folders = await Promise.all(paths.map(path => host.files.findStat(`${path}/.`)));
    // A link that is given is followed, as by the mount: "/." does that. One within a tree never is.
    const trees = paths.filter((_path, at) => folders[at] !== undefined).map(path => `${path}/.`);
    const files = paths.filter((_path, at) => folders[at] === undefined);
    if (trees.length > 0) await change(host, ['--recursive', '-P', '--no-dereference'], { label, paths: trees });
    if (files.length > 0) await change(host, [], { label, paths: files });
  }
}

/** File systems that keep no labels (NFS, vfat) are what the policy says of them. */
async function change({ processes }: Pick<Host, 'processes'>, flags: readonly string[], step: RelabelStep) {
  const signal = new AbortController().signal; // bounded by the timeout
  const result = await processes.run(['chcon', ...flags, '--', step.label, ...step.paths], { signal, timeoutMs });
  const lines = result.stderr.split('\n').filter(line => line !== '' && !/Operation not supported/.test(line));
  if (result.exitCode === 0 || (!result.timedOut && lines.length === 0)) return;
  throw new CoveyError('mount-source', `Cannot give the label "${step.label}" to ${step.paths.join(', ')}`, {
    state: result.timedOut ? `chcon took more than ${timeoutMs / 60_000} minutes` : lines.join('; ').slice(0, 400),
  });
}
