/**
 * Root file systems of containers: an overlay of the image's layers below a directory of the container's own.
 *
 * `mount(2)` takes one page of options, so layers are named by short links, relative to the images folder.
 *
 * Not here: the layers themselves (store.ts), what else is mounted into a container (../runtime/bundle.ts).
 */
import { join } from 'node:path';
import { CoveyError, codeOf } from '../../errors.js';
import type { Host } from '../../host.js';
import type { RootLook } from '../images.js';
import { hexOf, type LayerRecord } from './unpack-protocol.js';

const optionsMaxBytes = 4_095;
const linkHexDigits = 12;
/** Lies below all layers when it holds anything, and alone under an image of none ("scratch"). See ImageStoreOptions. */
export const baseLayer = 'base';

/** Name of the link to a layer's tree, below the images folder. */
export function linkOf(diffId: string): string {
  return `l/${hexOf(diffId).slice(0, linkHexDigits)}`;
}

export interface RootPlan {
  /** Relative to the images folder, the topmost first. */
  readonly lower: readonly string[];
  /** Of the root directory: what the topmost layer that speaks of it says. */
  readonly root: { readonly mode: number; readonly uid: number; readonly gid: number };
}

/** `layers`: lowest first. One that is there twice counts where it is higher: it hides all that the lower one adds. */
export function planRoot(layers: readonly LayerRecord[], options: { readonly hasBase: boolean }): RootPlan {
  const topFirst = [...layers].reverse();
  const opaqueAt = topFirst.findIndex(layer => layer.isOpaque);
  const visible = opaqueAt < 0 ? topFirst : topFirst.slice(0, opaqueAt + 1);
  const root = topFirst.find(layer => layer.root !== undefined)?.root ?? { mode: 0o755, uid: 0, gid: 0 };
  const lower = [...new Set(visible.map(layer => linkOf(layer.diffId)))];
  const onBase = lower.length === 0 || (options.hasBase && opaqueAt < 0);
  return { lower: onBase ? [...lower, baseLayer] : lower, root };
}

/**
 * Redirects (renamed directories) are neither made nor followed: some kernels obey those that a container writes into its
 * own layer. Volatile: what a container writes to its root ends with it, so nothing of it need be on disk; without, each
 * unmount writes out the whole file system below (3 to 60 ms on a busy disk, and the daemon stands still meanwhile).
 */
export function overlayOptions(lower: readonly string[], directory: string, label?: string): string {
  const escaped = (path: string): string => path.replace(/[\\,:]/g, char => `\\${char}`);
  const parts = [
    `lowerdir=${lower.join(':')}`,
    `upperdir=${escaped(join(directory, 'upper'))}`,
    `workdir=${escaped(join(directory, 'work'))}`,
    'redirect_dir=nofollow',
    'metacopy=off',
    'volatile',
    ...(label === undefined ? [] : [`context="${label}"`]),
  ];
  const options = parts.join(',');
  if (options.length <= optionsMaxBytes) return options;
  throw new CoveyError(
    'mount-failed',
    `Cannot mount a root file system in "${directory}": ${lower.length} layers are too many`,
  );
}

export interface MountOptions extends RootLook {
  readonly host: Pick<Host, 'files' | 'kernel'>;
  /** The images folder. */
  readonly images: string;
  /** For upper, work and merged. */
  readonly directory: string;
}

/** With a map, layers are taken from a mapped view, and the container's own layer belongs to the mapped owner of the root. */
export async function mountRoot(
  plan: RootPlan,
  { host, images, directory, map, label }: MountOptions,
): Promise<{ readonly rootPath: string }> {
  const rootPath = join(directory, 'merged');
  const standing = host.files.findStatSync(rootPath);
  if (standing !== undefined) {
    if (standing.device !== host.files.findStatSync(directory)?.device) return { rootPath };
    // Left when the machine went down; overlayfs does not take a volatile layer twice.
    await unmountRoot(host, directory);
  }
  for (const name of ['upper', 'work', 'merged']) host.files.makeDirectorySync(join(directory, name), { mode: 0o755 });
  const upper = join(directory, 'upper');
  // The merged root shows the owner and mode of the upper one.
  const shift = map?.firstId ?? 0;
  const [uid, gid] = [plan.root.uid + shift, plan.root.gid + shift];
  if (uid !== 0 || gid !== 0) await host.files.changeOwner(upper, uid, gid);
  await host.files.changeMode(upper, plan.root.mode);
  host.kernel.mount({
    source: 'overlay',
    target: rootPath,
    type: 'overlay',
    flags: 0,
    data: overlayOptions(plan.lower, directory, label),
    directory: map === undefined ? images : await map.view(images),
  });
  return { rootPath };
}

/** What holds the mount busy keeps it, out of sight, until it lets go. */
export async function unmountRoot(host: Pick<Host, 'files' | 'kernel'>, directory: string): Promise<void> {
  const merged = join(directory, 'merged');
  const left = [merged, join(directory, 'upper'), join(directory, 'work')];
  if (left.every(path => host.files.findStatSync(path) === undefined)) return;
  host.kernel.unmount(merged, { detach: true });
  await removeEmpty(host.files, merged);
  for (const path of left.slice(1)) await host.files.removeTree(path);
}

/** Without the look at all mounts of the host that removing a tree costs. */
async function removeEmpty(files: Host['files'], path: string): Promise<void> {
  try {
    await files.remove(path);
  } catch (error) {
    if (codeOf(error) === 'no-permission') throw error;
    await files.removeTree(path); // not empty after all
  }
}
