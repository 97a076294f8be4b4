/**
 * A container of a task made anew in its place, beside others that run on: what is left of the one before is taken away, its
 * root file system, volumes, bundle and log stay.
 *
 * Not here: making and releasing the whole task (prepare.ts), when (members.ts).
 */
import type { Task } from '../gen/types.js';
import { type ContainerSeen, createdContainer, endProcesses, killHelpers, noContainer } from './containers.js';
import type { Engine } from './engine.js';
import { createContainer } from './prepare.js';
import { forgetContainer } from './runtime/crun.js';
import { removeSmallTree } from './small-tree.js';

export interface RemakePlace {
  readonly task: Task;
  readonly index: number;
}

export async function remakeContainer(
  engine: Engine,
  place: RemakePlace & { readonly signal: AbortSignal },
): Promise<ContainerSeen> {
  await clearContainer(engine, place);
  const monitored = await createContainer(engine, place);
  return createdContainer(engine, engine.paths.containerId(place.task.id, place.index), monitored);
}

/** As an ended one of which nobody saw the end: found when the daemon died while a sidecar was made anew. */
export async function clearStray(engine: Engine, place: RemakePlace): Promise<ContainerSeen> {
  await clearContainer(engine, place);
  const { paths } = engine;
  const containerId = paths.containerId(place.task.id, place.index);
  return { ...noContainer(containerId), phase: 'ended', exitCode: strayExitCode };
}

/** Of a container that was killed by us. */
const strayExitCode = 137;

/** The exit file goes last: as long as it is there, the container counts as ended. */
async function clearContainer(engine: Engine, { task, index }: RemakePlace): Promise<void> {
  const { paths, host } = engine;
  const containerId = paths.containerId(task.id, index);
  const bundle = paths.bundle(task.id, index);
  await killHelpers(engine, containerId);
  await endProcesses(engine, `${task.id}/${index}`);
  forgetContainer(host, paths.runtimeRoots, containerId);
  for (const name of ['pidfile', 'conmon.pid', 'ctl', 'attach', 'winsz', 'post-start-hooks', 'ready'])
    host.files.removeFileSync(`${bundle}/${name}`);
  removeSmallTree(host.files, `${bundle}/persist`);
  host.files.makeDirectorySync(`${bundle}/persist`);
  host.files.removeFileSync(paths.exit(containerId));
}
