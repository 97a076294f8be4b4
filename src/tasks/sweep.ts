/**
 * Finds what bears our prefix and belongs to no task, and takes it away: cgroups, containers, bundles, secrets, network
 * namespaces, task directories. Run at the start and now and then; finds nothing when all is well.
 *
 * Never touches a name that is not of our form. Not here: what a known task holds (prepare.ts).
 */
import { messageOf } from '../errors.js';
import { asId, isId, type TaskId } from '../ids.js';
import { endProcesses, killHelpers } from './containers.js';
import type { Engine } from './engine.js';
import { hideAllSys } from './isolation.js';
import { findTaskOf } from './paths.js';
import { forgetTask } from './prepare.js';
import { forgetContainer, listContainers } from './runtime/crun.js';
import { releaseSides } from './side-mounts.js';
import { removeSmallTree } from './small-tree.js';

/** What was removed, a line each; what could not be is logged and tried again next time. */
export async function sweepStrays(engine: Engine, known: ReadonlySet<string>): Promise<readonly string[]> {
  const { files } = engine.host;
  const { paths } = engine;
  const removed: string[] = [];
  const sweep = async (what: string, names: readonly string[], remove: (id: TaskId) => Promise<void> | void) => {
    for (const name of new Set(names)) {
      if (!isId(name) || known.has(name)) continue;
      try {
        await remove(asId<TaskId>(name));
        removed.push(`${what} of task ${name}`);
      } catch (error) {
        engine.log.warn('cannot sweep', { what, task: name, error: messageOf(error) });
      }
    }
  };
  const containers = listContainers(engine.host, engine.paths.runtimeRoots);
  const owners = new Map(containers.map(id => [id, findTaskOf(id, engine.prefix)?.taskId ?? '']));

  await sweep('monitors', strayMonitors(engine), id => killHelpersOf(engine, id));
  await sweep('cgroups', engine.cgroups.tasks(), id => endProcesses(engine, id));
  await sweep('container', [...owners.values()], id => {
    for (const [container, owner] of owners)
      if (owner === id) forgetContainer(engine.host, engine.paths.runtimeRoots, container);
  });
  await sweep('network', engine.network.attached(), id => engine.network.detach(id));
  await sweep('bundles', files.listSync(paths.bundles), id => {
    hideAllSys(engine, id);
    removeSmallTree(files, paths.taskBundles(id));
  });
  await sweep('secrets', engine.secrets.tasks(), id => engine.secrets.removeOf(id));
  await sweep('directory', files.listSync(paths.tasks), id => removeDirectory(engine, id));
  for (const name of files.listSync(paths.exits)) {
    const owner = findTaskOf(name, engine.prefix);
    if (owner !== undefined && !known.has(owner.taskId)) files.removeFileSync(paths.exit(name));
  }
  await engine.trash.empty();
  return removed;
}

function strayMonitors(engine: Engine): readonly string[] {
  return [...engine.cgroups.monitors()].flatMap(pid => {
    const args = engine.host.files.findTextSync(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
    return args.flatMap(arg => findTaskOf(arg, engine.prefix)?.taskId ?? []);
  });
}

const containersMax = 16;

async function killHelpersOf(engine: Engine, id: TaskId): Promise<void> {
  for (let index = 0; index < containersMax; index += 1) {
    await killHelpers(engine, engine.paths.containerId(id, index));
  }
}

async function removeDirectory(engine: Engine, id: TaskId): Promise<void> {
  const folder = engine.paths.task(id);
  for (const name of engine.host.files.listSync(folder)) {
    if (/^\d+$/.test(name)) await engine.trash.discard(`${folder}/${name}`);
  }
  await releaseSides(engine, id);
  await forgetTask(engine, id);
  await engine.volumes?.release(id);
}
