/**
 * What tests of updates do again and again: change a service's tasks, look at its rollout, let time pass.
 *
 * Not here: tests.
 */
import type { Rollout, ServiceSpec, Task, UpdateConfig } from '../../src/gen/types.js';
import { isEnded } from '../../src/raft/store.js';
import { type Behaviour, callerOf, obedient, type Plane } from './plane-fixtures.js';

export function updateConfig(over: Partial<UpdateConfig> = {}): UpdateConfig {
  return { delayMs: 0, failureAction: 'pause', maxFailureRatio: 0, order: 'stop-first', monitorMs: 0, ...over };
}

export const webOf = (plane: Plane) => plane.store.view().findByName('service', 'web')!;
export const rolloutOf = (plane: Plane): Rollout => webOf(plane).rollout!;

export async function changeWeb(plane: Plane, change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
  const { id, meta, spec } = webOf(plane);
  await plane.control.updateService({ service: id, version: meta.version, spec: change(spec) }, callerOf());
  await plane.settle();
}

/** Another image: all tasks are replaced. */
export const image =
  (name: string) =>
  (spec: ServiceSpec): ServiceSpec => ({
    ...spec,
    task: { ...spec.task, containers: spec.task.containers.map(each => ({ ...each, image: name })) },
  });

const imageOf = (task: Task): string => task.spec.containers[0]?.image ?? '';
export const images = (plane: Plane): readonly string[] => plane.running('web').map(imageOf).sort();

export async function pass(plane: Plane, ms: number, stepMs = 1_000): Promise<void> {
  for (let left = ms; left > 0; left -= stepMs) {
    await plane.clock.advance(Math.min(left, stepMs));
    await plane.settle();
  }
}

/** Agents whose tasks of one image fail when they are to run. */
export const failing =
  (name: string, isBad: (task: Task) => boolean = () => true): Behaviour =>
  task => {
    if (imageOf(task) !== name || !isBad(task) || isEnded(task.status.state) || task.desired !== 'running') {
      return obedient(task);
    }
    return { state: 'failed', exitCode: 1, error: 'exit code 1' };
  };

/** The fewest and most tasks that ran at any time from now on. */
export function watchRunning(plane: Plane): { fewest: number; most: number } {
  const seen = { fewest: Number.POSITIVE_INFINITY, most: 0 };
  plane.store.watch(() => {
    const up = plane.tasks('web').filter(task => task.status.state === 'running').length;
    seen.fewest = Math.min(seen.fewest, up);
    seen.most = Math.max(seen.most, up);
  });
  return seen;
}
