/**
 * Where a task finds the volumes that it names: volumes belong to a node, so a replica goes back to where its slot was before,
 * if that still fits, and a new one goes rather where such a volume is.
 *
 * A wish, not a demand: a node that is gone must not keep a service down. Who needs the very data says so by a constraint.
 * Called by orchestrate/pass.ts. Not here: the other wishes (place.ts).
 */
import type { Node, Task, TaskSpec } from '../../gen/types.js';

/** Names of the volumes that outlive the task. */
export function namedVolumes({ containers }: TaskSpec): readonly string[] {
  const mounts = containers.flatMap(container => container.mounts);
  // What is mounted from elsewhere is the same on every node.
  const local = mounts.filter(({ kind, volumeOptions }) => kind === 'volume' && !('device' in volumeOptions));
  return [...new Set(local.map(({ source }) => source).filter(source => source !== ''))];
}

/** The node of the newest task of the same slot that had one of the volumes. */
export function findHome(task: Task, others: Iterable<Task>): string | undefined {
  const volumes = namedVolumes(task.spec);
  if (volumes.length === 0 || task.slot === 0) return undefined;
  let newest: Task | undefined;
  for (const other of others) {
    const isBefore = other.slot === task.slot && other.id !== task.id && other.nodeId !== '';
    if (!isBefore || !namedVolumes(other.spec).some(name => volumes.includes(name))) continue;
    if (newest === undefined || other.meta.createdAtMs > newest.meta.createdAtMs) newest = other;
  }
  return newest?.nodeId;
}

/** Which of its volumes it does not find on the node, while others have them; undefined: none. */
export function noteElsewhere(spec: TaskSpec, node: Node, nodes: Iterable<Node>): string | undefined {
  const missing = namedVolumes(spec).filter(name => !node.description.volumes.includes(name));
  if (missing.length === 0) return undefined;
  const others = [...nodes];
  const notes = missing.flatMap(name => {
    const holders = others.filter(other => other.description.volumes.includes(name)).map(other => other.spec.name);
    if (holders.length === 0) return [];
    const more = holders.length > 1 ? ` and ${holders.length - 1} more` : '';
    return [`volume "${name}" lies on ${holders.sort()[0]}${more}; on ${node.spec.name} it began empty`];
  });
  return notes.length === 0 ? undefined : notes.join('; ');
}
