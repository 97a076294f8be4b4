/**
 * Paths inside a root file system that somebody else filled: symbolic links in it are followed as a process in the container
 * would follow them, so that none leads out. Right as long as nothing in it changes meanwhile, that is before its container
 * starts; afterwards it may give the wrong file of the container, or none.
 *
 * Not here: users (user.ts), volumes (../volumes.ts).
 */
import { join } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { FileStat, Files } from '../../host.js';

const linksMax = 40;

export interface RootPath {
  /** On this machine. */
  readonly path: string;
  readonly stat: FileStat;
}

/** The file at a path as seen from inside, or undefined. Throws bad-bundle when links go round in a circle. */
export async function findInRoot(
  files: Pick<Files, 'findStat' | 'findLink'>,
  rootPath: string,
  path: string,
): Promise<RootPath | undefined> {
  const rest = path.split('/').reverse();
  const walked: string[] = [];
  let stat = await files.findStat(rootPath);
  let links = 0;
  while (rest.length > 0) {
    const name = rest.pop() ?? '';
    if (name === '' || name === '.') continue;
    if (name === '..') {
      walked.pop();
      continue;
    }
    const here = join(rootPath, ...walked, name);
    stat = await files.findStat(here);
    if (stat === undefined) return undefined;
    if (stat.kind !== 'symlink') {
      walked.push(name);
      continue;
    }
    links += 1;
    if (links > linksMax)
      throw new CoveyError('bad-bundle', `Cannot follow "${path}" in the image: its links go round in a circle`);
    const target = (await files.findLink(here)) ?? '';
    if (target.startsWith('/')) walked.length = 0;
    rest.push(...target.split('/').reverse());
  }
  const found = join(rootPath, ...walked);
  const last = await files.findStat(found);
  return last === undefined ? undefined : { path: found, stat: last };
}
