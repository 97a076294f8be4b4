/**
 * Mounts of a task that stand beside its root file systems: the files of an image as a volume, and parts of volumes.
 *
 *     tasks/<id>/image-<n>.<m>/     overlay of the image; the container sees it read-only
 *     tasks/<id>/part-<n>.<m>       bind of one directory or file within a volume or image
 *
 * A part is opened by the kernel below the root of its volume and bound through that very descriptor: whatever a container
 * does to the links in it meanwhile, nothing outside is ever mounted.
 *
 * Called by prepare.ts and sweep.ts. Not here: volumes themselves (volumes.ts), targets in the container (runtime/mounts.ts).
 */
import { CoveyError } from '../errors.js';
import type { Mount, Task } from '../gen/types.js';
import type { Engine } from './engine.js';
import type { RootLook } from './images.js';

export interface SideRequest {
  readonly task: Task;
  readonly index: number;
  readonly look: RootLook;
  /** Roots of the volumes, by target. */
  readonly paths: ReadonlyMap<string, string>;
}

/** Adds images, and puts the parts that are asked for in the place of whole volumes. */
export async function mountSides(
  engine: Engine,
  { task, index, look, paths }: SideRequest,
): Promise<ReadonlyMap<string, string>> {
  const sources = new Map(paths);
  for (const [at, mount] of (task.spec.containers[index]?.mounts ?? []).entries()) {
    const place = `${engine.paths.task(task.id)}/`;
    if (mount.kind === 'image')
      sources.set(
        mount.target,
        await mountImage(engine, mount, { task, folder: `${place}image-${index}.${at}`, look }),
      );
    const root = sources.get(mount.target);
    if (mount.subpath === '' || root === undefined) continue;
    const target = `${place}part-${index}.${at}`;
    engine.host.kernel.bindBeneath({ root, path: mount.subpath, target });
    sources.set(mount.target, target);
  }
  return sources;
}

interface ImagePlace {
  readonly task: Task;
  readonly folder: string;
  readonly look: RootLook;
}

async function mountImage(engine: Engine, mount: Mount, { task, folder, look }: ImagePlace): Promise<string> {
  const image = engine.images.find(mount.source);
  if (image === undefined) {
    throw new CoveyError('image-not-found', `Cannot mount image "${mount.source}": it is not on this node`, {
      hint: 'covey image import FILE',
    });
  }
  engine.images.acquire(task.id, image.digest);
  engine.host.files.makeDirectorySync(folder);
  return (await engine.images.mountRoot(image, folder, look)).rootPath;
}

/** Idempotent. */
export async function releaseSides(engine: Engine, taskId: Task['id']): Promise<void> {
  const { files, kernel } = engine.host;
  const folder = engine.paths.task(taskId);
  const names = files.listSync(folder);
  for (const name of names.filter(one => /^part-\d+\.\d+$/.test(one))) {
    kernel.unmount(`${folder}/${name}`, { detach: true });
    if (files.removeDirectorySync(`${folder}/${name}`) === 'busy') files.removeFileSync(`${folder}/${name}`);
  }
  for (const name of names.filter(one => /^image-\d+\.\d+$/.test(one))) {
    await engine.images.unmountRoot(`${folder}/${name}`);
    files.removeDirectorySync(`${folder}/${name}`);
  }
}
