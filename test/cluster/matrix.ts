/**
 * Who reaches whom: services on some networks, in parts on one alone, in part on several; after whatever happens to the cluster,
 * every pair that has a network in common talks, by TCP, UDP and ICMP, and every other is refused.
 *
 * Used by the test (3 nodes, 12 containers, 2 networks) and by `npm run torture -- matrix` (5, 20, 3).
 */
import * as fs from 'node:fs';
import { type DevCluster, until } from './dev-cluster.js';
import { idsOf, type LivingTask, type NodeRow, nodesAt, settled, sleeper } from './living.js';
import { type Answer, type Member, Prober, type Question } from './prober.js';

/** The names of its networks and how many tasks it has, by service. */
export type Plan = Readonly<Record<string, { readonly networks: readonly string[]; readonly replicas: number }>>;

export interface Matrix extends AsyncDisposable {
  /** Waits until the tasks run and who reaches whom is as it has to be; says how many questions that was. */
  readonly holds: (at?: number) => Promise<number>;
  /** Each thing that may happen; done when the daemons are there again. */
  readonly events: Readonly<Record<string, () => Promise<void>>>;
}

/** For a machine with more work than it can do; what is waited for is a state. */
const longMs = 300_000;
/** What is not as it has to be, while somebody waits for it. */
const shownMax = 12;

export function openMatrix(cluster: DevCluster, plan: Plan): Matrix {
  const prober = new Prober();
  const networks = [...new Set(Object.values(plan).flatMap(one => one.networks))];
  for (const network of networks) cluster.must(1, 'network', 'create', network);
  for (const [name, { networks: own, replicas }] of Object.entries(plan)) {
    const flags = ['--name', name, '--replicas', String(replicas), '--lost-after', '10m', '--stop-grace-period', '1s'];
    const on = own.flatMap(network => ['--network', network]);
    cluster.must(1, 'service', 'create', '--detach', ...flags, ...on, 'hello:1', ...sleeper);
  }
  const prefixes = prefixesOf(cluster, networks);
  const networkOf = (address: string): string | undefined =>
    [...prefixes].find(([, prefix]) => address.startsWith(prefix))?.[0];
  const mayTalk = ({ from, address }: Question): boolean =>
    from.addresses.some(own => networkOf(own) === networkOf(address));
  const counts = Object.fromEntries(Object.entries(plan).map(([name, { replicas }]) => [name, replicas]));
  const wanted = (question: Question): Answer => (mayTalk(question) ? 'answered' : 'refused');
  const holds = async (at = 1): Promise<number> => {
    let standing = '';
    let all: ReadonlyMap<string, Question> = new Map();
    let open = new Map(all);
    const look = async () => {
      // Each time, since managers that come back may list for a moment what ran before.
      const members = findMembers(cluster, at, counts);
      if (typeof members === 'string') return { asked: 0, other: 0, such: [members] };
      const names = members.map(member => member.id).sort();
      if (names.join() !== standing) {
        try {
          await prober.stand(members);
        } catch (error) {
          // One of them was replaced in this very moment.
          return { asked: 0, other: 0, such: [String(error)] };
        }
        standing = names.join();
        all = prober.questions();
        open = new Map(all);
      }
      // What was once as it has to be is not asked again: the kernel sends only so many refusals at a time.
      const answers = await prober.ask(open);
      const other: string[] = [];
      for (const [key, question] of [...open]) {
        if (answers.get(key) === wanted(question)) open.delete(key);
        else other.push(`${key} ${answers.get(key)}, ${wanted(question)} wanted`);
      }
      return { asked: all.size, other: other.length, such: other.slice(0, shownMax) };
    };
    const what = 'every pair that may talk does, and no other';
    const { asked } = await until(what, look, seen => seen.asked > 0 && seen.other === 0, longMs);
    return asked;
  };
  return {
    holds,
    events: eventsOf(cluster, { counts, prober, settledAt: at => settled(cluster, at, counts) }),
    [Symbol.asyncDispose]: () => prober[Symbol.asyncDispose](),
  };
}

/** The part of the addresses that all of a network have in common: pieces of the pool, cut at a dot of /24 by their first three. */
function prefixesOf(cluster: DevCluster, networks: readonly string[]): ReadonlyMap<string, string> {
  const rows = cluster.json<{ readonly name: string; readonly subnets: readonly string[] }>(1, 'network', 'ls');
  return new Map(
    networks.map(name => {
      const [subnet = ''] = rows.find(row => row.name === name)?.subnets ?? [];
      return [name, `${subnet.split('.').slice(0, 3).join('.')}.`];
    }),
  );
}

/** The tasks as they are to run, all of them with a namespace; or what is missing. */
function findMembers(
  cluster: DevCluster,
  at: number,
  counts: Readonly<Record<string, number>>,
): readonly Member[] | string {
  const answer = cluster.covey(at, 'task', 'ls', '--format', 'json');
  if (answer.status !== 0) return answer.stderr;
  const lines = answer.stdout.split('\n').filter(line => line !== '');
  const tasks = lines.map((line): LivingTask => JSON.parse(line)).filter(task => task.desiredState === 'running');
  const running = tasks.filter(task => task.state === 'running' && task.service in counts);
  for (const [service, count] of Object.entries(counts)) {
    const own = running.filter(task => task.service === service);
    if (own.length !== count || tasks.filter(task => task.service === service).length !== count)
      return `${own.length} of ${count} tasks of ${service} run`;
  }
  const members = running.map(task => memberOf(cluster, task));
  const without = members.find(member => !fs.existsSync(member.namespacePath));
  return without === undefined ? members : `task ${without.id} has no namespace`;
}

