/**
 * Where everything of a task lies. One place, so that making, finding again and sweeping speak of the same names.
 *
 *   <data dir>/tasks/<task id>/  task.json, <n>/{upper,work,merged}, <n>.log
 *   <data dir>/trash/           root file systems that could not be removed yet
 *   <run dir>/                   bundles/<task id>/<n>/, empty/, exits/, secrets/<task id>/<n>/, runtime/<name>/
 *   /<prefix>/                   cgroups: _mon for the monitors, <task id> for each task
 */
import type { TaskId } from '../ids.js';

export interface Paths {
  readonly tasks: string;
  /** Root file systems that could not be removed yet. */
  readonly trash: string;
  readonly task: (id: TaskId) => string;
  readonly taskFile: (id: TaskId) => string;
  /** Directory of one container's layers, given to images.mountRoot. */
  readonly root: (id: TaskId, index: number) => string;
  readonly log: (id: TaskId, index: number) => string;
  readonly bundles: string;
  /** Empty, for all containers (runtime/masks.ts). */
  readonly emptyFolder: string;
  readonly taskBundles: (id: TaskId) => string;
  readonly bundle: (id: TaskId, index: number) => string;
  readonly exits: string;
  readonly exit: (containerId: string) => string;
  readonly secrets: string;
  readonly taskSecrets: (id: TaskId) => string;
  readonly runtimeRoot: (runtime: 'crun' | 'runc') => string;
  /** Of every runtime that this daemon may have used before. */
  readonly runtimeRoots: readonly string[];
  readonly containerId: (id: TaskId, index: number) => string;
}

export function pathsOf(place: { readonly dataDir: string; readonly runDir: string; readonly prefix: string }): Paths {
  const tasks = `${place.dataDir}/tasks`;
  const bundles = `${place.runDir}/bundles`;
  const exits = `${place.runDir}/exits`;
  const secrets = `${place.runDir}/secrets`;
  return {
    tasks,
    trash: `${place.dataDir}/trash`,
    task: id => `${tasks}/${id}`,
    taskFile: id => `${tasks}/${id}/task.json`,
    root: (id, index) => `${tasks}/${id}/${index}`,
    log: (id, index) => `${tasks}/${id}/${index}.log`,
    bundles,
    emptyFolder: `${place.runDir}/empty`,
    taskBundles: id => `${bundles}/${id}`,
    bundle: (id, index) => `${bundles}/${id}/${index}`,
    exits,
    exit: containerId => `${exits}/${containerId}`,
    secrets,
    taskSecrets: id => `${secrets}/${id}`,
    runtimeRoot: runtime => `${place.runDir}/runtime/${runtime}`,
    runtimeRoots: [`${place.runDir}/runtime/crun`, `${place.runDir}/runtime/runc`],
    containerId: (id, index) => `${place.prefix}-${id}-${index}`,
  };
}

/** The task of a container id, or undefined when the id is not one of ours. */
export function findTaskOf(
  containerId: string,
  prefix: string,
): { readonly taskId: string; readonly index: number } | undefined {
  const match = new RegExp(`^${prefix}-([0-9a-z]{25})-(\\d+)$`).exec(containerId);
  return match?.[1] === undefined ? undefined : { taskId: match[1], index: Number(match[2]) };
}
