/**
 * Many health and ready checks of all kinds at once, and what they leave behind: used by the check (a few hundred) and by
 * `npm run torture -- health` (20,000).
 */
import * as fs from 'node:fs';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Test } from 'tap';
import type { ContainerSpec, Healthcheck, Task } from '../../src/gen/types.js';
import type { Host } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { makeTask, openRig, type Rig } from './fixtures.js';

export interface LoadResult {
  readonly checks: number;
  readonly seconds: number;
  /** From the first to the last tenth of the readings, each after a collection of garbage; medians. */
  readonly rssGrowthMib: number;
  readonly heapGrowthMib: number;
  /** Of the room that V8 holds for young objects, which is no leak but counts. */
  readonly youngGrowthMib: number;
  readonly fdGrowth: number;
  /** In the pid namespaces of the containers and in the host's own, with their commands. */
  readonly zombies: readonly string[];
  /** Files of programs that were run inside, while none is. */
  readonly records: readonly string[];
  readonly children: number;
}

const intervalMs = 190;
const check = (test: readonly string[], timeoutMs = 5_000): Healthcheck => ({
  test,
  intervalMs,
  timeoutMs,
  startPeriodMs: 0,
  startIntervalMs: intervalMs,
  retries: 1_000_000_000,
});
const ready = (probe: NonNullable<ContainerSpec['readyCheck']>['probe']): Partial<ContainerSpec> => ({
  readyCheck: { probe, intervalMs, timeoutMs: 1_000, initialDelayMs: 0, failures: 3, successes: 1 },
});

/** Programs that succeed, fail, talk, are missing, hang, hang with children; and questions over the network. */
const kinds: readonly Partial<ContainerSpec>[] = [
  { healthcheck: check(['CMD', 'true']) },
  { healthcheck: check(['CMD', 'false']) },
  { healthcheck: check(['CMD-SHELL', 'yes | head -c 100000; exit 1']) },
  { healthcheck: check(['CMD', '/no/such/program']) },
  { healthcheck: check(['CMD', 'sleep', '77'], 100) },
  { healthcheck: check(['CMD-SHELL', 'sleep 77 & sleep 78'], 100), init: true },
  { healthcheck: check(['CMD', 'true']), ...ready({ kind: 'exec', test: ['CMD', 'true'] }) },
  ready({ kind: 'tcp', port: 1 }),
  {
    command: ['sh', '-c', "while :; do printf 'HTTP/1.0 204 ok\\r\\n\\r\\n' | nc -l -p 8080 > /dev/null; done"],
    ...ready({ kind: 'http', scheme: '', port: 8080, path: '/', headers: {}, statusMin: 0, statusMax: 0 }),
  },
  { healthcheck: check(['CMD', 'true']) },
];

export async function runLoad(
  t: Test,
  { checks, prefix, warmUp }: { readonly checks: number; readonly prefix: string; readonly warmUp: number },
): Promise<LoadResult> {
  let count = 0;
  let running = 0;
  const orphans: string[] = [];
  const host: Host = {
    ...linuxHost,
    processes: {
      ...linuxHost.processes,
      spawn: async (argv, options) => {
        if (!argv.includes('exec')) return await linuxHost.processes.spawn(argv, options);
        count += 1;
        running += 1;
        const child = await linuxHost.processes.spawn(argv, options);
        void child.exited.finally(() => {
          running -= 1;
          orphans.push(...orphanOf(argv));
        });
        return child;
      },
    },
    kernel: {
      ...linuxHost.kernel,
      connect: async to => {
        count += 1;
        return await linuxHost.kernel.connect(to);
      },
    },
  };
  await using rig = await openRig(t, { prefix, agent: () => ({ host }) });
  const tasks = kinds.map(container => makeTask({ container }));
  await rig.assign(tasks);
  for (const task of tasks) await rig.wait(task.id, 'starting');
  await until(() => count >= warmUp);
  const fdsBefore = countFds();
  const startedAt = performance.now();
  const first = count;
  const readings: Memory[] = [];
  for (let at = 1; at <= readingsCount; at += 1) {
    await until(() => count >= first + (checks * at) / readingsCount);
    readings.push(readMemory());
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const zombies = [...tasks.flatMap(task => zombiesOf(rig, task)), ...orphans];
  await rig.assign(tasks.map(task => ({ ...task, desired: 'shutdown' as const })));
  for (const task of tasks) await rig.wait(task.id, 'complete');
  await until(() => running === 0);
  return {
    checks: count - first,
    seconds,
    rssGrowthMib: growthMib(readings.map(({ rssBytes }) => rssBytes)),
    heapGrowthMib: growthMib(readings.map(({ heapBytes }) => heapBytes)),
    youngGrowthMib: growthMib(readings.map(({ youngBytes }) => youngBytes)),
    fdGrowth: countFds() - fdsBefore,
    zombies,
    records: fs.globSync(`${rig.runDir}/bundles/*/*/*.pid`),
    children: childrenOf(process.pid).length,
  };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => setTimeout(resolve, 10));
}

interface Memory {
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly youngBytes: number;
}

const readingsCount = 50;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function readMemory(): Memory {
  collectGarbage();
  const young = getHeapSpaceStatistics().find(space => space.space_name === 'new_space');
  return {
    rssBytes: process.memoryUsage.rss(),
    heapBytes: process.memoryUsage().heapUsed,
    youngBytes: young?.physical_space_size ?? 0,
  };
}

function growthMib(readings: readonly number[]): number {
  const tenth = readings.length / 10;
  return (medianOf(readings.slice(-tenth)) - medianOf(readings.slice(0, tenth))) / 2 ** 20;
}

function medianOf(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

function countFds(): number {
  return fs.readdirSync('/proc/self/fd').length;
}

function childrenOf(pid: number): readonly number[] {
  return fs.globSync('/proc/[0-9]*/stat').flatMap(path => {
    const stat = readProc(path);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[1]) === pid ? [Number(path.split('/')[2])] : [];
  });
}

/** The program that a runtime which has just ended left to process 1 of the host, dead or alive, for it to reap some time. */
function orphanOf(argv: readonly string[]): readonly string[] {
  const pid = readProc(argv[argv.indexOf('--pid-file') + 1] ?? '').trim();
  const status = pid === '' ? '' : readProc(`/proc/${pid}/status`);
  return /^PPid:\t1$/m.test(status) ? [`${pid} ${/^Name:\t(.*)$/m.exec(status)?.[1] ?? ''} of the host`] : [];
}

/** Those that stay: one that is just being reaped is no zombie at the second look. */
function zombiesOf(rig: Rig, task: Task): readonly string[] {
  const main = rig.status(task.id)?.pid;
  if (main === undefined) return [];
  const seen = (): readonly string[] =>
    childrenOf(main).flatMap(pid => {
      const status = readProc(`/proc/${pid}/status`);
      return /^State:\tZ/m.test(status) ? [`${pid} ${/^Name:\t(.*)$/m.exec(status)?.[1] ?? ''} in ${task.id}`] : [];
    });
  const first = new Set(seen());
  for (let round = 0; round < 3 && first.size > 0; round += 1) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    const again = seen();
    for (const one of first) if (!again.includes(one)) first.delete(one);
  }
  return [...first];
}

function readProc(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}
