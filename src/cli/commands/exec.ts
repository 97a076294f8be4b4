/**
 * exec: runs a program in a task of any node, with the streams of this terminal, and ends with its exit code.
 *
 * Keeps true: the terminal is as it was when the command ends, however it ends. 125 is our own failure; 126 and 127 come from
 * the program that could not be started.
 *
 * Not here: starting the program (tasks/exec.ts, in the daemon).
 */

import type { Console } from '../../console.js';
import { CoveyError, codeOf } from '../../errors.js';
import type { ExecStart } from '../../gen/types.js';
import { asId, type TaskId } from '../../ids.js';
import { isCancellation } from '../../lifetime.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, localOption } from '../definition.js';
import { detachKeysDefault, parseDetachKeys } from '../detach-keys.js';
import type { Flags } from '../flags.js';
import { exitCodeOf, exitCodes, renderError } from '../output/errors.js';
import { joinStreams, sizeOf } from '../terminal-call.js';

const execCommand: CommandDefinition = {
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
    { flags: '-d, --detach', says: 'Leave it to itself once it runs' },
    { flags: '--detach-keys <keys>', says: 'Keys that leave it running (default ctrl-p,ctrl-q)' },
    { flags: '-e, --env <name=value>', says: 'Environment variable', many: true },
    { flags: '-u, --user <user>', says: 'User, and if wanted group: UID[:GID] or names' },
    { flags: '-w, --workdir <dir>', says: 'Working directory' },
    { flags: '--container <name>', says: 'Container of the task (default: the main one)' },
    localOption,
  ],
  passThrough: true,
  about:
    'The program ends when this command does, however that happens; the detach keys and -d leave it running. A program that was left by its keys ends with the daemon of its node, one that was started with -d only with its container.',
  examples: [
    { says: 'a shell', line: 'covey exec -it web.1 sh' },
    { says: 'one program, with its exit code', line: 'covey exec web.1 cat /etc/hosts' },
    { says: 'on this node, with all managers away', line: 'covey exec --local -it web.1 sh' },
    { says: 'in the background', line: 'covey exec -d web.1 /backup.sh' },
  ],
  run: runExec,
};

export const execCommands: readonly CommandDefinition[] = [
  execCommand,
  {
    ...execCommand,
    path: ['task', 'exec'],
    examples: [
      { says: 'a shell', line: 'covey task exec -it web.1 sh' },
      { says: 'on this node, with all managers away', line: 'covey task exec --local -it web.1 sh' },
    ],
  },
];

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
  const tty = flags.isOn('tty') && !flags.isOn('detach');
  const detach = flags.isOn('detach');
  const stdin = flags.isOn('interactive') && !detach;
  if (tty && stdin && !console.stdin.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot give the program a terminal: standard input is none', {
      hint: 'leave -t out',
    });
  }
  const start: ExecStart = {
    taskId: asId<TaskId>(taskText), // or its name: the manager resolves both
    container: flags.text('container') ?? '',
    args: command,
    env: execEnv(flags, console),
    workingDir: flags.text('workdir') ?? '',
    user: flags.text('user') ?? '',
    tty,
    stdin,
    size: tty ? sizeOf(console) : undefined,
    detach,
  };
  const calls = await context.tasks();
  const ended = new AbortController();
  const call = calls.exec({ signal: AbortSignal.any([context.signal, ended.signal]) });
  try {
    const end = await joinStreams({
      call,
      start: { body: { kind: 'exec', ...start } },
      console,
      stdin,
      tty,
      detachKeys: parseDetachKeys(flags.text('detach-keys') ?? detachKeysDefault),
      note: context.note,
    });
    if (end.kind === 'detached') return exitCodes.done;
    if (end.problem === undefined) return end.exitCode ?? exitCodes.execFailed;
    // A program that was not found or cannot be executed has a code already (127, 126).
    if (end.exitCode === undefined) throw end.problem;
    await tell(end.problem, console);
    return end.exitCode;
  } finally {
    ended.abort(new CoveyError('cancelled', 'Cannot go on: the program has ended'));
  }
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
