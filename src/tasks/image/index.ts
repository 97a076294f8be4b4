/**
 * Images of this node: import of archives, content-addressed blobs, one directory per layer, and the overlay mounts of
 * which root file systems are made.
 *
 * Keeps true: a name points to an image whose every blob and layer is there and was checked; what was half done when the
 * daemon died is gone at the next start; a layer is unpacked once, whoever names it; nothing in an archive can reach outside
 * the directory of its layer.
 *
 * How it goes: `store.ts` is the front and the one writer of the index -> `store-import.ts` and `pull.ts` run one short-lived
 * child per import or pull
 * -> `unpack-child.ts` reads the archive there (`archive.ts` tells its form, `layer-filter.ts` decides about each entry, GNU
 * tar in a jail writes) and leaves all in `tmp/` -> the store moves it into place. `mount.ts` makes root file systems.
 *
 * Try it: `sudo npm run test:real -- tasks/image` (writes below /tmp; cleans up after itself).
 */

export { findInRoot } from './root-path.js';
export { openImageStore } from './store.js';

import type { UnpackKernel } from './unpack-protocol.js';

export type { ImageStore, ImageStoreOptions, RegistrySettings } from './store-types.js';
export type { UnpackKernel } from './unpack-protocol.js';
export { resolveUser } from './user.js';

/** The whole life of the child process that an import runs in: loaded there only. */
export async function runUnpackChild(kernel: UnpackKernel): Promise<void> {
  const child = await import('./unpack-child.js');
  await child.runUnpackChild(kernel);
}
