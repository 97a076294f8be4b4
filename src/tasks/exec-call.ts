/**
 * `exec` as people ask for it: streams or a terminal of a program run inside a container, over frames.
 *
 * A caller that goes away ends the program, unless it says that it goes (detach): then the program runs on, and what it says is
 * lost; it ends with the daemon. A program that nobody ever listens to (exec -d) is left to the runtime and ends with the
 * container alone.
 *
 * With a terminal the runtime copies between ours and the one it makes in the container; a new size is set on the inner one,
 * because crun does not pass it on.
 *
 * Not here: planning, starting and killing such programs (exec.ts), the container's own streams (attach.ts).
 */
import { type Channel, openChannel } from '../channel.js';
import { CoveyError, toProblem } from '../errors.js';
import type { BulkFrame, ExecStart } from '../gen/types.js';
import type { SpawnedProcess } from '../host.js';
import { drained } from './drained.js';
import type { Engine } from './engine.js';
import { type ExecPlace, findExecPid, killExec, planExec, spawnExec } from './exec.js';
import { lastOutputIn, lastWords } from './runtime/crun.js';
import { renderConfig } from './runtime/oci.js';
import { terminalSize } from './runtime/process.js';
import { findStartFailure } from './runtime/start-failure.js';
import { endRush } from './rush.js';
import { watchKills } from './usage/kills.js';

const framesMax = 64;

export interface ExecCall {
  readonly start: ExecStart;
  readonly frames: AsyncIterable<BulkFrame>;
  readonly signal: AbortSignal;
}

/** Output as it comes, slowed down to the reader's speed; the last frame is the end with the exit code. */
export async function* execInside(engine: Engine, place: ExecPlace, call: ExecCall): AsyncIterable<BulkFrame> {
  if (call.start.detach) {
    yield await execDetached(engine, place, call);
    return;
  }
  const mark = Buffer.from(engine.host.random.bytes(6)).toString('hex');
  const processFile = `${place.bundle}/exec-${mark}.json`;
  const pidFile = `${processFile}.pid`;
  const logFile = `${processFile}.log`;
  const output = openChannel<BulkFrame>(framesMax);
  try {
    const planned = await planExec(engine, place, call.start);
    engine.host.files.writeSync(processFile, renderConfig(planned), { mode: 0o600 });
    const findKill = watchKills(engine, place.taskId);
    const opened = await openExec(engine, place, { call, processFile, pidFile, logFile });
    const running = { child: opened.child, pidFile };
    const onAbort = (): void => killExec(engine, place, running);
    call.signal.addEventListener('abort', onAbort, { once: true });
    let detached = false;
    const onDetach = (): void => {
      detached = true;
      void pushSlowly(output, { body: { kind: 'end' } }).then(() => output.close());
    };
    const input = { ...opened, pidFile, onDetach };
    void pumpInput(engine, call.frames, input).catch(() => onAbort()); // the asker is gone: so is the need
    const finished = finish(engine, opened, { program: call.start.args[0] ?? '', output, pidFile, logFile, findKill });
    if (opened.tty && engine.placeOf(place.containerId).runtime.name === 'crun') endRush(engine, opened);
    const destroy = (): void => {
      for (const pipe of opened.streams) pipe.stream.destroy();
    };
    try {
      yield* output;
    } finally {
      call.signal.removeEventListener('abort', onAbort);
      if (detached) void finished.then(destroy);
      else {
        if (!output.ended() || output.length() > 0 || call.signal.aborted) onAbort();
        destroy();
      }
    }
  } finally {
    for (const file of [processFile, pidFile, logFile]) engine.host.files.removeFileSync(file);
  }
}

