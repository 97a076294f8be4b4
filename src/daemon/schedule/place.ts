/**
 * Chooses the node of a task: of those that can take it, the one where its slot has its volumes, then one in the part of the
 * cluster (spread.ts) with the fewest tasks of its service, then the one with the fewest of them itself, then one that has the volumes, then one that has the image, then the one with the fewest tasks at all. Nodes on which this very spec failed lately come last.
 *
 * When none fits it says why, with numbers, the most common reason first. Called by orchestrate/pass.ts. Not here: what makes
 * a node fit (filters.ts).
 */
import type { Node, Task } from '../../gen/types.js';
import { byAge, isLive } from '../orchestrate/slot.js';
import { type Demand, findRefusal, type NodeUsage, type Refusal } from './filters.js';
import { spreadOf } from './spread.js';

export type Placement =
  | { readonly kind: 'node'; readonly node: Node }
  | { readonly kind: 'none'; readonly message: string };

export interface Preferences {
  /** Failures of this spec by node, lately. */
  readonly failures: ReadonlyMap<string, number>;
  /** The forms in which a node may know the image's name. */
  readonly images: readonly string[];
  /** Where the task's slot has its volumes. */
  readonly home?: string | undefined;
  /** Names of volumes that it uses. */
  readonly volumes?: readonly string[];
  /** Tasks of this service by node that go when the one that follows on them runs: they crowd no node any more. */
  readonly leaving?: ReadonlyMap<string, number>;
}

/** So many failures put a node behind all others. */
export const failuresMax = 3;

export function planPlacement(usages: Iterable<NodeUsage>, demand: Demand, preferences: Preferences): Placement {
  const refusals: { readonly node: Node; readonly refusal: Refusal }[] = [];
  const all = [...usages];
  const spread = spreadOf(all, demand, preferences);
  let best: { readonly usage: NodeUsage; readonly rank: readonly number[] } | undefined;
  for (const usage of all) {
    const refusal = findRefusal(usage, demand);
    if (refusal !== undefined) {
      refusals.push({ node: usage.node, refusal });
      continue;
    }
    const rank = rankOf(usage, demand, { ...preferences, parts: spread(usage.node) });
    if (best === undefined || compare(rank, best.rank, [usage.node, best.usage.node]) < 0) best = { usage, rank };
  }
  if (best !== undefined) return { kind: 'node', node: best.usage.node };
  return { kind: 'none', message: renderRefusals(refusals, demand) };
}

function rankOf(
  usage: NodeUsage,
  demand: Demand,
  preferences: Preferences & { readonly parts: readonly number[] },
): readonly number[] {
  const { parts, failures, images, home, volumes = [], leaving } = preferences;
  const failed = failures.get(usage.node.id) ?? 0;
  const going = leaving?.get(usage.node.id) ?? 0;
  return [
    failed >= failuresMax ? failed : 0,
    home === undefined || usage.node.id === home ? 0 : 1,
    ...parts,
    (usage.services.get(demand.serviceId) ?? 0) - going,
    volumes.filter(volume => !usage.node.description.volumes.includes(volume)).length,
    usage.node.description.images.some(image => images.includes(image)) ? 0 : 1,
    usage.tasks - going,
  ];
}

function compare(a: readonly number[], b: readonly number[], [nodeA, nodeB]: readonly [Node, Node]): number {
  for (const [at, value] of a.entries()) {
    const other = b[at] ?? 0;
    if (value !== other) return value - other;
  }
  return nodeA.id < nodeB.id ? -1 : 1;
}

/** Failures that count against a node: of the same spec, within five minutes; a refusal counts as much as three. */
export function failuresByNode(tasks: Iterable<Task>, specVersion: number, nowMs: number): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { nodeId, status, meta, specVersion: version } of tasks) {
    const weight = status.state === 'rejected' ? failuresMax : status.state === 'failed' ? 1 : 0;
    if (weight === 0 || version !== specVersion || meta.updatedAtMs < nowMs - 300_000) continue;
    counts.set(nodeId, (counts.get(nodeId) ?? 0) + weight);
  }
  return counts;
}

