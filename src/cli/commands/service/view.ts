/**
 * How a list of services looks.
 *
 * Not here: the records for programs (records.ts).
 */
import type { PortSpec } from '../../../gen/types.js';
import { stateColour } from '../../output/colours.js';
import type { ListView } from '../../output/list.js';
import { renderAge } from '../../output/values.js';
import { type CountedService, modeName, portsOf, serviceRecord } from '../../records.js';

export function serviceView(nowMs: number): ListView<CountedService> {
  return {
    columns: [
      { header: 'SERVICE', cutTo: 16 },
      { header: 'MODE' },
      { header: 'RUNNING', align: 'right' },
      { header: 'IMAGE', cutTo: 16 },
      { header: 'PORTS', cutTo: 12 },
      { header: 'AGE' },
    ],
    row: ({ service, running, wanted, completed }) => [
      service.spec.name,
      service.removing ? 'going' : modeName(service.spec.mode),
      completed === undefined
        ? { text: `${running} of ${wanted}`, colour: stateColour(running >= wanted ? 'running' : 'pending') }
        : jobCell({ running, completed, wanted }),
      imageText(service.spec.task.containers.map(container => container.image)),
      portsOf(service).map(portText).join(', '),
      renderAge(nowMs - service.meta.createdAtMs),
    ],
    record: serviceRecord,
    id: ({ service }) => service.id,
    name: ({ service }) => service.spec.name,
  };
}

/** How much of a job is done comes first to mind: "3 (2/5 completed)". */
function jobCell({ running, completed, wanted }: { running: number; completed: number; wanted: number }) {
  const colour = stateColour(completed >= wanted ? 'complete' : running > 0 ? 'running' : 'pending');
  return { text: `${running} (${completed}/${wanted} completed)`, colour };
}

/** The main container's, and how many containers beside it have another: "hello:1 +2". */
export function imageText([main = '', ...more]: readonly string[]): string {
  const others = more.filter(image => image !== main).length;
  return others === 0 ? main : `${main} +${others}`;
}

/** "8080->80", "53->53/udp", "80 (host)". */
function portText(port: PortSpec): string {
  const published = port.published === 0 ? '?' : String(port.published);
  return `${published}->${port.target}${port.protocol === 'tcp' ? '' : `/${port.protocol}`}${port.mode === 'ingress' ? '' : ` (${port.mode})`}`;
}
