/**
 * Nodes are cut off while services change, and come back. Used by the test (12 s) and by `npm run torture -- partition` (5 to 60 s;
 * workers, managers, majorities).
 */
import * as fs from 'node:fs';
import { type DevCluster, type TaskRow, until } from './dev-cluster.js';
import { askedIn, tablesAt } from './tables-at.js';

const ticker = ['sh', '-c', 'n=0; trap "exit 0" TERM; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done'];

interface RunningTask extends TaskRow {
  readonly pid: number | null;
}

export interface Cut {
  /** Groups of nodes: each is cut off from all others. */
  readonly groups: readonly (readonly number[])[];
  /** A node that takes commands meanwhile, or undefined: nobody does. */
  readonly commands: number | undefined;
  readonly cutMs: number;
  /** `tick` is to have so many tasks by the time it heals. */
  readonly to: number;
}

export interface CutOutcome {
  readonly problems: readonly string[];
  /** From healing until somebody looked and every node showed the same. */
  readonly equalAfterMs: number;
}

/** `look` has a task on each node, which asks; `tick` is asked for. Nobody's loss is to restart them. */
export function setUpServices(cluster: DevCluster): void {
  cluster.must(1, 'network', 'create', 'inside');
  for (const args of [
    ['--name', 'look', '--mode', 'global'],
    ['--name', 'tick', '--replicas', '3', '--lost-after', '10m'],
  ])
    cluster.must(1, 'service', 'create', ...args, '--network', 'inside', 'hello:1', ...ticker);
}

const tasksOf = (cluster: DevCluster, at: number, service: string): readonly RunningTask[] =>
  cluster
    .json<RunningTask>(at, 'service', 'ps', service)
    .filter(task => task.state === 'running' && task.desiredState === 'running');

/** Start time of its main process; undefined when that is gone. */
function startOf({ pid }: RunningTask): string | undefined {
  try {
    return fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[19];
  } catch {
    return undefined;
  }
}

export async function cutAndHeal(cluster: DevCluster, { groups, commands, cutMs, to }: Cut): Promise<CutOutcome> {
  const problems: string[] = [];
  const at = commands ?? 1;
  const lookers = tasksOf(cluster, at, 'look');
  const before = [...lookers, ...tasksOf(cluster, at, 'tick')].map(task => ({ task, start: startOf(task) }));
  const watched = cluster.node(groups[0]?.[0] ?? 1);
  const ticking = `${watched.dataDir}/tasks/${lookers.find(task => task.node === watched.name)?.id}/0.log`;
  for (const group of groups) cluster.script('partition', ...group.map(String));
  const cutAtMs = performance.now();
  const sizeBefore = fs.statSync(ticking).size;
  if (commands !== undefined)
    await until(
      'the change taken',
      () => cluster.covey(commands, 'service', 'scale', '--detach', `tick=${to}`),
      ({ status }) => status === 0,
      cutMs,
    );
  await new Promise(resolve => setTimeout(resolve, cutMs - (performance.now() - cutAtMs)));
  if (fs.statSync(ticking).size <= sizeBefore) problems.push('the task on the cut node did not run on');
  // Not by the script, which goes on to look at all nodes: time counts from here.
  for (const index of groups.flat()) cluster.inside(index, 'nft', 'delete', 'table', 'inet', 'dev_partition');
  const healedMs = performance.now();
  const tables = { lookers, services: ['look', 'tick'] };
  const wanted = commands === undefined ? undefined : to;
  let lookedMs = healedMs;
  await until(
    'the same tables on each node',
    () => {
      lookedMs = performance.now();
      return cluster.nodes.map(node => tablesAt(cluster, node.index, tables));
    },
    seen => new Set(seen).size === 1 && (wanted === undefined || countOf(seen[0]) === wanted),
    60_000,
  );
  const equalAfterMs = lookedMs - healedMs;
  problems.push(...(await findChanges(cluster, { at, before, lookers })));
  return { problems, equalAfterMs };
}

/** Tasks of `tick` in what tablesAt gives. */
function countOf(seen = ''): number {
  const [, addresses = ''] = /^tick: (.*)$/m.exec(seen) ?? [];
  return addresses === '' ? 0 : addresses.split(' ').length;
}

interface Before {
  readonly at: number;
  readonly before: readonly { readonly task: RunningTask; readonly start: string | undefined }[];
  readonly lookers: readonly RunningTask[];
}

/** What was restarted, and addresses that are answered and nobody has. */
async function findChanges(cluster: DevCluster, { at, before, lookers }: Before): Promise<readonly string[]> {
  await until(
    'all nodes ready',
    () => cluster.covey(at, 'node', 'ls', '--format', '{{.state}}').stdout.trim(),
    states => new Set(states.split('\n')).size === 1 && states.startsWith('ready'),
    60_000,
  );
  const now = new Map([...tasksOf(cluster, at, 'look'), ...tasksOf(cluster, at, 'tick')].map(task => [task.id, task]));
  const problems = before.flatMap(({ task, start }) => {
    const still = now.get(task.id);
    // A smaller number of replicas ends some of them.
    if (still === undefined) return task.service === 'look' ? [`${task.name} on ${task.node} was replaced`] : [];
    return startOf(still) === start ? [] : [`${task.name} on ${task.node} was restarted`];
  });
  const live = [...now.values()].flatMap(({ addresses }) => addresses.map(address => address.split('/')[0]));
  for (const looker of lookers) {
    const node = cluster.nodes.find(({ name }) => name === looker.node);
    for (const address of askedIn(`${node?.runDir}/netns/${looker.id}`, 'tick').split(' '))
      if (!live.includes(address)) problems.push(`${address} is answered on ${looker.node}, and nobody has it`);
  }
  return problems;
}
