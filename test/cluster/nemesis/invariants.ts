/**
 * What has to hold once everything is healed, read from the managers and from the kernel. `whatIsMissing` says what has not come
 * about yet, and is asked again until it says nothing; `findViolations` says what must not be, now or ever.
 *
 * Not here: histories (history.ts), waiting and rounds (round.ts).
 */
import * as fs from 'node:fs';
import { messageOf } from '../../../src/errors.js';
import type { ListServicesResponse, Node, Task } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { openCgroups } from '../../../src/tasks/cgroup/index.js';
import type { DevNode } from '../dev-cluster.js';
import { type ControlCalls, consistent } from './control.js';
import { type Faults, findStat, run } from './faults.js';

export interface Seen {
  readonly nodes: readonly Node[];
  readonly services: ListServicesResponse;
  readonly tasks: readonly Task[];
}

export interface Sight {
  readonly nodes: readonly DevNode[];
  /** Of the managers. */
  readonly controls: readonly ControlCalls[];
  readonly faults: Faults;
}

const callMs = 5_000;
const ended = new Set(['complete', 'shutdown', 'failed', 'rejected', 'orphaned']);
const isAlive = (task: Task): boolean => !ended.has(task.status.state);

async function readAll(calls: ControlCalls): Promise<Seen & { readonly leaderId: string | undefined }> {
  const options = () => ({ signal: new AbortController().signal, timeoutMs: callMs, ...consistent });
  const { nodes, leaderId } = await calls.listNodes({ objects: [], stack: '' }, options());
  const services = await calls.listServices({ objects: [], stack: '' }, options());
  const { tasks } = await calls.listTasks({ tasks: [], service: '', node: '', stack: '', current: false }, options());
  return { nodes, services, tasks, leaderId };
}

/** Empty: the cluster is as it is wanted, and all nodes and the kernel agree. `seen` is what the last manager said. */
export async function whatIsMissing(
  sight: Sight,
): Promise<{ readonly missing: readonly string[]; readonly seen: Seen | undefined }> {
  const dead = sight.nodes.filter(({ index }) => sight.faults.findDaemon(index) === undefined);
  if (dead.length > 0)
    return { missing: dead.map(({ name }) => `the daemon of ${name} does not run`), seen: undefined };
  const missing: string[] = [];
  const leaders = new Set<string>();
  let seen: Seen | undefined;
  for (const [at, calls] of sight.controls.entries()) {
    try {
      const one = await readAll(calls);
      leaders.add(one.leaderId ?? 'nobody');
      seen = one;
      missing.push(...whatStoresMiss(one).map(text => `manager ${at + 1}: ${text}`));
    } catch (error) {
      missing.push(`manager ${at + 1} does not answer: ${messageOf(error)}`);
    }
  }
  if (leaders.size > 1) missing.push(`managers follow ${[...leaders].join(' and ')}`);
  if (seen === undefined || missing.length > 0) return { missing, seen };
  for (const node of sight.nodes) missing.push(...whatKernelMisses(node, seen));
  if (missing.length === 0) missing.push(...(await whatNamesMiss(sight.nodes, seen)));
  return { missing, seen };
}

function whatStoresMiss({ nodes, services, tasks }: Seen): readonly string[] {
  const away = nodes.filter(({ status }) => status.state !== 'ready');
  const unsettled = services.services.filter(
    ({ id, removing }) => removing || services.running[id] !== services.wanted[id],
  );
  const moving = tasks.filter(
    task => isAlive(task) && (task.status.state !== 'running' || task.desired !== 'running' || task.superseded),
  );
  return [
    ...away.map(({ spec, status }) => `${spec.name} is ${status.state}: ${status.message}`),
    ...unsettled.map(
      ({ id, spec, removing }) =>
        `${spec.name} has ${services.running[id]} of ${services.wanted[id]}${removing ? ', is being removed' : ''}`,
    ),
    ...moving.map(
      ({ serviceName, slot, status, desired, id }) =>
        `${serviceName}.${slot} ${id} is ${status.state}, wanted ${desired}: ${status.message} ${status.error}`,
    ),
  ];
}

/** Groups with processes and pinned namespaces of a node are those of its running tasks. */
function whatKernelMisses(node: DevNode, { nodes, tasks }: Seen): readonly string[] {
  const id = nodes.find(({ spec }) => spec.name === node.name)?.id;
  const wanted = new Set<string>(tasks.filter(task => task.nodeId === id && isAlive(task)).map(task => task.id));
  const groups = new Set(openCgroups(linuxHost, node.name).tasks());
  const pins = new Set(fs.readdirSync(`${node.runDir}/netns`).filter(name => name !== 'fabric'));
  const folders = new Set(fs.readdirSync(`${node.dataDir}/tasks`).filter(name => /^[0-9a-z]{25}$/.test(name)));
  const missing = (what: string, found: ReadonlySet<string>): readonly string[] => [
    ...[...wanted].filter(task => !found.has(task)).map(task => `${node.name}: no ${what} of ${task}`),
    ...[...found]
      .filter(task => !wanted.has(task))
      .map(task => `${node.name}: a ${what} of ${task}, which is not there`),
  ];
  const kept = new Set<string>(tasks.map(task => task.id));
  return [
    ...missing('cgroup', groups),
    ...missing('network namespace', pins),
    ...[...folders]
      .filter(task => !kept.has(task))
      .map(task => `${node.name}: a folder of ${task}, which is not there`),
  ];
}

