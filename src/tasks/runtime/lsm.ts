/**
 * Labels of the kernel's security modules: an AppArmor profile and SELinux contexts, where the kernel has them enabled. Pure
 * but for `findModules`, which looks.
 *
 * Where it has not, "unconfined" and "disable" mean nothing and are taken; what asks for protection is refused, because a
 * container that runs without what its spec says is worse than one that does not run.
 *
 * Called by ../isolation.ts. Not here: the options' words (spec/security.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Files } from '../../host.js';
import type { SecurityOptions } from '../spec/security.js';

export interface SecurityModules {
  readonly apparmor: boolean;
  readonly selinux: boolean;
}

export function findModules(files: Pick<Files, 'findTextSync'>): SecurityModules {
  return {
    apparmor: files.findTextSync('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y',
    selinux: files.findTextSync('/sys/fs/selinux/enforce') !== undefined,
  };
}

export interface SecurityLabels {
  readonly apparmorProfile?: string;
  /** Of the process, and of the files of its root. */
  readonly selinuxLabel?: string;
  readonly mountLabel?: string;
}

interface LabelInput {
  readonly modules: SecurityModules;
  readonly options: SecurityOptions;
  readonly privileged: boolean;
  /** The node's own profile, loaded; undefined when it could not be. */
  readonly defaultProfile: string | undefined;
  /** Two different numbers below 1024 that no other container of the node has. */
  readonly categories: readonly [number, number];
}

export function planLabels(input: LabelInput): SecurityLabels {
  return { ...planApparmor(input), ...planSelinux(input) };
}

function planApparmor({ modules, options, privileged, defaultProfile }: LabelInput): SecurityLabels {
  const asked = options.apparmor;
  if (asked === 'unconfined') return modules.apparmor ? { apparmorProfile: 'unconfined' } : {};
  if (asked !== undefined) {
    if (modules.apparmor) return { apparmorProfile: asked };
    throw new CoveyError('no-apparmor', `Cannot confine the container by profile "${asked}": no AppArmor here`, {
      hint: 'place it on nodes that have it, or leave the option away',
    });
  }
  if (!modules.apparmor || privileged || defaultProfile === undefined) return {};
  return { apparmorProfile: defaultProfile };
}

function planSelinux({ modules, options, privileged, categories }: LabelInput): SecurityLabels {
  const wanted = options.labels.filter(label => label !== 'disable' && label !== 'nested');
  if (!modules.selinux) {
    if (wanted.length === 0) return {};
    throw new CoveyError('no-selinux', `Cannot label the container "${wanted[0]}": no SELinux here`, {
      hint: 'place it on nodes that have it, or leave the option away',
    });
  }
  if (options.labels.includes('disable') || privileged) return {};
  const part = (name: string, standard: string): string =>
    wanted.findLast(label => label.startsWith(`${name}:`))?.slice(name.length + 1) ?? standard;
  const [low, high] = [...categories].sort((a, b) => a - b);
  const level = part('level', `s0:c${low},c${high}`);
  return {
    selinuxLabel: `${part('user', 'system_u')}:${part('role', 'system_r')}:${part('type', 'container_t')}:${level}`,
    mountLabel: `${part('user', 'system_u')}:object_r:${part('filetype', 'container_file_t')}:${level}`,
  };
}

/** From the task's id, so that a restart of the daemon gives the same; a clash of two ids shares a label, as in podman. */
export function categoriesOf(hash: Uint8Array): readonly [number, number] {
  const low = ((hash[0] ?? 0) * 256 + (hash[1] ?? 0)) % 1_023;
  const high = low + 1 + (((hash[2] ?? 0) * 256 + (hash[3] ?? 0)) % (1_023 - low));
  return [low, high];
}