/** Live tasks by node whose slot has a newer live one. */
export function leavingByNode(tasks: readonly Task[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const newest = new Map<number, Task>();
  for (const task of tasks.filter(isLive).sort((a, b) => a.specVersion - b.specVersion || byAge(a, b))) {
    const older = newest.get(task.slot);
    if (older !== undefined) counts.set(older.nodeId, (counts.get(older.nodeId) ?? 0) + 1);
    newest.set(task.slot, task);
  }
  return counts;
}

/** "no node fits: 3 looked at; 2 have too little memory (wants 8.0 GiB, most free is 5.1 GiB on rack1), 1 is draining". */
function renderRefusals(
  refusals: readonly { readonly node: Node; readonly refusal: Refusal }[],
  demand: Demand,
): string {
  if (refusals.length === 0) return 'no node fits: there are no nodes';
  const groups = [...Map.groupBy(refusals, ({ refusal }) => groupKey(refusal)).values()];
  groups.sort((a, b) => b.length - a.length);
  const reasons = groups.map(group => `${group.length} ${renderGroup(group, demand)}`);
  return `no node fits: ${refusals.length} looked at; ${reasons.join(', ')}`;
}

/** "nginx (pid 812) on rack1", of at most three. */
function namesOf(group: Group): string {
  const names = group.map(({ node, refusal }) =>
    refusal.kind === 'listener' ? `${refusal.program || 'somebody'} on ${node.spec.name}` : node.spec.name,
  );
  return `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`;
}

type Group = readonly { readonly node: Node; readonly refusal: Refusal }[];

function groupKey(refusal: Refusal): string {
  if (refusal.kind === 'constraint' || refusal.kind === 'tunnel') return `${refusal.kind} ${refusal.text}`;
  return refusal.kind === 'port' || refusal.kind === 'listener' ? `${refusal.kind} ${refusal.port}` : refusal.kind;
}

function renderGroup(group: Group, demand: Demand): string {
  const isOne = group.length === 1;
  const first = group[0]?.refusal;
  if (first === undefined) return '';
  switch (first.kind) {
    case 'cpu': {
      const wants = renderCpus(demand.reservations?.cpuNanos ?? 0);
      return `${isOne ? 'has' : 'have'} too little CPU (wants ${wants}, most free is ${mostFree(group, renderCpus)})`;
    }
    case 'memory': {
      const wants = renderSize(demand.reservations?.memoryBytes ?? 0);
      return `${isOne ? 'has' : 'have'} too little memory (wants ${wants}, most free is ${mostFree(group, renderSize)})`;
    }
    case 'constraint':
      return `${isOne ? 'does' : 'do'} not meet ${first.text}`;
    case 'port':
      return `${isOne ? 'has' : 'have'} port ${first.port} in use`;
    case 'listener':
      return `${isOne ? 'has' : 'have'} a program on port ${first.port}: ${namesOf(group)}`;
    case 'per-node-max':
      return `${isOne ? 'runs' : 'run'} as many tasks of the service as one node may (${demand.perNodeMax})`;
    case 'tunnel':
      return first.text;
    case 'privileged':
      return `${isOne ? 'does' : 'do'} not allow privileged containers`;
    case 'userns':
      return `${isOne ? 'has' : 'have'} no user namespaces for containers`;
    case 'unknown':
      return `${isOne ? 'has' : 'have'} not been heard of yet`;
    case 'left':
      return `${isOne ? 'has' : 'have'} left`;
    default:
      return `${isOne ? 'is' : 'are'} ${first.kind}`;
  }
}

function mostFree(group: Group, render: (amount: number) => string): string {
  let most: { readonly free: number; readonly name: string } | undefined;
  for (const { node, refusal } of group) {
    const free = refusal.kind === 'cpu' ? refusal.freeNanos : refusal.kind === 'memory' ? refusal.freeBytes : 0;
    if (most === undefined || free > most.free) most = { free, name: node.spec.name };
  }
  return `${render(Math.max(0, most?.free ?? 0))} on ${most?.name ?? ''}`;
}

export function renderCpus(nanos: number): string {
  return String(Math.round(nanos / 1e7) / 100);
}

export function renderSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}
