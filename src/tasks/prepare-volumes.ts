/**
 * The volumes of a container, made and mounted where that is needed: those that its spec names, the directories that the
 * containers of its task share, and an anonymous one for each VOLUME of the image that the spec does not cover.
 *
 * Called by prepare.ts. Not here: the volumes themselves (volumes.ts), images and parts of volumes (side-mounts.ts).
 */
import { CoveyError } from '../errors.js';
import type { Mount, Task } from '../gen/types.js';
import type { Engine } from './engine.js';
import type { ImageRecord } from './images.js';
import { parseTarget } from './runtime/mounts.js';
import { plainMount } from './spec/mounts.js';

export interface PreparedVolumes {
  readonly mounts: readonly Mount[];
  /** By target. */
  readonly paths: ReadonlyMap<string, string>;
}

export interface VolumesRequest {
  readonly task: Task;
  readonly index: number;
  readonly image: ImageRecord;
  readonly rootPath: string;
}

export async function prepareVolumes(engine: Engine, place: VolumesRequest): Promise<PreparedVolumes> {
  const { mounts } = place.task.spec.containers[place.index]!;
  const covered = new Set(mounts.map(mount => parseTarget(mount.target)));
  const inherited = place.image.config.volumes
    .filter(target => !covered.has(parseTarget(target)))
    .map(target => plainMount('volume', target));
  const all = [...mounts, ...inherited];
  const wanted = all.filter(mount => mount.kind === 'volume' || mount.kind === 'shared');
  const { volumes } = engine;
  if (wanted.length === 0) return { mounts: all, paths: new Map() };
  if (volumes === undefined) throw new CoveyError('mount-source', 'Cannot mount a volume: this node keeps none');
  const paths = new Map<string, string>();
  for (const mount of wanted) {
    const request = { taskId: place.task.id, rootPath: place.rootPath, target: mount.target, ...wishOf(mount) };
    paths.set(mount.target, (await volumes.prepare(request)).path);
  }
  return { mounts: all, paths };
}

function wishOf(mount: Mount) {
  const { source, noCopy, subpath, volumeOptions, volumeLabels, tmpfsBytes } = mount;
  if (mount.kind === 'shared') {
    const options = tmpfsBytes === 0 ? {} : { type: 'tmpfs', o: `size=${tmpfsBytes},mode=1777` };
    return { name: '', shared: source, noCopy: true, options, labels: {} };
  }
  // A part of a volume is what is in it already, never what the image has at the target.
  return { name: source, noCopy: noCopy || subpath !== '', options: volumeOptions, labels: volumeLabels };
}

/** Those that outlive the task. */
export function namedVolumes(task: Task): readonly string[] {
  const mounts = task.spec.containers.flatMap(container => container.mounts);
  return mounts.flatMap(({ kind, source }) => (kind === 'volume' && source !== '' ? [source] : []));
}
