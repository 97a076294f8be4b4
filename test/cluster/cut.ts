/**
 * A node is cut off while services change, and comes back. Used by the test (12 s) and by `npm run torture -- partition` (10 to
 * 30 s).
 */
import * as fs from 'node:fs';
import { type DevCluster, type TaskRow, until } from './dev-cluster.js';

const ticker = ['sh', '-c', 'n=0; trap "exit 0" TERM; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done'];
const cutNode = 3;

export interface CutOutcome {
  readonly problems: readonly string[];
  /** From healing until a task on any node is told the same. */
  readonly equalAfterMs: number;
}

/** `look` has a task on each node, which asks; `tick` is asked for. */
export function setUpServices(cluster: DevCluster): void {
  cluster.must(1, 'network', 'create', 'inside');
  for (const args of [
    ['--name', 'look', '--mode', 'global'],
    ['--name', 'tick', '--replicas', '3'],
  ])
    cluster.must(1, 'service', 'create', ...args, '--network', 'inside', 'hello:1', ...ticker);
}

const tasksOf = (cluster: DevCluster, service: string): readonly TaskRow[] =>
  cluster
    .json<TaskRow>(1, 'service', 'ps', service)
    .filter(task => task.state === 'running' && task.desiredState === 'running');

/** Cuts while `tick` has `from` tasks; by the time it heals it has `to`. */
export async function cutAndHeal(
  cluster: DevCluster,
  { cutMs, to }: { readonly cutMs: number; readonly to: number },
): Promise<CutOutcome> {
  const problems: string[] = [];
  const { name, dataDir } = cluster.node(cutNode);
  const lookers = cluster.nodes.map(node => {
    const task = tasksOf(cluster, 'look').find(one => one.node === node.name);
    return { index: node.index, namespace: `${node.runDir}/netns/${task?.id}`, id: task?.id ?? '' };
  });
  const onCut = tasksOf(cluster, 'look').find(task => task.node === name);
  const lines = (): number => fs.readFileSync(`${dataDir}/tasks/${onCut?.id}/0.log`, 'utf8').split('\n').length;
  cluster.script('partition', String(cutNode));
  const cutAtMs = performance.now();
  const linesBefore = lines();
  cluster.must(1, 'service', 'scale', '--detach', `tick=${to}`);
  await new Promise(resolve => setTimeout(resolve, cutMs - (performance.now() - cutAtMs)));
  if (lines() < linesBefore + (cutMs / 200) * 0.5) problems.push('the task on the cut node did not run on');
  cluster.script('heal');
  const healedMs = performance.now();
  await until(
    'the same answer on each node',
    () => lookers.map(looker => answer(cluster, looker)),
    seen => new Set(seen).size === 1 && seen[0]?.split(' ').length === to,
    30_000,
  );
  const equalAfterMs = performance.now() - healedMs;
  const live = new Set(tasksOf(cluster, 'tick').flatMap(({ addresses }) => addresses));
  for (const looker of lookers) {
    for (const address of answer(cluster, looker).split(' '))
      if (![...live].some(one => one.split('/')[0]?.endsWith(address)))
        problems.push(`${address} is answered on node ${looker.index}, and nobody has it`);
  }
  const now = tasksOf(cluster, 'look').find(task => task.node === name);
  if (now?.id !== onCut?.id) problems.push('the task on the cut node was replaced');
  return { problems, equalAfterMs };
}

/** Addresses of the tasks of `tick` that a task on that node is told. */
function answer(
  cluster: DevCluster,
  { index, namespace }: { readonly index: number; readonly namespace: string },
): string {
  const asked = cluster.inside(
    index,
    'nsenter',
    `--net=${namespace}`,
    'busybox',
    'nslookup',
    'tasks.tick',
    '169.254.1.1',
  );
  const found = [...asked.stdout.matchAll(/^Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)/gm)].map(match => match[1] ?? '');
  return [...new Set(found)]
    .filter(address => !address.startsWith('169.254.'))
    .sort()
    .join(' ');
}
