/**
 * Where mounts of a container really land: links in the image are followed as inside, before the runtime does, so that what
 * the bundle names has no link in it. An image whose links lead a mount onto /proc, /sys or /dev is refused: it would hide
 * what keeps the container in (CVE-2019-16884, CVE-2023-27561 and their relatives).
 *
 * Right as long as nothing changes the root meanwhile: it is called before the container exists. Below the target of another
 * mount nothing is followed here; there the runtime resolves within the container's root.
 *
 * Called by ../prepare.ts. Not here: the places of the runtime's own mounts (rootfs.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Files } from '../../host.js';
import { parseTarget } from './mounts.js';

const linksMax = 40;

/** The real place of each target, by the target as asked. */
export async function resolveTargets(
  files: Pick<Files, 'findStat' | 'findLink'>,
  root: string,
  targets: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const clean = [...new Set(targets.map(parseTarget))];
  const places = await Promise.all(clean.map(async target => [target, await resolve(files, root, target)] as const));
  const moved = places.find(([target, place]) => target !== place && isRuntimePlace(place));
  if (moved !== undefined) {
    throw new CoveyError('hostile-image', `Cannot mount at "${moved[0]}": in the image that leads to "${moved[1]}"`, {
      hint: 'mount elsewhere, or build the image without that link',
    });
  }
  return new Map(places);
}

/** Root, and all of /proc, /sys and /dev that is not for mounts of users. */
function isRuntimePlace(path: string): boolean {
  return path === '/' || /^\/(?:proc|sys|dev)(?:\/|$)/.test(path);
}

/** Follows links; from the first name that is not there on, names count as they are. */
async function resolve(files: Pick<Files, 'findStat' | 'findLink'>, root: string, target: string): Promise<string> {
  const rest = target.split('/').reverse();
  const walked: string[] = [];
  for (let links = 0; rest.length > 0; ) {
    const name = rest.pop() ?? '';
    if (name === '' || name === '.') continue;
    if (name === '..') {
      walked.pop();
      continue;
    }
    const here = `${root}/${[...walked, name].join('/')}`;
    const link = (await files.findStat(here))?.kind === 'symlink' ? ((await files.findLink(here)) ?? '') : undefined;
    if (link === undefined) {
      walked.push(name);
      continue;
    }
    links += 1;
    if (links > linksMax) {
      throw new CoveyError('hostile-image', `Cannot mount at "${target}": the links of the image go round in a circle`);
    }
    if (link.startsWith('/')) walked.length = 0;
    rest.push(...link.split('/').reverse());
  }
  return `/${walked.join('/')}`;
}