/** A task of `look` on each node asks for the tasks of `web`; all are told the addresses that the store has. */
async function whatNamesMiss(nodes: readonly DevNode[], seen: Seen): Promise<readonly string[]> {
  const addressesOf = (task: Task) => task.endpoints.flatMap(({ addresses }) => addresses.map(bare));
  const running = seen.tasks.filter(isAlive);
  const right = running.filter(task => task.serviceName === 'web').flatMap(addressesOf);
  const wanted = right.sort().join(' ');
  return (
    await Promise.all(
      nodes.map(async node => {
        const id = seen.nodes.find(({ spec }) => spec.name === node.name)?.id;
        const looker = running.find(task => task.serviceName === 'look' && task.nodeId === id);
        const told = await addressesTold(node, looker?.id ?? '');
        return told === wanted ? [] : [`${node.name}: tasks.web is ${told}, not ${wanted}`];
      }),
    )
  ).flat();
}

const bare = (address: string): string => address.split('/')[0] ?? '';

async function addressesTold({ runDir }: DevNode, task: string): Promise<string> {
  const argv = ['nsenter', `--net=${runDir}/netns/${task}`, 'busybox', 'nslookup', 'tasks.web', '169.254.1.1'];
  const text = await run(argv).catch(messageOf);
  const found = [...text.matchAll(/^Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)/gm)].map(match => match[1] ?? '');
  return [...new Set(found)]
    .filter(address => !address.startsWith('169.254.'))
    .sort()
    .join(' ');
}

/** Of a settled cluster. */
export async function findViolations({ nodes }: Sight, seen: Seen): Promise<readonly string[]> {
  const running = seen.tasks.filter(isAlive);
  const holders: [string, string][] = [
    ...running.map((task): [string, string] => [
      `slot ${task.slot === 0 ? task.nodeId : task.slot} of ${task.serviceName}`,
      task.id,
    ]),
    ...seen.services.services.flatMap(service =>
      service.vips.flatMap(({ addresses }) => addresses.map((one): [string, string] => [bare(one), service.spec.name])),
    ),
    ...seen.services.services.flatMap(service =>
      service.ports.map((port): [string, string] => [`port ${port.published} ${port.protocol}`, service.spec.name]),
    ),
    ...running.flatMap(task =>
      task.endpoints.flatMap(({ addresses }) => addresses.map((one): [string, string] => [bare(one), task.id])),
    ),
  ];
  const doubled = [...groupBy(holders)]
    .filter(([, found]) => found.length > 1)
    .map(([what, found]) => `${what} has ${found.length} holders: ${found.join(', ')}`);
  return [...doubled, ...(await findWrongAddresses(nodes, seen))];
}

function groupBy(pairs: readonly [string, string][]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const [key, value] of pairs) found.set(key, [...(found.get(key) ?? []), value]);
  return found;
}

/** What the kernel of each node gave a container is what the store says. */
async function findWrongAddresses(
  nodes: readonly DevNode[],
  { nodes: known, tasks }: Seen,
): Promise<readonly string[]> {
  const looks = tasks.filter(isAlive).map(async task => {
    const node = nodes.find(({ name }) => name === known.find(({ id }) => id === task.nodeId)?.spec.name);
    const text = await run(['nsenter', `--net=${node?.runDir}/netns/${task.id}`, 'ip', '-o', '-4', 'address']);
    const found = [...text.matchAll(/eth\d+ +inet ([0-9.]+)/g)].map(match => match[1] ?? '');
    const wanted = task.endpoints.flatMap(({ addresses }) => addresses.map(bare)).filter(one => !one.includes(':'));
    const [is, should] = [found.sort().join(' '), wanted.sort().join(' ')];
    return is === should ? [] : [`${task.serviceName}.${task.slot} ${task.id} has ${is}, not ${should}`];
  });
  return (await Promise.all(looks)).flat();
}

/** Where a task runs, and as which process: it changes when the task is started anew, and not when it is adopted. */
export interface Running {
  readonly node: string;
  readonly service: string;
  readonly process: string;
}

export function runningOf({ nodes, tasks }: Seen, services: readonly string[]): ReadonlyMap<string, Running> {
  return new Map(
    tasks
      .filter(task => services.includes(task.serviceName) && task.status.state === 'running')
      .map(task => {
        const pid = task.status.pid ?? 0;
        const node = nodes.find(({ id }) => id === task.nodeId)?.spec.name ?? '';
        return [
          task.id,
          { node, service: task.serviceName, process: `${pid} since ${findStat(pid)?.[19] ?? 'never'}` },
        ];
      }),
  );
}
