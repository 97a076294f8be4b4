/**
 * What a change of a service's spec asks for: whether its tasks have to be replaced, and whether it is only another number of
 * them.
 *
 * Pure. Called by revisions.ts and control/words.ts. Not here: replacing them (update.ts), words for people (control/words.ts).
 */
import type { ServiceSpec } from '../../gen/types.js';
import { isSame } from '../control/same.js';

/** Tasks made from the old spec are not what the other one asks for. New limits alone they get where they are (limits.ts). */
export function replacesTasks(old: ServiceSpec, spec: ServiceSpec): boolean {
  const { limits } = spec.task;
  return !isSame({ ...old.task, limits }, spec.task) || !isSame(hostPorts(old), hostPorts(spec));
}

/** Nothing but the number of replicas differs. */
export function isOnlyScale(old: ServiceSpec, spec: ServiceSpec): boolean {
  return !isSame(old.mode, spec.mode) && isSame({ ...old, mode: spec.mode }, spec);
}

/** A task is given them when it is made. */
function hostPorts(spec: ServiceSpec): readonly unknown[] {
  return spec.ports.filter(port => port.mode === 'host');
}
