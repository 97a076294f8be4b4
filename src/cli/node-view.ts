/**
 * Nodes as people see them in a list: one line each, and what is out of the ordinary at its end.
 *
 * Called by commands/node.ts. Not here: all that is known of a node (records.ts).
 */
import type { Availability, ListNodesResponse, Node } from '../gen/types.js';
import { stateColour } from './output/colours.js';
import type { ListView } from './output/list.js';
import { plural, renderAge, renderBytes, renderCpus } from './output/values.js';
import { type CountedNode, hostOf, nodeRecord } from './records.js';

export function countedNode(node: Node, answer: ListNodesResponse, own: string): CountedNode {
  const leader = node.id === answer.leaderId;
  const reached = answer.reachable.includes(node.id) ? 'reachable' : 'unreachable';
  return {
    node,
    leader,
    tasks: answer.tasks[node.id] ?? 0,
    own: node.id === own,
    reachability: node.role !== 'manager' ? '' : leader ? 'leader' : answer.reachable.length === 0 ? '' : reached,
    lastHeardMs: answer.lastHeardMs[node.id] ?? 0,
  };
}

export function nodeView(nowMs: number): ListView<CountedNode> {
  return {
    columns: [
      { header: 'NODE', cutTo: 12 },
      { header: 'ROLE' },
      { header: 'STATE' },
      { header: 'AVAILABILITY' },
      { header: 'LINK' },
      { header: 'ADDRESS' },
      { header: 'CPU', align: 'right' },
      { header: 'MEMORY', align: 'right' },
      { header: 'TASKS', align: 'right' },
      { header: 'AGE' },
      { header: '', cutTo: 10 },
    ],
    row: ({ node, tasks, own, ...rest }) => [
      own ? `${node.spec.name} *` : node.spec.name,
      ['leader', 'unreachable'].includes(rest.reachability) ? `${node.role} (${rest.reachability})` : node.role,
      { text: node.status.state, colour: stateColour(node.status.state) },
      { text: availabilityWord(node.spec.availability), colour: stateColour(availabilityWord(node.spec.availability)) },
      node.spec.link ?? 'lan',
      hostOf(node.description.addresses[0] ?? ''),
      node.description.cpuNanos === 0 ? '-' : renderCpus(node.description.cpuNanos),
      node.description.memoryBytes === 0 ? '-' : renderBytes(node.description.memoryBytes),
      String(tasks),
      node.meta.createdAtMs === 0 ? '-' : renderAge(nowMs - node.meta.createdAtMs),
      notesOf({ node, tasks, own, ...rest }, nowMs).join('; '),
    ],
    record: nodeRecord,
    id: ({ node }) => node.id,
    name: ({ node }) => node.spec.name,
  };
}

function availabilityWord(availability: Availability): string {
  return availability === 'drain' ? 'draining' : availability === 'pause' ? 'paused' : 'active';
}

/** A certificate of a day, the shortest, is renewed before so little of its time is left. */
const certificateLateMs = 3 * 3_600_000;

export function notesOf({ node, tasks, lastHeardMs }: CountedNode, nowMs: number): readonly string[] {
  const { status, spec, certificateExpiresAtMs } = node;
  const notes: string[] = [];
  if (status.message !== '') notes.push(status.message);
  else if (status.state === 'lost') notes.push(`for ${renderAge(nowMs - status.sinceMs)}`);
  const skewMs = status.clockSkewMs ?? 0;
  if (skewMs !== 0) notes.push(`its clock is ${renderAge(Math.abs(skewMs))} ${skewMs > 0 ? 'ahead' : 'behind'}`);
  if (status.silentSinceMs !== undefined && status.state !== 'lost') {
    notes.push(`silent for ${renderAge(nowMs - status.silentSinceMs)}`);
  } else if (status.state === 'lost' && lastHeardMs > 0) notes.push(`last heard ${renderAge(nowMs - lastHeardMs)} ago`);
  if (spec.availability === 'drain' && tasks > 0) {
    const until = spec.drainUntilMs;
    const end = until === undefined ? '' : `, stopped ${until <= nowMs ? 'now' : `in ${renderAge(until - nowMs)}`}`;
    notes.push(`${plural(tasks, 'task')} still here${end}`);
  }
  const leftMs = certificateExpiresAtMs - nowMs;
  if (certificateExpiresAtMs > 0 && leftMs < certificateLateMs) {
    notes.push(leftMs <= 0 ? 'its certificate has ended' : `its certificate ends in ${renderAge(leftMs)}`);
  }
  return notes;
}