/** Another process is another member: a task that was started anew has another namespace. */
function memberOf(cluster: DevCluster, task: LivingTask): Member {
  const node = cluster.nodes.find(({ name }) => name === task.node);
  return {
    id: `${task.id} ${task.pid}`,
    namespacePath: `${node?.runDir}/netns/${task.id}`,
    addresses: task.addresses.map(address => address.split('/')[0] ?? ''),
  };
}

interface Stage {
  readonly counts: Readonly<Record<string, number>>;
  readonly prober: Prober;
  readonly settledAt: (at: number) => Promise<ReadonlyMap<string, readonly LivingTask[]>>;
}

function eventsOf(cluster: DevCluster, { counts, prober, settledAt }: Stage): Matrix['events'] {
  const all = cluster.nodes.map(node => node.index);
  const last = all.length;
  const script = (...args: readonly string[]): void => {
    const outcome = cluster.script(...args);
    if (outcome.status !== 0) throw new Error(`dev-cluster ${args.join(' ')}: ${outcome.stderr}`);
  };
  const start = (index: number): void => script('start', String(index));
  const kill = (index: number): void => script('kill', String(index));
  const ready = (): Promise<void> => allBack(cluster);
  return {
    'a daemon killed and started': async () => {
      kill(last);
      start(last);
      await ready();
    },
    'a node cut off and healed': async () => {
      script('partition', String(last));
      await until(
        'the node missed',
        () => nodesAt(cluster, 1).find(({ name }) => name === cluster.node(last).name)?.silentSince ?? null,
        since => since !== null,
        longMs,
      );
      script('heal');
      await ready();
    },
    'rules, routes and entries flushed': async () => {
      for (const index of all) flush(cluster, index);
    },
    'the leader killed and started': async () => {
      const leader = await leaderOf(cluster, 1);
      kill(leader);
      const other = all.find(index => index !== leader) ?? 1;
      await leaderOf(cluster, other, leader);
      start(leader);
      await ready();
    },
    'a rolling update': async () => {
      const before = idsOf([...(await settledAt(1)).values()].flat());
      for (const name of Object.keys(counts)) cluster.must(1, 'service', 'update', '--detach', '--force', name);
      await until(
        'all tasks replaced',
        () => cluster.json<LivingTask>(1, 'task', 'ls').filter(task => task.desiredState === 'running'),
        tasks => !tasks.some(task => before.includes(task.id)),
        longMs,
      );
    },
    'scaled to none and back': async () => {
      const scale = (count: (name: string) => number): void =>
        void cluster.must(
          1,
          'service',
          'scale',
          '--detach',
          ...Object.keys(counts).map(name => `${name}=${count(name)}`),
        );
      scale(() => 0);
      await until(
        'no task left',
        () => cluster.json<LivingTask>(1, 'task', 'ls').length,
        count => count === 0,
        longMs,
      );
      scale(name => counts[name] ?? 0);
    },
    'all without power, and booted in another order': async () => {
      await prober.stand([]);
      for (const index of all) script('poweroff', String(index));
      for (const index of [...all].reverse()) start(index);
      await ready();
    },
  };
}

/** While nobody leads, the question is refused: asked again. */
async function allBack(cluster: DevCluster): Promise<void> {
  await until(
    'all nodes ready, and heard',
    () => cluster.covey(1, 'node', 'ls', '--format', 'json'),
    ({ status, stdout }) => {
      if (status !== 0) return false;
      const nodes = stdout
        .trim()
        .split('\n')
        .map((line): NodeRow => JSON.parse(line));
      const isBack = (node: NodeRow): boolean => node.state === 'ready' && node.silentSince === null;
      return nodes.length === cluster.nodes.length && nodes.every(isBack) && nodes.some(node => node.leader);
    },
    longMs,
  );
}

/** All that somebody with the usual tools may do to a node, at once. */
function flush(cluster: DevCluster, index: number): void {
  const { runDir } = cluster.node(index);
  cluster.inside(index, 'nft', 'flush', 'ruleset');
  cluster.inside(
    index,
    'nsenter',
    `--net=${runDir}/netns/fabric`,
    'sh',
    '-c',
    'nft flush ruleset; ip route flush table main; ip rule flush; ip neigh flush all nud permanent; ip link del cv0',
  );
}

/** Another than `gone`, when that is given. */
async function leaderOf(cluster: DevCluster, at: number, gone?: number): Promise<number> {
  const indexOf = (name: string | undefined): number | undefined =>
    cluster.nodes.find(node => node.name === name)?.index;
  const found = await until(
    'a leader',
    () => {
      const answer = cluster.covey(at, 'node', 'ls', '--format', '{{.name}} {{.leader}}');
      const line = answer.stdout.split('\n').find(text => text.endsWith(' true'));
      return answer.status === 0 ? indexOf(line?.split(' ')[0]) : undefined;
    },
    index => index !== undefined && index !== gone,
    longMs,
  );
  return found ?? 0;
}
