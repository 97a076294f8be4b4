/**
 * Carries the faults of a plan out on a dev-cluster, and undoes them. Nothing here blocks: clients of the same process go on.
 *
 * A slow disk is a file system that is frozen (fsfreeze) most of the time; a full one holds a file as large as what was free.
 * Both want `dev-cluster up --disk`. A link is cut by dropping what comes from the other's address, and what goes there.
 *
 * Not here: when and for how long (round.ts), which (plan.ts).
 */
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { DevNode } from '../dev-cluster.js';
import type { Fault, Link } from './plan.js';

export interface Faults {
  /** The fault is there when it resolves; what it resolves to takes it away again. */
  readonly begin: (fault: Fault) => Promise<() => Promise<void>>;
  /** Process of a node's daemon that runs; undefined: none does. */
  readonly findDaemon: (node: number) => number | undefined;
  /** The daemon of a node; starts it when it does not run. */
  readonly revive: (node: number) => Promise<void>;
}

const frozenMs = 150;
const thawedMs = 30;
const stepMs = 60_000;

export function run(argv: readonly string[], input?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(argv[0] ?? '', argv.slice(1), { timeout: stepMs, maxBuffer: 2 ** 24 }, (error, out, said) =>
      error === null ? resolve(out) : reject(new Error(`${argv.join(' ')}: ${error.message} ${said}`)),
    );
    // A program that ends before it reads says so by its exit code.
    child.stdin?.on('error', () => undefined);
    if (input !== undefined) child.stdin?.end(input);
  });
}

export function openFaults(cluster: string, nodes: readonly DevNode[]): Faults {
  const nodeOf = (index: number): DevNode => nodes[index - 1]!;
  const script = (...args: readonly string[]) => run(['scripts/dev-cluster', ...args, '--name', cluster, '--json']);
  const findDaemon = (index: number): number | undefined => pidOf(nodeOf(index));
  const signal = (index: number, name: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void => {
    const pid = findDaemon(index);
    if (pid !== undefined) process.kill(pid, name);
  };
  const start = async (index: number): Promise<void> => {
    try {
      await script('start', String(index));
    } catch (error) {
      // One that runs and does not answer yet is waited for when the cluster settles.
      if (findDaemon(index) === undefined) throw error;
    }
  };
  const begin = async (fault: Fault): Promise<() => Promise<void>> => {
    switch (fault.kind) {
      case 'kill':
        signal(fault.node, 'SIGKILL');
        return () => start(fault.node);
      case 'pause':
        signal(fault.node, 'SIGSTOP');
        return async () => signal(fault.node, 'SIGCONT');
      case 'power':
        await script('poweroff', String(fault.node));
        return () => start(fault.node);
      case 'freeze':
        await run(['fsfreeze', '-f', nodeOf(fault.node).dataDir]);
        return async () => void (await run(['fsfreeze', '-u', nodeOf(fault.node).dataDir]));
      case 'slow':
        return freezeAgainAndAgain(nodeOf(fault.node).dataDir);
      case 'full':
        return await fill(nodeOf(fault.node).dataDir);
      case 'cut':
        return await cut(nodes, fault.links);
    }
  };
  return {
    begin,
    findDaemon,
    revive: async index => {
      if (findDaemon(index) === undefined) await start(index);
    },
  };
}

/** As dev-cluster noted it; a process of another program that has its number now does not count. */
function pidOf({ dataDir }: DevNode): number | undefined {
  const [pid = '', start] = fs
    .readFileSync(join(dirname(dataDir), 'pid'), 'utf8')
    .trim()
    .split(' ');
  const fields = findStat(Number(pid));
  return fields !== undefined && fields[0] !== 'Z' && fields[19] === start ? Number(pid) : undefined;
}

/** Fields of /proc/PID/stat from the state on; undefined: there is no such process. */
export function findStat(pid: number): readonly string[] | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH'].includes(String(error.code))) return undefined;
    throw error;
  }
}

function freezeAgainAndAgain(folder: string): () => Promise<void> {
  const ended = new AbortController();
  const wait = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
  const going = (async () => {
    while (!ended.signal.aborted) {
      await run(['fsfreeze', '-f', folder]);
      await wait(frozenMs);
      await run(['fsfreeze', '-u', folder]);
      await wait(thawedMs);
    }
  })();
  going.catch(() => undefined);
  return async () => {
    ended.abort();
    await going;
  };
}

async function fill(folder: string): Promise<() => Promise<void>> {
  const file = join(folder, 'filled');
  const { bavail, bsize } = fs.statfsSync(folder);
  // The size that is free may not be had to the last block: what is missing is written until nothing more fits.
  await run(['fallocate', '-l', String(Math.max(1, bavail - 64) * bsize), file]);
  await run(['dd', 'if=/dev/zero', `of=${file}.rest`, 'bs=4k', 'status=none']).catch(() => undefined);
  return async () => {
    for (const path of [file, `${file}.rest`]) await fs.promises.rm(path, { force: true });
  };
}

async function cut(nodes: readonly DevNode[], links: readonly Link[]): Promise<() => Promise<void>> {
  const addressesOf = (indexes: readonly number[]) => indexes.map(index => nodes[index - 1]!.address).join(', ');
  for (const { index, namespace } of nodes) {
    const silent = links.filter(([, to]) => to === index).map(([from]) => from);
    const unheard = links.filter(([from]) => from === index).map(([, to]) => to);
    if (silent.length + unheard.length === 0) continue;
    const rules = `add table inet dev_partition
delete table inet dev_partition
table inet dev_partition {
  chain in { type filter hook input priority -300; ${silent.length > 0 ? `ip saddr { ${addressesOf(silent)} } drop;` : ''} }
  chain out { type filter hook output priority -300; ${unheard.length > 0 ? `ip daddr { ${addressesOf(unheard)} } drop;` : ''} }
}
`;
    // A node without power has no namespace; it comes back without the cut.
    await run(['nsenter', `--net=/run/netns/${namespace}`, 'nft', '-f', '-'], rules).catch(ignoreMissing);
  }
  return async () => {
    for (const { namespace } of nodes)
      await run(
        ['nsenter', `--net=/run/netns/${namespace}`, 'nft', '-f', '-'],
        'add table inet dev_partition\ndelete table inet dev_partition\n',
      ).catch(ignoreMissing);
  };
}

function ignoreMissing(error: unknown): string {
  if (error instanceof Error && /No such file/.test(error.message)) return '';
  throw error;
}
