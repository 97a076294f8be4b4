/**
 * Looking at a container's root file system from outside, without being led out of it: every symbolic link is followed as
 * the container would follow it, with its own root as "/".
 *
 * Used before a container is made: its command has to be there, its working directory is made, and the places where the
 * runtime mounts must be real directories.
 *
 * Not here: users and groups (image/users), the mounts themselves (mounts.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { FileStat, Files } from '../../host.js';

type RootFiles = Pick<Files, 'findStat' | 'findLink' | 'makeDirectory'>;

/** As the kernel: ELOOP after forty. */
const linksMax = 40;

export interface Found {
  /** On the host, below the root, free of symbolic links. */
  readonly path: string;
  /** As the container names it. */
  readonly inside: string;
  /** undefined: its parent is there, it is not. */
  readonly stat: FileStat | undefined;
}

/** Where a path of the container leads. undefined when a parent of it is missing or no directory. */
export async function findInRoot(files: RootFiles, root: string, path: string): Promise<Found | undefined> {
  let waiting = split(path);
  let done: string[] = [];
  let links = 0;
  let stat: FileStat | undefined = await files.findStat(root);
  for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
    if (part === '..') {
      done = done.slice(0, -1);
      continue;
    }
    const inside = `/${[...done, part].join('/')}`;
    stat = await files.findStat(`${root}${inside}`);
    if (stat === undefined) return waiting.length === 0 ? { path: `${root}${inside}`, inside, stat } : undefined;
    if (stat.kind === 'symlink') {
      links += 1;
      if (links > linksMax) return undefined;
      const target = (await files.findLink(`${root}${inside}`)) ?? '';
      if (target.startsWith('/')) done = [];
      waiting = [...split(target), ...waiting];
      continue;
    }
    if (waiting.length > 0 && stat.kind !== 'directory') return undefined;
    done.push(part);
  }
  const inside = `/${done.join('/')}`;
  const where = inside === '/' ? root : `${root}${inside}`;
  return { path: where, inside, stat: await files.findStat(where) };
}

function split(path: string): string[] {
  return path.split('/').filter(part => part !== '' && part !== '.');
}

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
  let seen: Found | undefined;
  for (const candidate of candidates) {
    if (isBelow(candidate, look.mountTargets)) return;
    const found = await findInRoot(files, root, candidate);
    if (found === undefined) continue;
    if (isBelow(found.inside, look.mountTargets)) return;
    if (found.stat?.kind === 'file' && (found.stat.mode & 0o111) !== 0) return;
    if (found.stat !== undefined) seen ??= found;
  }
  const state =
    seen === undefined ? `looked at ${candidates.join(', ')}` : `"${seen.inside}" is not an executable file`;
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

/** The working directory, made when missing, as Docker does. */
export async function makeWorkingDirectory(
  files: RootFiles,
  root: string,
  { path, mountTargets }: { readonly path: string; readonly mountTargets: readonly string[] },
): Promise<void> {
  const parts = split(path);
  for (let count = 1; count <= parts.length; count += 1) {
    const part = `/${parts.slice(0, count).join('/')}`;
    if (isBelow(part, mountTargets)) return;
    const found = await findInRoot(files, root, part);
    if (found?.stat?.kind === 'directory') continue;
    if (found === undefined || found.stat !== undefined) {
      throw new CoveyError('bad-bundle', `Cannot start in "${path}": "${part}" is not a directory in the image`);
    }
    await files.makeDirectory(found.path);
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
  throw new CoveyError('bad-bundle', `Cannot use the image: "${bad}" in it is not a directory`, {
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
