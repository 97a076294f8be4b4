/**
 * The program `coveyd`: reads its settings, opens the daemon, and ends it in order. The first SIGTERM or SIGINT stops
 * accepting, drains and closes; the second, or 25 s, ends at once. Containers run on in every case.
 *
 * Hidden first arguments make the same program the short-lived child that unpacks images (tasks/image), or the one that
 * copies files of containers (host-linux/copy-child.ts).
 *
 * Not here: what the daemon consists of (node.ts), the settings (config.ts).
 */
import { parseArgs } from 'node:util';
import { asCoveyError, CoveyError, codeOf, deepest, messageOf } from '../errors.js';
import { linuxHost } from '../host-linux/index.js';
import { version } from '../version.js';
import { type ConfigSources, parseSettings, renderSettingsHelp, type Settings, settingFlags } from './config.js';
import { type AdjustableLogger, makeLogger } from './logger.js';
import { makeNotifier } from './notify.js';

const stopTimeoutMs = 25_000;
/**
 * Small buffers are cut from pieces of this size, and the last of them keeps the whole piece: each TLS connection holds three
 * bytes for as long as it lives, each entry of the log some hundred. Of Node's 64 KiB those are 40 KiB for each session.
 */
const bufferPoolBytes = 8 * 1_024;
const defaultConfigFile = '/etc/covey/covey.yaml';

async function main(argv: readonly string[]): Promise<void> {
  if (argv[0] === unpackArgument) {
    const { runUnpackChild } = await import('../tasks/image/index.js');
    await runUnpackChild((await import('../host-linux/jail.js')).linuxJail);
    return;
  }
  if (argv[0] === copyArgument) return (await import('../host-linux/copy-child.js')).runCopyChild();
  const flags = parseFlags(argv);
  if (flags['help'] === true) return void process.stdout.write(help());
  if (flags['version'] === true)
    return void process.stdout.write(`coveyd ${version} (Node ${process.versions.node})\n`);
  const named = flags['config'] ?? process.env['COVEY_CONFIG'];
  const settings = parseSettings({
    flags: flags as Record<string, string>,
    environment: process.env,
    file: await readConfigFile(typeof named === 'string' && named !== '' ? named : undefined),
  });
  const how = flags['repair-log'];
  if (typeof how === 'string') return await repair(settings, how);
  Buffer.poolSize = bufferPoolBytes;
  await serve(settings);
}

/** First argument of the child process that copies files of containers. */
const copyArgument = '--copy-files';

/** First argument of the child process that unpacks images. */
const unpackArgument = '--unpack-image';

function parseFlags(argv: readonly string[]): Readonly<Record<string, string | boolean | undefined>> {
  const texts = Object.fromEntries(
    [...settingFlags(), 'config', 'repair-log'].map(flag => [flag, { type: 'string' as const }]),
  );
  try {
    return parseArgs({
      args: [...argv],
      options: { ...texts, help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } },
    }).values as Record<string, string | boolean | undefined>;
  } catch (cause) {
    throw new CoveyError('unknown-command', `Cannot start coveyd with these arguments: ${messageOf(cause)}`, {
      hint: 'coveyd --help',
    });
  }
}

function help(): string {
  return `Usage: coveyd [OPTIONS]

The daemon that makes this machine a node of a covey cluster. It is told what to do by \`covey\`, through its socket.

Options (each also as COVEY_NAME in the environment and as name in ${defaultConfigFile}):
${renderSettingsHelp()}
  ${'--config FILE'.padEnd(30)} settings as YAML (default: ${defaultConfigFile}, when it exists)
  ${'--repair-log look|last-manager'.padEnd(30)} no daemon: say what is damaged in a manager's log; end it before that
  ${'-h, --help'.padEnd(30)}
  ${'-v, --version'.padEnd(30)}

Examples:
  coveyd
  coveyd --data-dir /srv/covey --listen 10.0.0.11:7377 --log-level debug
`;
}

async function readConfigFile(named: string | undefined): Promise<ConfigSources['file']> {
  const path = named ?? defaultConfigFile;
  const text = await linuxHost.files.findText(path);
  if (text === undefined) {
    if (named === undefined) return new Map();
    throw new CoveyError('bad-config', `Cannot read the configuration file "${named}": there is none`);
  }
  const { parseConfigFile } = await import('./config-file.js');
  return parseConfigFile(text, path);
}

