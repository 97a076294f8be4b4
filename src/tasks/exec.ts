/**
 * Programs run inside a container that runs: `covey exec`, with pipes or a terminal, and health checks. The runtime joins
 * the container's namespaces, group and filter; a program that is cancelled or late is killed with all it started.
 *
 * With a terminal the runtime copies between ours and the one it makes in the container; a new size is set on the inner one,
 * because crun does not pass it on.
 *
 * Not here: the container's own process (runtime/conmon.ts), the relay to whoever asked (daemon/bulk).
 */
import { type Channel, openChannel } from '../channel.js';
import { CoveyError, toProblem } from '../errors.js';
import type { BulkFrame, ExecStart } from '../gen/types.js';
import type { SpawnedProcess } from '../host.js';
import type { Engine } from './engine.js';
import { findInRoot } from './image/index.js';
import { globalArgs } from './runtime/crun.js';
import type { OciConfig, OciProcess } from './runtime/oci.js';
import { renderConfig } from './runtime/oci.js';
import { planDirectory } from './runtime/process.js';

/** A running container, found by the worker. */
export interface ExecPlace {
  readonly taskId: string;
  readonly containerId: string;
  readonly bundle: string;
  readonly rootPath: string;
}

const framesMax = 64;
const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const killRoundsMax = 10;

/** The process of the container with what is asked for in place of its own. */
export async function planExec(
  engine: Engine,
  place: ExecPlace,
  start: Pick<ExecStart, 'args' | 'env' | 'workingDir' | 'user' | 'tty'>,
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
    return { exitCode, timedOut, output: kept() };
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
}