/** Answered once it runs; from then on nobody knows of it. */
async function execDetached(engine: Engine, place: ExecPlace, { start }: ExecCall): Promise<BulkFrame> {
  const mark = Buffer.from(engine.host.random.bytes(6)).toString('hex');
  const processFile = `${place.bundle}/exec-${mark}.json`;
  const logFile = `${processFile}.log`;
  try {
    engine.host.files.writeSync(processFile, renderConfig(await planExec(engine, place, { ...start, tty: false })), {
      mode: 0o600,
    });
    const spawn = { processFile, pidFile: `${processFile}.pid`, stdio: ['ignore', 'ignore', 'ignore'] as const };
    const { exited } = await spawnExec(engine, place, { ...spawn, detached: true, leaves: true, logFile });
    const { exitCode } = await exited;
    if (exitCode === 0) return { body: { kind: 'end', exitCode: 0 } };
    return startFailed(engine.host.files.findTextSync(logFile) ?? '', start.args[0] ?? '');
  } finally {
    for (const file of [processFile, `${processFile}.pid`, logFile]) engine.host.files.removeFileSync(file);
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
  readonly logFile: string;
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
  const size = files.call.start.size ?? terminalSize;
  const terminal = kernel.openTerminal(size);
  const child = await spawnExec(engine, place, {
    ...files,
    stdio: [terminal.slaveFd, terminal.slaveFd, terminal.slaveFd],
    detached: true,
    before: engine.placeOf(place.containerId).runtime.name === 'crun' ? await engine.rushPrefix() : [],
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
  exec: OpenedExec & { readonly pidFile: string; readonly onDetach: () => void },
): Promise<void> {
  exec.input?.on('error', () => undefined); // a program that closed its input is free to
  for await (const { body } of frames) {
    if (body.kind === 'detach') return exec.onDetach();
    if (body.kind === 'resize' && exec.tty) resizeInside(engine, exec, body);
    if (body.kind !== 'data' || body.stream !== 'stdin' || exec.input === undefined) continue;
    if (body.data.length > 0 && !exec.input.write(body.data)) await drained(exec.input);
    if (body.eof) {
      if (exec.tty) exec.input.write('\u0004');
      else exec.input.end();
    }
  }
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
  /** The first word of what was asked for. */
  readonly program: string;
  readonly output: Channel<BulkFrame>;
  readonly pidFile: string;
  readonly logFile: string;
  readonly findKill: (exitCode: number | undefined) => CoveyError | undefined;
}

/** Copies all streams to their end, then tells the exit code. */
async function finish(
  engine: Engine,
  exec: OpenedExec,
  { program, output, pidFile, logFile, findKill }: ExecEnd,
): Promise<void> {
  const isFailure = (words: string): boolean =>
    !words.trim().includes('\n') && findStartFailure(lastWords(words), program) !== undefined;
  const copies = exec.streams.map(({ name, stream }) =>
    copyOut(stream, { name, output, isHeld: name === 'stderr' || exec.tty ? isFailure : () => false }),
  );
  const { exitCode, signalName } = await exec.child.exited;
  const started = findExecPid(engine, pidFile) !== undefined;
  // A descendant in the background may hold the pipes for ever: what the program itself said is in them by now.
  await Promise.race([Promise.all(copies.map(({ ended }) => ended)), drainTime(engine)]);
  const log = engine.host.files.findTextSync(logFile) ?? '';
  const killed = findKill(exitCode);
  if (killed !== undefined) {
    await pushSlowly(output, { body: { kind: 'end', exitCode, problem: toProblem(killed) } });
  } else if (exitCode !== 0 && (!started || findStartFailure(lastWords(log), program) !== undefined)) {
    await pushSlowly(output, startFailed(log || (signalName ?? ''), program));
  } else {
    for (const frame of copies.flatMap(({ held }) => held())) await pushSlowly(output, frame);
    if (exec.tty && log !== '') await pushSlowly(output, outputOf('stdout', lastOutputIn(log)));
    await pushSlowly(output, { body: { kind: 'end', exitCode } });
  }
  output.close();
}

const drainTimeMs = 500;

function drainTime(engine: Engine): Promise<void> {
  return new Promise(resolve => {
    engine.host.clock.after(drainTimeMs, resolve);
  });
}

const notRunnable = 126;

function startFailed(log: string, program: string): BulkFrame {
  const words = lastWords(log);
  const known = findStartFailure(words, program);
  const why = known?.why ?? words;
  const problem = toProblem(new CoveyError('exec-failed', `Cannot run "${program}" in the container: ${why}`));
  return { body: { kind: 'end', exitCode: known?.exitCode ?? notRunnable, problem } };
}

interface Copy {
  readonly name: 'stdout' | 'stderr';
  readonly output: Channel<BulkFrame>;
  /** Words of the runtime, when nothing comes before and after them: the end of the stream tells them. */
  readonly isHeld: (words: string) => boolean;
}

interface Copying {
  readonly ended: Promise<void>;
  readonly held: () => readonly BulkFrame[];
}

const heldMaxBytes = 1_024;

function outputOf(name: 'stdout' | 'stderr', data: Uint8Array): BulkFrame {
  return { body: { kind: 'data', stream: name, data, eof: false, atMs: 0 } };
}

function copyOut(stream: Stream, { name, output, isHeld }: Copy): Copying {
  let held: Buffer | undefined;
  let hasBegun = false;
  const ended = new Promise<void>(resolve => {
    stream.on('data', (piece: Buffer) => {
      const isFirst = !hasBegun;
      hasBegun = true;
      if (isFirst && piece.length <= heldMaxBytes && isHeld(piece.toString())) {
        held = piece;
        return;
      }
      const frame = outputOf(name, held === undefined ? piece : Buffer.concat([held, piece]));
      held = undefined;
      if (output.push(frame)) return;
      stream.pause();
      void pushSlowly(output, frame).then(() => stream.resume());
    });
    stream.on('end', resolve);
    stream.on('close', resolve);
    stream.on('error', () => resolve());
  });
  return { ended, held: () => (held === undefined ? [] : [outputOf(name, held)]) };
}

async function pushSlowly(output: Channel<BulkFrame>, frame: BulkFrame): Promise<void> {
  while (!output.push(frame) && !output.ended()) await output.room();
}
