/**
 * What an action may use: the console, a signal that ends with the user's patience, and the daemon, which is connected to when
 * first asked for.
 *
 * Not here: how the connection is made (client.ts, loaded late: it brings the protos).
 */
import type { Console } from '../console.js';
import { CoveyError } from '../errors.js';
import type { AsOf } from '../gen/types.js';
import type { Client, TaskCalls } from './client.js';
import { runDirDefault } from './defaults.js';
import type { Flags } from './flags.js';
import { readWishOf, renderAsOf } from './sight.js';

export interface CliContext {
  readonly console: Console;
  /** Aborted by SIGINT, SIGTERM, SIGHUP and by a reader that has gone. */
  readonly signal: AbortSignal;
  /** Live lines and questions are possible. */
  readonly isInteractive: boolean;
  /** Colours on standard output. */
  readonly colours: boolean;
  readonly connect: () => Promise<Client>;
  /** What is asked about tasks: of the cluster, or (--local) of this node's own agent. */
  readonly tasks: () => Promise<TaskCalls>;
  /** Set when what was read is old; said on standard error already. */
  readonly asOf: () => AsOf | undefined;
  /** A line on standard output. */
  readonly print: (line: string) => Promise<void>;
  /** A line for people on standard error: never part of what a program reads. */
  readonly note: (line: string) => Promise<void>;
  readonly close: () => void;
}

export function openContext(
  console: Console,
  options: { readonly flags: Flags; readonly signal: AbortSignal },
): CliContext {
  const { env, stdout, stderr } = console;
  let client: Promise<Client> | undefined;
  let opened: Client | undefined;
  const isInteractive = stdout.isTerminal && env['TERM'] !== 'dumb';
  let asOf: AsOf | undefined;
  const onAsOf = async (said: AsOf): Promise<void> => {
    const isNew = asOf === undefined;
    asOf = said;
    if (isNew) await stderr.write(`${renderAsOf(said, console.clock.wallMs())}\n`);
  };
  const connect = async (): Promise<Client> => {
    const { flags } = options;
    const wish = readWishOf(flags);
    const { openClient } = await import('./client.js');
    opened = await openClient({ socket: socketPath(flags, env), console, wish, onAsOf });
    return opened;
  };
  return {
    console,
    signal: options.signal,
    isInteractive,
    colours: isInteractive && !env['NO_COLOR'],
    connect: () => {
      client ??= connect();
      return client;
    },
    tasks: async () => {
      client ??= connect();
      const { control, local } = await client;
      return options.flags.isOn('local') ? local : control;
    },
    asOf: () => asOf,
    print: line => stdout.write(`${line}\n`),
    note: line => stderr.write(`${line}\n`),
    close: () => opened?.close(),
  };
}

/** --socket, --run-dir, COVEY_SOCKET, COVEY_RUN_DIR, the default: the first that is there. */
function socketPath(flags: Flags, env: Readonly<Record<string, string | undefined>>): string {
  const socket = flags.text('socket');
  if (socket !== undefined) return withoutScheme(socket);
  const runDir = flags.text('run-dir');
  if (runDir !== undefined) return `${runDir}/covey.sock`;
  if (env['COVEY_SOCKET']) return withoutScheme(env['COVEY_SOCKET']);
  return `${env['COVEY_RUN_DIR'] || runDirDefault}/covey.sock`;
}

function withoutScheme(socket: string): string {
  const path = socket.replace(/^unix:(?:\/\/)?/u, '');
  if (/^[a-z]+:/u.test(path)) {
    throw new CoveyError('bad-argument', `Cannot use "${socket}" as the socket of a daemon`, {
      hint: 'give the path of a unix socket; to command another machine, run covey there (ssh)',
    });
  }
  return path;
}
