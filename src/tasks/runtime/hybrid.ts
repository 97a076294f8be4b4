/**
 * crun refuses a host on which some controllers are on cgroup version 1 and others are left on version 2. Mostly it is
 * hugetlb alone that is left, and mounting it as version 1 anywhere takes it from version 2, for the whole host. That is done
 * in the run directory, only while no group of version 2 uses it, and undone on leave.
 *
 * Daemons share the mount's effect, so each that needs it mounts it for itself: none depends on when another one leaves.
 *
 * Not here: when (probe.ts).
 */
import { CoveyError, causesOf, errnoOf } from '../../errors.js';
import type { Host } from '../../host.js';

type HybridHost = Pick<Host, 'files' | 'kernel'>;

const folderName = 'cgroup-hugetlb';

/** Controllers that are on version 2 while the memory controller is on version 1. */
export function findLeftovers(host: Pick<Host, 'files'>): readonly string[] {
  const mounts = (host.files.findTextSync('/proc/self/mounts') ?? '').split('\n').map(line => line.split(' '));
  const v2 = mounts.find(([, path, type]) => type === 'cgroup2' && path?.startsWith('/sys/fs/cgroup') === true);
  const memory = mounts.some(([, , type, options]) => type === 'cgroup' && options?.split(',').includes('memory'));
  if (!memory || v2?.[1] === undefined) return [];
  return words(host.files.findTextSync(`${v2[1]}/cgroup.controllers`));
}

/** Whether version 2 was emptied by a mount like ours, which may go with the daemon that made it. */
export function isMendedByOther(host: Pick<Host, 'files'>, runDir: string): boolean {
  const points = hugetlbMounts(host);
  return points.some(path => path.endsWith(`/${folderName}`)) && !points.includes(`${runDir}/${folderName}`);
}

export function isMended(host: Pick<Host, 'files'>, runDir: string): boolean {
  return hugetlbMounts(host).includes(`${runDir}/${folderName}`);
}

/** False when it cannot be done: another controller is left, or version 2 uses hugetlb. */
export function mendHybrid(host: HybridHost, runDir: string): boolean {
  if (isMended(host, runDir)) return false;
  const leftovers = findLeftovers(host);
  if (leftovers.some(name => name !== 'hugetlb')) return false;
  const target = `${runDir}/${folderName}`;
  host.files.makeDirectorySync(target);
  try {
    host.kernel.mount({ source: 'cgroup', target, type: 'cgroup', flags: 0, data: 'hugetlb' });
    return true;
  } catch (error) {
    host.files.removeDirectorySync(target);
    if (isRefusal(error)) return false;
    throw error;
  }
}

/** EBUSY: a version 2 group uses it; EPERM: we may not mount. */
function isRefusal(error: unknown): boolean {
  const text = causesOf(error)
    .map(cause => `${errnoOf(cause) ?? ''} ${cause.message}`)
    .join(' ');
  return error instanceof CoveyError && /EBUSY|EPERM|EINVAL/.test(text);
}

/** What was undone, a line each. */
export function undoHybrid(host: HybridHost, runDir: string): readonly string[] {
  const target = `${runDir}/${folderName}`;
  const mended = isMended(host, runDir);
  if (mended) host.kernel.unmount(target);
  host.files.removeDirectorySync(target);
  return mended ? [`unmounted the hugetlb hierarchy of cgroup v1 from ${target}`] : [];
}

function hugetlbMounts(host: Pick<Host, 'files'>): readonly string[] {
  return (host.files.findTextSync('/proc/self/mounts') ?? '').split('\n').flatMap(line => {
    const [, path, type, options] = line.split(' ');
    return type === 'cgroup' && path !== undefined && options?.split(',').includes('hugetlb') === true ? [path] : [];
  });
}

function words(text: string | undefined): readonly string[] {
  return (text ?? '').split(/\s+/).filter(word => word !== '');
}
