/**
 * The daemon's end of an import: starts the unpacking child, feeds it, and turns what it says into progress and a result.
 * The child is gone when this ends, however it ends.
 *
 * Not here: what the child does (unpack-child.ts), what becomes of its result (store.ts).
 */
import type { Buffer } from 'node:buffer';
import { CoveyError, fromProblem } from '../../errors.js';
import type { Host, SpawnedProcess } from '../../host.js';
import type { ChildRequest, UnpackMessage } from './unpack-protocol.js';

export interface ChildOptions {
  readonly processes: Host['processes'];
  readonly command: readonly string[];
  readonly request: ChildRequest;
  /** For its standard input; undefined: it needs none. */
  readonly data: AsyncIterable<Uint8Array> | undefined;
  readonly signal: AbortSignal;
}

type Progress = Extract<UnpackMessage, { kind: 'progress' | 'pulling' | 'checked' }>;
type Result = Extract<UnpackMessage, { kind: 'result' | 'current' | 'check-done' }>;
type Pipe = NodeJS.ReadWriteStream & { destroy(): void };

const SIGKILL = 9;
const lineMaxBytes = 16 * 2 ** 20;
const errorTextMaxBytes = 4_096;
const childPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Yields progress, returns the result. Throws what the child found wrong, or what the feeding ran into. */
export async function* runChild(options: ChildOptions): AsyncGenerator<Progress, Result> {
  options.signal.throwIfAborted();
  const child = await options.processes.spawn(options.command, {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    // Three layers at once, each with a pipe that is written to, leave the usual four threads no room to decompress.
    env: { PATH: childPath, LC_ALL: 'C', UV_THREADPOOL_SIZE: '8' },
    detached: false,
  });
  const kill = (): void => void options.processes.kill(child.pid, SIGKILL);
  // Pipes to a child that was killed break; its exit says so.
  for (const stream of child.pipes.values()) stream.on('error', () => undefined);
  const feeding = openFeeding(options, pipe(child, 0), kill);
  options.signal.addEventListener('abort', kill, { once: true });
  const errorText = collectText(pipe(child, 2));
  let hasEnded = false;
  void child.exited.then(() => {
    hasEnded = true;
  });
  try {
    pipe(child, 3).write(`${JSON.stringify(options.request)}\n`);
    for await (const line of lines(pipe(child, 1))) {
      const message = JSON.parse(line) as UnpackMessage; // from our own program
      switch (message.kind) {
        case 'progress':
        case 'pulling':
        case 'checked':
          yield message;
          break;
        case 'failure':
          throw fromProblem(message.problem);
        case 'result':
        case 'current':
        case 'check-done':
          return message;
      }
    }
    const { exitCode, signalName } = await child.exited;
    options.signal.throwIfAborted();
    feeding.throwIfFailed();
    throw new CoveyError('internal', 'Cannot take the image in: the process that unpacks it ended early', {
      state: `${signalName ?? `exit code ${exitCode ?? '?'}`}: ${errorText().trim()}`,
    });
  } finally {
    options.signal.removeEventListener('abort', kill);
    feeding.stop();
    if (!hasEnded) kill();
    await child.exited;
    for (const stream of child.pipes.values()) stream.destroy();
  }
}

function pipe(child: SpawnedProcess, fd: number): Pipe {
  const found = child.pipes.get(fd);
  if (found === undefined)
    throw new CoveyError('bug', `Cannot talk to the unpacking child: descriptor ${fd} is no pipe`);
  return found;
}

interface Feeding {
  readonly throwIfFailed: () => void;
  readonly stop: () => void;
}

/** Copies the data to the child until either ends. A failure of the source ends the child: what came is not the archive. */
function openFeeding(options: ChildOptions, input: Pipe, kill: () => void): Feeding {
  let failure: { readonly error: unknown } | undefined;
  let isStopped = false;
  // The child may stop reading when it has seen enough to refuse: that is told by its message, not by the broken pipe.
  input.on('error', () => {
    isStopped = true;
  });
  if (options.data === undefined) {
    input.end();
    return { throwIfFailed: () => undefined, stop: () => undefined };
  }
  const iterator = options.data[Symbol.asyncIterator]();
  const run = async (): Promise<void> => {
    for (let next = await iterator.next(); next.done !== true && !isStopped; next = await iterator.next()) {
      if (!input.write(next.value)) await drained(input);
    }
    if (!isStopped) input.end();
  };
  run().catch(error => {
    failure = { error };
    kill();
  });
  return {
    throwIfFailed: () => {
      if (failure !== undefined) throw failure.error;
    },
    stop: () => {
      isStopped = true;
      iterator.return?.().catch(() => undefined); // the caller's stream: its end is the caller's business
    },
  };
}

/** Also when the stream breaks: the next write then finds out. */
function drained(stream: Pipe): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}

function collectText(stream: Pipe): () => string {
  let text = '';
  stream.on('data', (piece: Buffer) => {
    if (text.length < errorTextMaxBytes) text += piece.toString('utf8');
  });
  return () => text.slice(0, errorTextMaxBytes);
}

/** Ends when the stream does, and also when it breaks: that the child died is told by its exit. */
async function* lines(stream: Pipe): AsyncGenerator<string> {
  stream.setEncoding('utf8');
  const pieces = stream[Symbol.asyncIterator]();
  let rest = '';
  for (;;) {
    const next = await pieces.next().catch(() => undefined);
    if (next === undefined || next.done === true) return;
    rest += String(next.value);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
    if (rest.length > lineMaxBytes) {
      throw new CoveyError('bug', 'Cannot read the unpacking child: its line does not end');
    }
  }
}
