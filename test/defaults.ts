/**
 * Messages in which nothing is set, as they come over the wire: what tests build their objects on, so that a new field of the
 * protos needs no line in any of them.
 *
 * Not here: the objects themselves (tasks/objects.ts, daemon/object-fixtures.ts, daemon/node-fixtures.ts).
 */
import type { ContainerSpec, TaskSpec } from '../src/gen/types.js';
import { openWire } from '../src/wire.js';

const wire = openWire();

export function containerDefaults(): ContainerSpec {
  return { ...wire.type('ContainerSpec').decode(new Uint8Array()) };
}

/** Without containers. */
export function taskDefaults(): TaskSpec {
  const restart = wire.type('RestartPolicy').decode(new Uint8Array());
  const placement = wire.type('Placement').decode(new Uint8Array());
  return { containers: [], restart, placement, networks: [], runtime: '', force: 0 };
}
