/**
 * Root file systems of containers: an overlay of the image's layers below a directory of the container's own.
 *
 * `mount(2)` takes one page of options, so layers are named by short links, relative to the images folder.
 *
 * Not here: the layers themselves (store.ts), what else is mounted into a container (../runtime/bundle.ts).
 */
import { join } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { Host } from '../../host.js';
import { hexOf, type LayerRecord } from './unpack-protocol.js';

const optionsMaxBytes = 4_095;
const linkHexDigits = 12;
/** An image of no layers ("scratch") has this, empty. */
export const emptyLayer = 'empty';

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
export function planRoot(layers: readonly LayerRecord[]): RootPlan {
  const topFirst = [...layers].reverse();
  const opaqueAt = topFirst.findIndex(layer => layer.isOpaque);
  const visible = opaqueAt < 0 ? topFirst : topFirst.slice(0, opaqueAt + 1);
  const root = topFirst.find(layer => layer.root !== undefined)?.root ?? { mode: 0o755, uid: 0, gid: 0 };
  const lower = [...new Set(visible.map(layer => linkOf(layer.diffId)))];
  return { lower: lower.length === 0 ? [emptyLayer] : lower, root };
}

/**
 * Redirects (renamed directories) are neither made nor followed: some kernels obey those that a container writes into its
 * own layer.
 */
export function overlayOptions(lower: readonly string[], directory: string): string {
  const escaped = (path: string): string => path.replace(/[\\,:]/g, char => `\\${char}`);
  const parts = [
    `lowerdir=${lower.join(':')}`,
    `upperdir=${escaped(join(directory, 'upper'))}`,
    `workdir=${escaped(join(directory, 'work'))}`,
    'redirect_dir=nofollow',
    'metacopy=off',
  ];
  const options = parts.join(',');
  if (options.length <= optionsMaxBytes) return options;
  throw new CoveyError(
    'mount-failed',
    `Cannot mount a root file system in "${directory}": ${lower.length} layers are too many`,
  );
}

export interface MountOptions {
  readonly host: Pick<Host, 'files' | 'kernel'>;
  /** The images folder. */
  readonly images: string;
  /** For upper, work and merged. */
  readonly directory: string;
}

export async function mountRoot(
  plan: RootPlan,
  { host, images, directory }: MountOptions,
): Promise<{ readonly rootPath: string }> {
  const rootPath = join(directory, 'merged');
  if (await isMountPoint(host, directory, rootPath)) return { rootPath };
  for (const name of ['upper', 'work', 'merged']) host.files.makeDirectorySync(join(directory, name), { mode: 0o755 });
  const upper = join(directory, 'upper');
  // The merged root shows the owner and mode of the upper one.
  if (plan.root.uid !== 0 || plan.root.gid !== 0) await host.files.changeOwner(upper, plan.root.uid, plan.root.gid);
  await host.files.changeMode(upper, plan.root.mode);
  host.kernel.mount({
    source: 'overlay',
    target: rootPath,
    type: 'overlay',
    flags: 0,
    data: overlayOptions(plan.lower, directory),
    directory: images,
  });
  return { rootPath };
}

async function isMountPoint(host: Pick<Host, 'files'>, directory: string, path: string): Promise<boolean> {
  const stat = await host.files.findStat(path);
  return stat !== undefined && stat.device !== (await host.files.findStat(directory))?.device;
}

/** What holds the mount busy keeps it, out of sight, until it lets go. */
export async function unmountRoot(host: Pick<Host, 'files' | 'kernel'>, directory: string): Promise<void> {
  host.kernel.unmount(join(directory, 'merged'), { detach: true });
  for (const name of ['merged', 'upper', 'work']) await host.files.removeTree(join(directory, name));
}
