/**
 * A dev-cluster for a test: real daemons in network namespaces, taken down when the test ends, however it ends.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import type { Test } from 'tap';

export interface DevNode {
  readonly index: number;
  readonly name: string;
  readonly address: string;
  readonly namespace: string;
  readonly socket: string;
  readonly dataDir: string;
  readonly runDir: string;
  readonly log: string;
  readonly pid?: number;
}

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface DevCluster {
  readonly nodes: readonly DevNode[];
  readonly node: (index: number) => DevNode;
  /** The command line of node `index`. */
  readonly covey: (index: number, ...args: readonly string[]) => Outcome;
  /** As `covey`, but a failure fails the test with what was said. */
  readonly must: (index: number, ...args: readonly string[]) => string;
  /** JSON objects, one a line. */
  readonly json: <Row>(index: number, ...args: readonly string[]) => readonly Row[];
  /** Any program as on that node. */
  readonly inside: (index: number, ...argv: readonly string[]) => Outcome;
  readonly script: (...args: readonly string[]) => Outcome;
  /** The same with more in the environment, for this one command. */
  readonly scriptWith: (env: Readonly<Record<string, string>>, ...args: readonly string[]) => Outcome;
}

/** Why real clusters can't be made here, or false. For tap's `skip`. */
export const cannotCluster: string | false =
  process.getuid?.() === 0 ? (fs.existsSync('/usr/bin/conmon') ? false : 'conmon is not installed') : 'needs root';

export function run(
  argv: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly timeoutMs?: number;
    readonly input?: string | Uint8Array;
  } = {},
): Outcome {
  const begin = performance.now();
  const result: SpawnSyncReturns<string> = spawnSync(argv[0] ?? '', argv.slice(1), {
    encoding: 'utf8',
    timeout: options.timeoutMs ?? 60_000,
    env: { ...process.env, ...options.env },
    maxBuffer: 64 * 2 ** 20,
    ...(options.input === undefined ? { stdio: ['ignore', 'pipe', 'pipe'] as const } : { input: options.input }),
  });
  return {
    status: result.status ?? -1,
    stdout: result.stdout ?? '',
    stderr: `${result.stderr ?? ''}${result.error?.message ?? ''}`,
    ms: performance.now() - begin,
  };
}

/** Attempts of 1.5 s each. */
const greetingsMax = 10;

export function openDevCluster(
  t: Test,
  options: {
    readonly name: string;
    readonly managers?: number;
    readonly workers: number;
    /** Each data directory is a file system of its own. */
    readonly diskMib?: number;
    /** Of the daemons that it begins with. */
    readonly env?: Readonly<Record<string, string>>;
  },
): DevCluster {
  const scriptWith: DevCluster['scriptWith'] = (env, ...args) =>
    run(['scripts/dev-cluster', ...args, '--name', options.name, '--json'], { env, timeoutMs: 400_000 });
  const script = (...args: readonly string[]): Outcome => scriptWith({}, ...args);
  script('down');
  t.teardown(() => {
    const down = script('down');
    if (down.status !== 0) throw new Error(`dev-cluster down: ${down.stderr}`);
  });
  const counts = ['--managers', String(options.managers ?? 1), '--workers', String(options.workers)];
  const disk = options.diskMib === undefined ? [] : ['--disk', String(options.diskMib)];
  const up = scriptWith(options.env ?? {}, 'up', ...counts, ...disk);
  if (up.status !== 0) throw new Error(`dev-cluster up: ${up.stderr}`);
  const { nodes } = JSON.parse(up.stdout) as { nodes: readonly DevNode[] };
  const node = (index: number): DevNode => {
    const found = nodes[index - 1];
    if (found === undefined) throw new Error(`no node ${index}`);
    return found;
  };
  const inside = (index: number, ...argv: readonly string[]): Outcome =>
    run(['nsenter', `--net=/run/netns/${node(index).namespace}`, ...argv]);
  // A daemon that gets no processor for 1.5 s greets nobody: then nothing was asked, and it is asked again.
  const covey = (index: number, ...args: readonly string[]): Outcome => {
    for (let tries = 1; ; tries += 1) {
      const outcome = inside(index, 'bin/covey', '--socket', node(index).socket, ...args);
      if (tries === greetingsMax || !outcome.stderr.includes('accepts, but nothing greets')) return outcome;
    }
  };
  const must = (index: number, ...args: readonly string[]): string => {
    const outcome = covey(index, ...args);
    if (outcome.status !== 0)
      throw new Error(`covey ${args.join(' ')}: exit code ${outcome.status}\n${outcome.stderr}${outcome.stdout}`);
    return outcome.stdout;
  };
  return {
    nodes,
    node,
    inside,
    covey,
    must,
    json: (index, ...args) =>
      must(index, ...args, '--format', 'json')
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line)),
    script,
    scriptWith,
  };
}

/** Looks again until the condition holds; the answer of the last look is in the error. */
export async function until<Answer>(
  what: string,
  look: () => Answer | Promise<Answer>,
  holds: (answer: Answer) => boolean,
  withinMs = 180_000,
): Promise<Answer> {
  const end = performance.now() + withinMs;
  for (;;) {
    const answer = await look();
    if (holds(answer)) return answer;
    if (performance.now() > end) throw new Error(`${what} is not so after ${withinMs} ms: ${JSON.stringify(answer)}`);
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}

export interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly service: string;
  readonly slot: number;
  readonly node: string;
  readonly state: string;
  readonly desiredState: string;
  readonly addresses: readonly string[];
  readonly image: string;
  readonly error: string;
  readonly exitCode: number | null;
}

/** An outside machine on the underlay bridge of a cluster: a namespace with an address and nothing else. */
export function openOutsider(
  t: Test,
  options: { readonly cluster: string; readonly address: string },
): { readonly get: (url: string) => Outcome } {
  const namespace = `covey-${options.cluster}-out`;
  const link = `cv${options.cluster}out`;
  const commands = [
    ['ip', 'netns', 'add', namespace],
    ['ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace],
    ['ip', 'link', 'set', link, 'master', `cv${options.cluster}br`, 'up'],
    ['ip', '-n', namespace, 'link', 'set', 'eth0', 'up'],
    ['ip', '-n', namespace, 'address', 'add', `${options.address}/24`, 'dev', 'eth0'],
  ];
  t.teardown(() => void run(['ip', 'netns', 'delete', namespace]));
  for (const command of commands) {
    const outcome = run(command);
    if (outcome.status !== 0) throw new Error(`${command.join(' ')}: ${outcome.stderr}`);
  }
  return {
    get: url => run(['nsenter', `--net=/run/netns/${namespace}`, 'curl', '-s', '-m', '3', url]),
  };
}
