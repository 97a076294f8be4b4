/**
 * Removes the small directories of the run directory at once: bundles, the runtime's state, secrets. Some ten files each,
 * never a mount in them; ten unlinks cost less than one trip through the thread pool each.
 *
 * Not here: root file systems and task directories (images.unmountRoot, files.removeTree).
 */
import { CoveyError } from '../errors.js';
import type { Files } from '../host.js';

type SmallTreeFiles = Pick<Files, 'listSync' | 'removeDirectorySync' | 'removeFileSync'>;

const depthMax = 4;

/** Nothing when there is none. Does not follow links. */
export function removeSmallTree(files: SmallTreeFiles, path: string, depth = 0): void {
  if (files.removeDirectorySync(path) !== 'busy') return;
  if (depth >= depthMax) throw new CoveyError('bug', `Cannot remove "${path}": more than ${depthMax} levels deep`);
  for (const name of files.listSync(path)) {
    const child = `${path}/${name}`;
    if (!isFileRemoved(files, child)) removeSmallTree(files, child, depth + 1);
  }
  if (files.removeDirectorySync(path) === 'busy') {
    throw new CoveyError('internal', `Cannot remove "${path}": something is written or mounted in it`);
  }
}

/** False for a directory: unlink(2) answers EISDIR. */
function isFileRemoved(files: SmallTreeFiles, path: string): boolean {
  try {
    files.removeFileSync(path);
    return true;
  } catch (error) {
    if (files.removeDirectorySync(path) === 'removed') return true;
    if (files.listSync(path).length > 0) return false;
    throw error;
  }
}
