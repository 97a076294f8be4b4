/**
 * attach: joins the streams of a task's own process with those of this terminal, and ends with its exit code.
 *
 * Keeps true: the task runs on, whatever becomes of this command. Signals go to the task (Docker's --sig-proxy), but not that
 * of a terminal that was closed, which only ends this command.
 *
 * Not here: the streams (terminal-call.ts), the other end (tasks/attach.ts, in the daemon).
 */
import { CoveyError } from '../../errors.js';
import type { CliContext } from '../context.js';
import type { CommandDefinition, Invocation } from '../definition.js';
import { detachKeysDefault, parseDetachKeys } from '../detach-keys.js';
import { exitCodes } from '../output/errors.js';
import { joinStreams, sizeOf } from '../terminal-call.js';
import { getTasks } from './task.js';

export const attachCommands: readonly CommandDefinition[] = [
  {
    path: ['attach'],
    says: 'Join the streams of the own process of a task, wherever it runs',
    about:
      'Shows what it writes from now on. It takes input when the service has it (stdin_open, --interactive). A slow terminal lags behind; the task never waits for it.',
    args: [{ name: 'TASK', needed: true, completes: 'task' }],
    options: [
      { flags: '--no-stdin', says: 'Do not give it standard input' },
      { flags: '--detach-keys <keys>', says: 'Keys that leave it, with a terminal (default ctrl-p,ctrl-q)' },
      { flags: '--sig-proxy <yes>', says: 'Pass signals on to it (default true)', completes: ['true', 'false'] },
      { flags: '--container <name>', says: 'Container of the task (default: the main one)' },
    ],
    examples: [
      { says: 'a console that was left open', line: 'covey attach game.1' },
      { says: 'only look', line: 'covey attach --no-stdin --sig-proxy=false web.1' },
    ],
    run: runAttach,
  },
];

async function runAttach({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { console } = context;
  const [found] = await getTasks(context, args);
  if (found === undefined) throw new CoveyError('not-found', `Cannot find task "${args[0]}"`);
  const name = flags.text('container') ?? '';
  const { containers } = found.task.spec;
  const spec = name === '' ? containers[0] : containers.find(container => container.name === name);
  const stdin = spec?.stdin === true && !flags.isOn('no-stdin');
  const tty = spec?.tty ?? false;
  if (tty && stdin && !console.stdin.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot attach: the task has a terminal, and standard input is none', {
      hint: 'covey attach --no-stdin …',
    });
  }
  const { control } = await context.connect();
  const ended = new AbortController();
  const proxy = flags.text('sig-proxy') !== 'false';
  using _signals = proxy ? passSignals(context, { task: found.task.id, container: name, ended }) : noSignals();
  const signals = proxy ? [ended.signal, console.stdout.gone] : [ended.signal, context.signal];
  const call = control.attach({ signal: AbortSignal.any(signals) });
  const size = tty ? sizeOf(console) : undefined;
  try {
    const end = await joinStreams({
      call,
      start: { body: { kind: 'attach', taskId: found.task.id, container: name, stdin, size } },
      console,
      stdin,
      tty,
      detachKeys: parseDetachKeys(flags.text('detach-keys') ?? detachKeysDefault),
      note: context.note,
    });
    if (end.kind === 'detached') return exitCodes.done;
    if (end.problem !== undefined) throw end.problem;
    return end.exitCode ?? exitCodes.failed;
  } finally {
    ended.abort(new CoveyError('cancelled', 'Cannot go on: not attached any more'));
  }
}

function noSignals(): Disposable {
  return { [Symbol.dispose]: () => undefined };
}

interface Proxied {
  readonly task: string;
  readonly container: string;
  readonly ended: AbortController;
}

function passSignals(context: CliContext, { task, container, ended }: Proxied): Disposable {
  return context.console.onInterrupt(signal => {
    if (signal === 'SIGHUP') return ended.abort(new CoveyError('cancelled', 'Cannot go on: the terminal was closed'));
    const send = async (): Promise<void> => {
      const { control } = await context.connect();
      await control.runTaskVerb({ task, container, verb: 'kill', signal }, { signal: ended.signal });
    };
    send().catch((error: unknown) => context.note(`covey: ${error instanceof Error ? error.message : String(error)}`));
  });
}