async function repair({ dataDir, logLevel, logFormat }: Settings, how: string): Promise<void> {
  const log = makeLogger({ level: logLevel, format: logFormat, write: line => void process.stderr.write(line) });
  const { repairOwnLog } = await import('./repair.js');
  // The timers of a daemon do not hold its process, and here is nothing else that does while a connection is made.
  const hold = setInterval(() => undefined, 1_000);
  await repairOwnLog({
    host: linuxHost,
    log,
    dataDir,
    how,
    say: line => void process.stdout.write(`${line}\n`),
  }).finally(() => clearInterval(hold));
}

async function serve(settings: Settings): Promise<void> {
  const log = makeLogger({
    level: settings.logLevel,
    format: settings.logFormat,
    write: line => void process.stderr.write(line),
  });
  const notifier = makeNotifier(process.env['NOTIFY_SOCKET'], linuxHost.kernel, log);
  delete process.env['NOTIFY_SOCKET'];
  const { openDaemon } = await import('./node.js');
  const stop = new AbortController();
  const daemon = await openDaemon({
    settings,
    host: linuxHost,
    log,
    // What it reads is garbage at once: with threads of its own for that it would take a core from tar.
    unpackCommand: childCommand(unpackArgument, ['--single-threaded-gc']),
    copyCommand: childCommand(copyArgument),
    proxy: proxyVariables(),
    // Beside the bundle; compiled file by file it lies where its source does.
    workerFile: new URL(
      import.meta.url.endsWith('/coveyd.js') ? './wal-worker.js' : '../raft/storage/wal-worker.js',
      import.meta.url,
    ),
    nodeVersion: process.versions.node,
    onBroken: error => endBroken(log, error),
    signal: stop.signal,
  });
  process.on('uncaughtException', error => endBroken(log, error));
  process.on('unhandledRejection', error => endBroken(log, error));
  log.info('ready', { socket: settings.socket, version });
  notifier.ready(`listening on ${settings.socket}`);
  await untilSignal(log);
  notifier.stopping();
  const timer = setTimeout(() => {
    log.error('could not stop in time: ending at once', { afterMs: stopTimeoutMs });
    process.exit(1);
  }, stopTimeoutMs);
  timer.unref();
  stop.abort();
  await daemon[Symbol.asyncDispose]();
  log.info('stopped; containers run on');
}

/** For pulls: what the environment says about proxies. */
function proxyVariables(): Readonly<Record<string, string>> {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap(name => [name, name.toLowerCase()]);
  return Object.fromEntries(
    names.flatMap(name => {
      const value = process.env[name];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
}

function childCommand(argument: string, flags: readonly string[] = []): readonly string[] {
  const own = process.execArgv.filter(flag => !smallFlags.includes(flag));
  return [process.execPath, ...own, ...childFlags, ...flags, process.argv[1] ?? '', argument];
}

/** Keep a process small that lives for weeks; with them Node compiles its own modules anew, a fifth of a child's start. */
const smallFlags = ['--max-semi-space-size=1', '--optimize-for-size'];
const childFlags = ['--min-semi-space-size=2', '--max-semi-space-size=4'];

/** Resolves with the first SIGTERM or SIGINT; the second ends the process. */
function untilSignal(log: AdjustableLogger): Promise<void> {
  return new Promise(resolve => {
    let asked = false;
    const onSignal = (signal: string): void => {
      if (asked) process.exit(1);
      asked = true;
      log.info('stopping', { signal });
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** A broken invariant: nothing in memory can be trusted any more, what is on disk can. systemd starts us again. */
function endBroken(log: AdjustableLogger, error: unknown): void {
  log.error('ending: something happened that must not', {
    error: error instanceof Error ? error : new CoveyError('bug', String(error)),
  });
  process.exit(70);
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  error => {
    const known = asCoveyError(error);
    const state = deepest(known, 'state');
    const hint = deepest(known, 'hint');
    process.stderr.write(
      `error: ${messageOf(known)}\n${state === undefined ? '' : `  state  ${state}\n`}${hint === undefined ? '' : `  try    ${hint}\n`}  code   ${codeOf(known)}   (covey explain ${codeOf(known)})\n`,
    );
    process.exit(codeOf(known) === 'unknown-command' || codeOf(known) === 'bad-config' ? 2 : 1);
  },
);
