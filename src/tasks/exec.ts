/**
 * Programs run inside a container that runs: `covey exec`, with pipes or a terminal, and health checks. The runtime joins
 * the container's namespaces, group and filter; a program that is cancelled or late is killed with all it started.
 *
 * Not here: the streams of `covey exec` (exec-call.ts), the container's own process (runtime/conmon.ts).
 */
import { CoveyError } from '../errors.js';
import type { ExecStart } from '../gen/types.js';
import type { SpawnedProcess, Timer } from '../host.js';
import type { Engine } from './engine.js';
import { findInRoot } from './image/index.js';
import { networkPrefix } from './isolation.js';
import { globalArgs } from './runtime/crun.js';
import type { OciConfig, OciProcess } from './runtime/oci.js';
import { consoleOf, planDirectory } from './runtime/process.js';
import { watchKills } from './usage/kills.js';

/** A running container, found by the worker. */
export interface ExecPlace {
  readonly taskId: string;
  readonly containerId: string;
  readonly bundle: string;
  readonly rootPath: string;
}

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const killRoundsMax = 10;
const killAgainMs = 50;
/** For the runtime of a program that was killed, to end by itself; a second was too little on a machine that is overloaded. */
const runtimeGraceMs = 5_000;

/** The process of the container with what is asked for in place of its own. */
export async function planExec(
  engine: Engine,
  place: ExecPlace,
  start: Pick<ExecStart, 'args' | 'env' | 'workingDir' | 'user' | 'tty' | 'size'>,
): Promise<OciProcess> {
  if (start.args.length === 0) throw new CoveyError('bad-argument', 'Cannot run nothing: give a command');
  const { process: own } = JSON.parse(await engine.host.files.readText(`${place.bundle}/config.json`)) as OciConfig;
  const cwd = start.workingDir === '' ? own.cwd : await findDirectory(engine, place, start.workingDir);
  const user = start.user === '' ? undefined : await engine.images.resolveUser(place.rootPath, start.user, []);
  const home = user === undefined ? [] : [`HOME=${user.home}`];
  const held = user === undefined || user.uid === 0 ? own.capabilities.bounding : [];
  return {
    ...own,
    terminal: start.tty,
    ...consoleOf(start.tty, start.size),
    args: start.args,
    env: [...own.env, ...(start.tty ? ['TERM=xterm'] : []), ...home, ...start.env],
    cwd,
    ...(user === undefined
      ? {}
      : {
          user: { uid: user.uid, gid: user.gid, umask: 0o022, additionalGids: [...user.groups] },
          capabilities: { ...own.capabilities, effective: held, permitted: held },
        }),
  };
}

/** Never in /proc, by whatever link of the container: from there a runtime has let programs out (CVE-2024-21626). */
async function findDirectory(engine: Engine, place: ExecPlace, workingDir: string): Promise<string> {
  const path = planDirectory({ workingDir }, { workingDir: '' });
  const found = await findInRoot(engine.host.files, place.rootPath, path);
  return found === undefined
    ? path
    : planDirectory({ workingDir: found.path.slice(place.rootPath.length) }, { workingDir: '' });
}

