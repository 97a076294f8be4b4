/**
 * What lives on a dev-cluster, for tests that take nodes away: its tasks, their processes, its nodes. One question to the cluster
 * for all tasks, as a busy machine takes its time for each.
 */
import * as fs from 'node:fs';
import { type DevCluster, type TaskRow, until } from './dev-cluster.js';
import { tablesAt } from './tables-at.js';

/** Long enough for a machine with ten times the work that it can do. */
export const patienceMs = 90_000;

export const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'];

export interface LivingTask extends TaskRow {
  readonly pid: number | null;
  readonly createdAt: string;
}

export interface NodeRow {
  readonly name: string;
  readonly leader: boolean;
  readonly state: string;
  readonly since: string;
  readonly silentSince: string | null;
}

/** Tasks by service that are to run, as node `at` knows them. */
export function wantedAt(cluster: DevCluster, at: number): ReadonlyMap<string, readonly LivingTask[]> {
  const rows = cluster.json<LivingTask>(at, 'task', 'ls').filter(task => task.desiredState === 'running');
  return Map.groupBy(rows, task => task.service);
}

/** The tasks, as soon as each of the services has so many running ones, one a slot, and nothing else is wanted of it. */
export function settled(
  cluster: DevCluster,
  at: number,
  counts: Readonly<Record<string, number>>,
): Promise<ReadonlyMap<string, readonly LivingTask[]>> {
  return until(
    `one running task a slot, ${JSON.stringify(counts)}`,
    () => wantedAt(cluster, at),
    wanted => Object.entries(counts).every(([service, count]) => isWhole(wanted.get(service) ?? [], count)),
    patienceMs,
  );
}

function isWhole(tasks: readonly LivingTask[], count: number): boolean {
  const slots = new Set(tasks.map(task => task.slot));
  return tasks.length === count && slots.size === count && tasks.every(task => task.state === 'running');
}

export const nodesAt = (cluster: DevCluster, at: number): readonly NodeRow[] => cluster.json<NodeRow>(at, 'node', 'ls');

/** Once all are there. */
export function allReady(cluster: DevCluster, at: number): Promise<readonly NodeRow[]> {
  return until(
    'all nodes ready',
    () => nodesAt(cluster, at),
    nodes => nodes.every(node => node.state === 'ready' && node.silentSince === null),
    patienceMs,
  );
}

/** Start time of a process; undefined when it is gone. Equal only when it is the same one. */
export function startOf(pid: number | null): string | undefined {
  try {
    return fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[19];
  } catch {
    return undefined;
  }
}

export const startsOf = (tasks: readonly LivingTask[] = []): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries(tasks.map(task => [task.id, startOf(task.pid)]));

export const idsOf = (tasks: readonly LivingTask[] = []): readonly string[] => tasks.map(task => task.id).sort();

/** Waits until names and backends are the same on all nodes; `look` is a service with a task on each. */
export async function tablesAlike(cluster: DevCluster, services: readonly string[]): Promise<void> {
  const lookers = wantedAt(cluster, 1).get('look') ?? [];
  await until(
    'the same tables on all nodes',
    () => cluster.nodes.map(node => tablesAt(cluster, node.index, { lookers, services })),
    seen => new Set(seen).size === 1,
    patienceMs,
  );
}

/** Pid and start time of the main process of each task of a service, as node `at` lists them. */
export function startTimes(
  cluster: DevCluster,
  at: number,
  service: string,
  ...flags: readonly string[]
): Readonly<Record<string, string>> {
  const rows = cluster
    .json<TaskRow & { pid: number }>(at, 'service', 'ps', ...flags, service)
    .filter(task => task.desiredState === 'running');
  return Object.fromEntries(rows.map(({ id, pid }) => [id, `${pid} ${startOf(pid)}`]));
}
