/**
 * exec: runs a program in a task of any node, with the streams of this terminal, and ends with its exit code.
 *
 * Keeps true: the terminal is as it was when the command ends, however it ends. 125 is our own failure; 126 and 127 come from
 * the program that could not be started.
 *
 * Not here: starting the program (tasks/exec.ts, in the daemon).
 */

import type { Console } from '../../console.js';
import { CoveyError, codeOf, fromProblem } from '../../errors.js';
import type { BulkFrame, ExecStart, TerminalSize } from '../../gen/types.js';
import type { Duplex } from '../../grpc.js';
import { isCancellation } from '../../lifetime.js';
import type { CliContext } from '../context.js';
import type { CommandDefinition, Invocation } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodeOf, exitCodes, renderError } from '../output/errors.js';
import { getTasks } from './task.js';

export const execCommands: readonly CommandDefinition[] = [
  {
    path: ['exec'],
    says: 'Run a program in a task, wherever it runs',
    args: [
      { name: 'TASK', needed: true, completes: 'task' },
      { name: 'COMMAND', needed: true },
      { name: 'ARG', needed: false, many: true },
    ],
    options: [
      { flags: '-i, --interactive', says: 'Give it standard input' },
      { flags: '-t, --tty', says: 'Give it a terminal' },
      { flags: '-e, --env <name=value>', says: 'Environment variable', many: true },
      { flags: '-u, --user <user>', says: 'User, and if wanted group: UID[:GID] or names' },
      { flags: '-w, --workdir <dir>', says: 'Working directory' },
      { flags: '--container <name>', says: 'Container of the task (default: the main one)' },
    ],
    passThrough: true,
    examples: [
      { says: 'a shell', line: 'covey exec -it web.1 sh' },
      { says: 'one program, with its exit code', line: 'covey exec web.1 cat /etc/hosts' },
    ],
    run: runExec,
  },
];

/** At most so many bytes in a frame. */
const frameBytes = 32 * 1024;

async function runExec(invocation: Invocation, context: CliContext): Promise<number> {
  try {
    return await exec(invocation, context);
  } catch (error) {
    if (isCancellation(error) && context.signal.aborted) return exitCodes.interrupted;
    await tell(error, context.console);
    return execExitCode(error);
  }
}

async function tell(error: unknown, console: Console): Promise<void> {
  const { stderr } = console;
  await stderr.write(
    renderError(error, { colours: false, columns: stderr.size().columns, isTerminal: stderr.isTerminal }),
  );
}

/** As Docker: not executable, not there, anything else; no connection and wrong usage keep their own codes. */
export function execExitCode(error: unknown): number {
  const code = codeOf(error);
  if (code === 'command-not-found') return exitCodes.execNotFound;
  if (code === 'exec-failed') return exitCodes.execNotExecutable;
  return exitCodeOf(error) === exitCodes.failed ? exitCodes.execFailed : exitCodeOf(error);
}

async function exec({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { console } = context;
  const [taskText = '', ...command] = args;
  const tty = flags.isOn('tty');
  const stdin = flags.isOn('interactive');
  if (tty && stdin && !console.stdin.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot give the program a terminal: standard input is none', {
      hint: 'leave -t out',
    });
  }
  const [found] = await getTasks(context, [taskText]);
  if (found === undefined) throw new CoveyError('not-found', `Cannot find task "${taskText}"`);
  const start: ExecStart = {
    taskId: found.task.id,
    container: flags.text('container') ?? '',
    args: command,
    env: execEnv(flags, console),
    workingDir: flags.text('workdir') ?? '',
    user: flags.text('user') ?? '',
    tty,
    stdin,
    size: tty ? sizeOf(console) : undefined,
    detach: false,
  };
  const { control } = await context.connect();
  const ended = new AbortController();
  const call = control.exec({ signal: AbortSignal.any([context.signal, ended.signal]) });
  const raw = tty && stdin;
  if (raw) console.stdin.setRaw(true);
  try {
    await call.send({ body: { kind: 'exec', ...start } });
    using _resize = tty
      ? console.stdout.onResize(() => void sendQuietly(call, { kind: 'resize', ...sizeOf(console) }))
      : noResize();
    if (stdin) void sendInput(call, console).catch(() => undefined); // the call itself tells why it ended
    return await receive(call, console);
  } finally {
    if (raw) console.stdin.setRaw(false);
    ended.abort(new CoveyError('cancelled', 'Cannot go on: the program has ended'));
  }
}

function noResize(): Disposable {
  return { [Symbol.dispose]: () => undefined };
}

function execEnv(flags: Flags, console: Console): readonly string[] {
  const given = flags.list('env').flatMap(text => {
    const value = console.env[text];
    return text.includes('=') ? [text] : value === undefined ? [] : [`${text}=${value}`];
  });
  const term = console.env['TERM'];
  const wantsTerm = flags.isOn('tty') && term !== undefined && !given.some(text => text.startsWith('TERM='));
  return wantsTerm ? [`TERM=${term}`, ...given] : given;
}

function sizeOf(console: Console): TerminalSize {
  const { rows, columns } = console.stdout.size();
  return { rows, columns };
}

type ExecCall = Duplex<BulkFrame, BulkFrame>;

async function sendQuietly(call: ExecCall, body: BulkFrame['body']): Promise<void> {
  try {
    await call.send({ body });
  } catch {
    // The call has ended; whoever reads its answers is told why.
  }
}

async function sendInput(call: ExecCall, console: Console): Promise<void> {
  for await (const chunk of console.stdin.read()) {
    for (let at = 0; at < chunk.length; at += frameBytes) {
      await call.send({
        body: { kind: 'data', stream: 'stdin', data: chunk.subarray(at, at + frameBytes), eof: false, atMs: 0 },
      });
    }
  }
  // The end of the input is a frame: ending the call would end the program.
  await call.send({ body: { kind: 'data', stream: 'stdin', data: new Uint8Array(0), eof: true, atMs: 0 } });
}

async function receive(call: ExecCall, console: Console): Promise<number> {
  for await (const { body } of call) {
    if (body.kind === 'data' && body.data.length > 0) {
      await (body.stream === 'stderr' ? console.stderr : console.stdout).write(body.data);
    } else if (body.kind === 'end') {
      if (body.problem === undefined) return body.exitCode ?? exitCodes.execFailed;
      // A program that was not found or cannot be executed has a code already (127, 126).
      if (body.exitCode === undefined) throw fromProblem(body.problem);
      await tell(fromProblem(body.problem), console);
      return body.exitCode;
    }
  }
  throw new CoveyError('exec-failed', 'Cannot tell how the program ended: the stream ended before it');
}
