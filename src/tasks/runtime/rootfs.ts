/**
 * Looking at a container's root file system from outside, without being led out of it: every symbolic link is followed as
 * the container would follow it, with its own root as "/".
 *
 * Used before a container is made: its command has to be there, its working directory is made, and the places where the
 * runtime mounts must be real directories.
 *
 * Not here: following links (image/root-path.ts), users and groups (image/user.ts), the mounts themselves (mounts.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { Files } from '../../host.js';
import { findInRoot } from '../image/root-path.js';

type RootFiles = Pick<Files, 'findStat' | 'findLink' | 'makeDirectory' | 'changeOwner'>;

export interface CommandLook {
  readonly command: string;
  /** "NAME=value" of the container. */
  readonly env: readonly string[];
  readonly cwd: string;
  /** Where mounts hide the root file system: what lies there is not looked at. */
  readonly mountTargets: readonly string[];
}

/** Refuses a command that is not there or not executable; keeps silent where a mount may bring it. */
export async function checkCommand(files: RootFiles, root: string, look: CommandLook): Promise<void> {
  const candidates = commandCandidates(look);
  let seen: string | undefined;
  for (const candidate of candidates) {
    if (isBelow(candidate, look.mountTargets)) return;
    const found = await findInRoot(files, root, candidate);
    if (found === undefined) continue;
    const inside = found.path.slice(root.length);
    if (isBelow(inside, look.mountTargets)) return;
    if (found.stat.kind === 'file' && (found.stat.mode & 0o111) !== 0) return;
    seen ??= inside;
  }
  const state = seen === undefined ? `looked at ${candidates.join(', ')}` : `"${seen}" is not an executable file`;
  throw new CoveyError('command-not-found', `Cannot find the command "${look.command}" in the image`, { state });
}

function commandCandidates(look: CommandLook): readonly string[] {
  if (look.command.includes('/')) return [posix.resolve(look.cwd, look.command)];
  const path = look.env.find(entry => entry.startsWith('PATH='))?.slice('PATH='.length) ?? '';
  return path.split(':').map(folder => posix.resolve(look.cwd, folder === '' ? '.' : folder, look.command));
}

function isBelow(path: string, targets: readonly string[]): boolean {
  return targets.some(target => path === target || path.startsWith(target === '/' ? '/' : `${target}/`));
}

export interface WorkingDirectory {
  readonly path: string;
  readonly mountTargets: readonly string[];
  /** Of root inside, as the host counts. */
  readonly ownerId: number;
}

/** The working directory, made when missing, as Docker does. */
export async function makeWorkingDirectory(
  files: RootFiles,
  root: string,
  { path, mountTargets, ownerId }: WorkingDirectory,
): Promise<void> {
  let parent = root;
  const parts = path.split('/').filter(part => part !== '');
  for (const [at, part] of parts.entries()) {
    const inside = `/${parts.slice(0, at + 1).join('/')}`;
    if (isBelow(inside, mountTargets)) return;
    const found = await findInRoot(files, root, inside);
    if (found === undefined && (await files.findStat(`${parent}/${part}`)) === undefined) {
      await files.makeDirectory(`${parent}/${part}`);
      if (ownerId !== 0) await files.changeOwner(`${parent}/${part}`, ownerId, ownerId);
      parent = `${parent}/${part}`;
      continue;
    }
    if (found?.stat.kind !== 'directory') {
      throw new CoveyError('bad-bundle', `Cannot start in "${path}": "${inside}" is not a directory in the image`);
    }
    parent = found.path;
    if (isBelow(parent.slice(root.length), ['/proc'])) {
      throw new CoveyError('hostile-image', `Cannot start in "${path}": in the image that leads into /proc`, {
        hint: 'another working directory, or an image without that link',
      });
    }
  }
}

/**
 * The runtime mounts at these; a symbolic link there has led it out of the root before (CVE-2019-19921, CVE-2025-31133 and
 * their relatives).
 */
export async function checkMountPoints(files: RootFiles, root: string, names: readonly string[]): Promise<void> {
  const stats = await Promise.all(names.map(name => files.findStat(`${root}${name}`)));
  const bad = names.find((_name, at) => stats[at] !== undefined && stats[at]?.kind !== 'directory');
  if (bad === undefined) return;
  throw new CoveyError('hostile-image', `Cannot use the image: "${bad}" in it is not a directory`, {
    hint: 'Build the image without a file or link at that place',
  });
}

export const runtimeMountPoints: readonly string[] = ['/dev', '/proc', '/sys'];
export const nestedMountPoints: readonly string[] = [
  '/dev/pts',
  '/dev/shm',
  '/dev/mqueue',
  '/sys/fs',
  '/sys/fs/cgroup',
];
