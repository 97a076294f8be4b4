/**
 * Files out of a container, or into it: starts the child that enters it, and carries the archive between its pipes and
 * frames, at the speed of the slower end.
 *
 * Keeps true: the child is gone when this ends, however it ends.
 *
 * Called by agent.ts. Not here: what the child does (host-linux/copy-child.ts).
 */
import { CoveyError, fromProblem } from '../errors.js';
import type { BulkFrame, CopyStart, CopyStat, Problem } from '../gen/types.js';
import type { SpawnedProcess } from '../host.js';
import { isAlive } from './containers.js';
import type { TaskController } from './controller.js';
import { drained } from './drained.js';
import type { Engine } from './engine.js';
import { getContainer } from './find-container.js';
import { viewOf } from './verb-actions.js';
import { checkVerb } from './verbs.js';

export interface CopyCall {
  readonly controller: TaskController;
  readonly start: CopyStart;
  readonly frames: AsyncIterable<BulkFrame>;
  /** Argv of the child. */
  readonly command: readonly string[];
  readonly signal: AbortSignal;
}

type Pipe = NodeJS.ReadWriteStream & { destroy(): void };
type Answer = ({ kind: 'stat' } & CopyStat) | { kind: 'done' } | { kind: 'failure'; problem: Problem };

const SIGKILL = 9;
const frameBytes = 65_536;
const answersMaxBytes = 65_536;
const wordsMaxBytes = 4_096;

export async function* copyFiles(engine: Engine, call: CopyCall): AsyncIterable<BulkFrame> {
  const { start, signal } = call;
  const { pid, startTicks } = runningProcess(engine, call);
  if (!start.path.startsWith('/') || start.path.includes('\0')) {
    throw new CoveyError('bad-argument', `Cannot copy "${start.path}": a path in a container begins with /`);
  }
  signal.throwIfAborted();
  const child = await engine.host.processes.spawn(call.command, {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    env: {},
    detached: false,
  });
  const kill = (): void => void engine.host.processes.kill(child.pid, SIGKILL);
  for (const pipe of child.pipes.values()) pipe.on('error', () => undefined); // its exit says so
  signal.addEventListener('abort', kill, { once: true });
  let hasEnded = false;
  void child.exited.then(() => {
    hasEnded = true;
  });
  try {
    const words = gather(pipeOf(child, 2), wordsMaxBytes);
    const answers = gather(pipeOf(child, 4), answersMaxBytes);
    const kind = start.onlyStat ? 'stat' : start.into ? 'into' : 'out';
    const { path, followLink, archive } = start;
    pipeOf(child, 3).end(`${JSON.stringify({ pid, startTicks, path, kind, followLink, archive })}\n`);
    if (kind === 'into') void feed(call.frames, pipeOf(child, 0));
    else pipeOf(child, 0).end();
    for await (const data of chunksOf(pipeOf(child, 1))) {
      yield { body: { kind: 'data', stream: 'stdout', data, eof: false, atMs: 0 } };
    }
    await child.exited;
    signal.throwIfAborted();
    yield* endOf(parseAnswers(answers()), words());
  } finally {
    signal.removeEventListener('abort', kill);
    if (!hasEnded) kill();
    for (const pipe of child.pipes.values()) pipe.destroy();
  }
}

function runningProcess(
  engine: Engine,
  { controller, start }: CopyCall,
): { readonly pid: number; readonly startTicks: number } {
  const index = getContainer(controller.task, start.container);
  checkVerb('copy', viewOf(controller));
  const container = controller.containers[index];
  if (container !== undefined && isAlive(engine, container)) return container;
  throw new CoveyError(
    'task-not-running',
    `Cannot copy files of task ${controller.task.id}: its container does not run`,
    {
      state: `it is ${container?.phase ?? 'none'}`,
    },
  );
}

function* endOf(answers: readonly Answer[], words: string): Generator<BulkFrame> {
  for (const answer of answers) {
    if (answer.kind === 'failure') throw fromProblem(answer.problem);
    if (answer.kind === 'stat') yield { body: { ...answer, kind: 'stat' } };
    if (answer.kind === 'done') {
      yield { body: { kind: 'end' } };
      return;
    }
  }
  throw new CoveyError('copy-failed', 'Cannot copy: the process that copies ended early', { state: words.trim() });
}

function parseAnswers(text: string): readonly Answer[] {
  return text.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line) as Answer])); // from our own program
}

function pipeOf(child: SpawnedProcess, fd: number): Pipe {
  const found = child.pipes.get(fd);
  if (found === undefined) throw new CoveyError('bug', `Cannot talk to the copying child: descriptor ${fd} is no pipe`);
  return found;
}

function gather(pipe: Pipe, maxBytes: number): () => string {
  let text = '';
  pipe.on('data', (piece: Buffer) => {
    if (text.length < maxBytes) text += piece.toString('utf8');
  });
  return () => text;
}

/** Ends when the pipe does, and also when it breaks. */
async function* chunksOf(pipe: Pipe): AsyncGenerator<Uint8Array> {
  const chunks = pipe[Symbol.asyncIterator]();
  for (;;) {
    const next = await chunks.next().catch(() => undefined);
    if (next === undefined || next.done === true) return;
    const chunk = Buffer.from(next.value);
    for (let at = 0; at < chunk.length; at += frameBytes) yield chunk.subarray(at, at + frameBytes);
  }
}

async function feed(frames: AsyncIterable<BulkFrame>, pipe: Pipe): Promise<void> {
  for await (const { body } of frames) {
    if (body.kind !== 'data') continue;
    if (body.data.length > 0 && !pipe.write(body.data)) await drained(pipe);
    if (body.eof) return void pipe.end();
  }
}