/** Runs a program to its end and keeps the end of what it said. */
export async function runInside(
  engine: Engine,
  place: ExecPlace,
  run: { readonly processFile: string; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<{ readonly exitCode: number | undefined; readonly timedOut: boolean; readonly output: string }> {
  const pidFile = `${run.processFile}.pid`;
  const findKill = watchKills(engine, place.taskId);
  const child = await spawnExec(engine, place, {
    processFile: run.processFile,
    pidFile,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kept = keepOutput(child);
  let timedOut = false;
  const end = (): void => killExec(engine, place, { child, pidFile });
  const timer = engine.host.clock.after(run.timeoutMs, () => {
    timedOut = true;
    end();
  });
  run.signal.addEventListener('abort', end, { once: true });
  try {
    const { exitCode } = await child.exited;
    return { exitCode, timedOut, output: findKill(exitCode)?.message ?? kept() };
  } finally {
    timer.cancel();
    run.signal.removeEventListener('abort', end);
    for (const pipe of child.pipes.values()) pipe.destroy();
    engine.host.files.removeFileSync(pidFile);
  }
}

const outputKeptBytes = 4_096;

function keepOutput(child: SpawnedProcess): () => string {
  let output = '';
  for (const fd of [1, 2]) {
    child.pipes.get(fd)?.on('data', (chunk: Buffer) => {
      output = `${output}${chunk.toString('utf8')}`.slice(-outputKeptBytes);
    });
    child.pipes.get(fd)?.on('error', () => undefined); // the end is told by the exit
  }
  return () => output;
}

interface ExecSpawn {
  readonly processFile: string;
  readonly pidFile: string;
  readonly stdio: readonly ('ignore' | 'pipe' | number)[];
  readonly detached?: boolean;
  /** Words before the command line of the runtime. */
  readonly before?: readonly string[];
  /** Where the runtime says why the program does not run: not among what the program says. */
  readonly logFile?: string;
  /** Leaves the program to itself once it runs. */
  readonly leaves?: boolean;
}

export function spawnExec(engine: Engine, place: ExecPlace, spawn: ExecSpawn): Promise<SpawnedProcess> {
  const by = engine.placeOf(place.containerId);
  const argv = [
    ...(spawn.before ?? []),
    ...networkPrefix(engine, place.containerId, place.bundle),
    by.runtime.path,
    ...globalArgs(by),
    ...(spawn.logFile === undefined ? [] : ['--log', spawn.logFile]),
    ...(spawn.leaves === true ? ['exec', '--detach'] : ['exec']),
    ...['--process', spawn.processFile, '--pid-file', spawn.pidFile, place.containerId],
  ];
  return engine.host.processes.spawn(argv, {
    stdio: spawn.stdio,
    env: { PATH: systemPath },
    detached: spawn.detached ?? false,
  });
}

interface RunningExec {
  readonly child: SpawnedProcess;
  readonly pidFile: string;
}

/**
 * The program, and all that shares its session or descends from it. The runtime is the program's parent: it reaps it and ends
 * by itself. Killed at once it would leave the dead program to process 1 of the host, so that is kept for one that stays.
 */
export function killExec(engine: Engine, place: ExecPlace, { child, pidFile }: RunningExec): void {
  const { clock, files, processes } = engine.host;
  const lateMs = clock.monotonicMs() + runtimeGraceMs;
  let pid: number | undefined;
  let timer: Timer | undefined;
  const round = (): void => {
    pid ??= findExecPid(engine, pidFile); // one that is only being started is known later
    if (pid !== undefined) killFamily(engine, place.taskId, pid);
    if (clock.monotonicMs() < lateMs) timer = clock.after(killAgainMs, round);
    else processes.kill(child.pid, 9);
  };
  round();
  void child.exited.finally(() => {
    timer?.cancel();
    files.removeFileSync(pidFile);
  });
}

export function findExecPid(engine: Engine, pidFile: string): number | undefined {
  const text = engine.host.files.findTextSync(pidFile)?.trim() ?? '';
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Ends the programs that an earlier daemon ran inside a container: nobody listens to them any more. */
export function endStrayExecs(engine: Engine, place: Pick<ExecPlace, 'taskId' | 'bundle'>): void {
  for (const name of engine.host.files.listSync(place.bundle)) {
    if (!/^(?:exec-[0-9a-f]+|health-process|ready-process|hook-[a-z-]+-\d+)\.json(?:\.pid|\.log)?$/.test(name))
      continue;
    const path = `${place.bundle}/${name}`;
    const pid = name.endsWith('.pid') ? findExecPid(engine, path) : undefined;
    if (pid !== undefined) killFamily(engine, place.taskId, pid);
    engine.host.files.removeFileSync(path);
  }
}

interface Kin {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
}

/** Only members of the task's group: the pid of a dead program may be somebody else's by now. */
function killFamily(engine: Engine, taskId: string, pid: number): void {
  let session: number | undefined;
  for (let round = 0; round < killRoundsMax; round += 1) {
    const members = engine.cgroups.members(taskId).flatMap(member => findKin(engine, member));
    session ??= members.find(member => member.pid === pid)?.session;
    const family = familyOf(members, { pid, session });
    if (family.length === 0) return;
    for (const member of family) engine.host.processes.kill(member, 9);
  }
}

function findKin(engine: Engine, pid: number): readonly Kin[] {
  const stat = engine.host.files.findTextSync(`/proc/${pid}/stat`);
  if (stat === undefined) return [];
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return [{ pid, parent: Number(fields[1]), session: Number(fields[3]) }];
}

/** The process, its descendants, and whoever is in its session. */
function familyOf(
  members: readonly Kin[],
  root: { readonly pid: number; readonly session: number | undefined },
): readonly number[] {
  const family = new Set(
    members.filter(({ pid, session }) => pid === root.pid || session === root.session).map(member => member.pid),
  );
  for (let size = -1; size !== family.size; ) {
    size = family.size;
    for (const member of members) if (family.has(member.parent)) family.add(member.pid);
  }
  return [...family];
}