function spawnExec(engine: Engine, place: ExecPlace, spawn: ExecSpawn): Promise<SpawnedProcess> {
  const by = engine.placeOf(place.containerId);
  const argv = [
    by.runtime.path,
    ...globalArgs(by),
    ...['exec', '--process', spawn.processFile, '--pid-file', spawn.pidFile, place.containerId],
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

/** The program, all that shares its session or descends from it, and the runtime that waits for it. */
function killExec(engine: Engine, place: ExecPlace, { child, pidFile }: RunningExec): void {
  const pid = findExecPid(engine, pidFile);
  if (pid !== undefined) killFamily(engine, place.taskId, pid);
  engine.host.processes.kill(child.pid, 9);
}

function findExecPid(engine: Engine, pidFile: string): number | undefined {
  const text = engine.host.files.findTextSync(pidFile)?.trim() ?? '';
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Ends the programs that an earlier daemon ran inside a container: nobody listens to them any more. */
export function endStrayExecs(engine: Engine, place: Pick<ExecPlace, 'taskId' | 'bundle'>): void {
  for (const name of engine.host.files.listSync(place.bundle)) {
    if (!/^(?:exec-[0-9a-f]+|health-process|ready-process|hook-[a-z-]+-\d+)\.json(?:\.pid)?$/.test(name)) continue;
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

export interface ExecCall {
  readonly start: ExecStart;
  readonly frames: AsyncIterable<BulkFrame>;
  readonly signal: AbortSignal;
}

/** Output as it comes, slowed down to the reader's speed; the last frame is the end with the exit code. */
export async function* execInside(engine: Engine, place: ExecPlace, call: ExecCall): AsyncIterable<BulkFrame> {
  const mark = Buffer.from(engine.host.random.bytes(6)).toString('hex');
  const processFile = `${place.bundle}/exec-${mark}.json`;
  const pidFile = `${processFile}.pid`;
  const output = openChannel<BulkFrame>(framesMax);
  try {
    const planned = await planExec(engine, place, call.start);
    engine.host.files.writeSync(processFile, renderConfig(planned), { mode: 0o600 });
    const opened = await openExec(engine, place, { call, processFile, pidFile });
    const running = { child: opened.child, pidFile };
    const onAbort = (): void => killExec(engine, place, running);
    call.signal.addEventListener('abort', onAbort, { once: true });
    void pumpInput(engine, call.frames, { ...opened, pidFile }).catch(() => onAbort()); // the asker is gone: so is the need
    void finish(engine, opened, { output, pidFile });
    try {
      yield* output;
    } finally {
      call.signal.removeEventListener('abort', onAbort);
      if (!output.ended() || output.length() > 0 || call.signal.aborted) onAbort();
      for (const pipe of opened.streams) pipe.stream.destroy();
    }
  } finally {
    engine.host.files.removeFileSync(processFile);
    engine.host.files.removeFileSync(pidFile);
  }
}

type Stream = NodeJS.ReadWriteStream & { destroy(): void };

interface OpenedExec {
  readonly child: SpawnedProcess;
  readonly streams: readonly { readonly name: 'stdout' | 'stderr'; readonly stream: Stream }[];
  readonly input: Stream | undefined;
  readonly tty: boolean;
  /** Outer terminal, to size. */
  readonly masterFd: number | undefined;
}

interface ExecFiles {
  readonly call: ExecCall;
  readonly processFile: string;
  readonly pidFile: string;
}

async function openExec(engine: Engine, place: ExecPlace, files: ExecFiles): Promise<OpenedExec> {
  const { start } = files.call;
  if (start.tty) return openTerminalExec(engine, place, files);
  const child = await spawnExec(engine, place, {
    ...files,
    stdio: [start.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const [stdin, stdout, stderr] = [0, 1, 2].map(fd => child.pipes.get(fd));
  return {
    child,
    streams: [
      { name: 'stdout', stream: stdout! },
      { name: 'stderr', stream: stderr! },
    ],
    input: stdin,
    tty: false,
    masterFd: undefined,
  };
}

async function openTerminalExec(engine: Engine, place: ExecPlace, files: ExecFiles): Promise<OpenedExec> {
  const { kernel } = engine.host;
  const size = files.call.start.size ?? { rows: 24, columns: 80 };
  const terminal = kernel.openTerminal(size);
  const child = await spawnExec(engine, place, {
    ...files,
    stdio: [terminal.slaveFd, terminal.slaveFd, terminal.slaveFd],
    detached: true,
  }).finally(() => kernel.closeFd(terminal.slaveFd));
  const stream = kernel.openTerminalStream(terminal.masterFd);
  return {
    child,
    streams: [{ name: 'stdout', stream }],
    input: stream,
    tty: true,
    masterFd: terminal.masterFd,
  };
}

async function pumpInput(
  engine: Engine,
  frames: AsyncIterable<BulkFrame>,
  exec: OpenedExec & { readonly pidFile: string },
): Promise<void> {
  exec.input?.on('error', () => undefined); // a program that closed its input is free to
  for await (const { body } of frames) {
    if (body.kind === 'resize' && exec.tty) resizeInside(engine, exec, body);
    if (body.kind !== 'data' || body.stream !== 'stdin' || exec.input === undefined) continue;
    if (body.data.length > 0 && !exec.input.write(body.data)) await drained(exec.input);
    if (body.eof) {
      if (exec.tty) exec.input.write('\u0004');
      else exec.input.end();
    }
  }
}

function drained(stream: Stream): Promise<void> {
  return new Promise(resolve => {
    stream.once('drain', resolve);
    stream.once('close', resolve);
  });
}

function resizeInside(
  engine: Engine,
  exec: { readonly pidFile: string; readonly masterFd: number | undefined },
  size: { readonly rows: number; readonly columns: number },
): void {
  const pid = findExecPid(engine, exec.pidFile);
  try {
    if (exec.masterFd !== undefined) engine.host.kernel.resizeTerminal(exec.masterFd, size);
    if (pid !== undefined) engine.host.kernel.resizeTerminalAt(`/proc/${pid}/fd/0`, size);
  } catch (error) {
    engine.log.debug('cannot size the terminal of an exec', { error }); // it ended meanwhile, or closed its input
  }
}

interface ExecEnd {
  readonly output: Channel<BulkFrame>;
  readonly pidFile: string;
}

/** Copies all streams to their end, then tells the exit code. */
async function finish(engine: Engine, exec: OpenedExec, { output, pidFile }: ExecEnd): Promise<void> {
  const heard: string[] = [];
  const copies = exec.streams.map(({ name, stream }) => copyOut(stream, { name, output, heard }));
  const { exitCode, signalName } = await exec.child.exited;
  const started = findExecPid(engine, pidFile) !== undefined;
  // A descendant in the background may hold the pipes for ever: what the program itself said is in them by now.
  await Promise.race([Promise.all(copies), drainTime(engine)]);
  const words = heard.join('').trim();
  const problem =
    started || exitCode === 0
      ? undefined
      : toProblem(
          new CoveyError('exec-failed', `Cannot start the program: ${words || signalName || 'no reason given'}`),
        );
  await pushSlowly(output, {
    body: { kind: 'end', exitCode: problem === undefined ? exitCode : codeOfStart(words), problem },
  });
  output.close();
}

const drainTimeMs = 500;

function drainTime(engine: Engine): Promise<void> {
  return new Promise(resolve => {
    engine.host.clock.after(drainTimeMs, resolve);
  });
}

/** As shells and Docker have it: 127 not found, 126 found but not to be run. */
function codeOfStart(words: string): number {
  return /not found|no such file/i.test(words) ? 127 : 126;
}

interface Copy {
  readonly name: 'stdout' | 'stderr';
  readonly output: Channel<BulkFrame>;
  /** The first of what was said: the reason, when the program could not be started. */
  readonly heard: string[];
}

function copyOut(stream: Stream, { name, output, heard }: Copy): Promise<void> {
  return new Promise(resolve => {
    stream.on('data', (data: Buffer) => {
      if (heard.length < 4) heard.push(data.toString('utf8', 0, 1_024));
      const frame: BulkFrame = { body: { kind: 'data', stream: name, data, eof: false, atMs: 0 } };
      if (output.push(frame)) return;
      stream.pause();
      void pushSlowly(output, frame).then(() => stream.resume());
    });
    stream.on('end', resolve);
    stream.on('close', resolve);
    stream.on('error', () => resolve());
  });
}

async function pushSlowly(output: Channel<BulkFrame>, frame: BulkFrame): Promise<void> {
  while (!output.push(frame) && !output.ended()) await output.room();
}
