/**
 * The monitor: one conmon per container holds its output, its exit code and its terminal, and outlives the daemon.
 *
 *   daemon                               conmon
 *   spawn, with two pipes  ------------> waits for a byte on the start pipe
 *   moves it to its own cgroup
 *   one byte               ------------> forks away, runs `<runtime> create`
 *   reads one line         <------------ {"data": PID}, or {"data": -1, "message": …}
 *   ...                                  container ends: exit code to persist/exit, then to exits/<container id>
 *
 * A conmon whose line nobody reads dies and leaves a created container without a monitor: `recover` deletes those. One whose
 * start pipe ends without the byte goes on all the same: it is killed before its pipes are closed.
 *
 * Not here: the bundle (bundle.ts), starting (crun.ts), what an exit means (task.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Files, Host, SpawnedProcess } from '../../host.js';
import { globalArgs, type RuntimePlace, runtimeError } from './crun.js';

export interface MonitorRequest {
  readonly containerId: string;
  readonly bundle: string;
  readonly exits: string;
  readonly log: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  /** Words before its command line: the network to start it in. */
  readonly prefix?: readonly string[];
}

export interface Monitored {
  /** Process 1 of the container, as the host sees it. */
  readonly pid: number;
  readonly monitorPid: number;
}

const createTimeoutMs = 60_000;
const pidTimeoutMs = 10_000;
const endTimeoutMs = 2_000;
const endLookMs = 2;
const SIGKILL = 9;
const wordsMaxBytes = 16_384;
const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Creates the container: it exists, and waits to be started. On failure the caller removes what is left of it. */
export async function createMonitored(
  host: Pick<Host, 'clock' | 'files' | 'processes'>,
  place: RuntimePlace,
  request: MonitorRequest & { readonly adopt: (pid: number) => Promise<void>; readonly signal: AbortSignal },
): Promise<Monitored> {
  request.signal.throwIfAborted();
  const child = await host.processes.spawn(monitorArgv(place, request), {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    env: { PATH: systemPath, TZ: 'UTC', _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' },
    detached: true,
    cwd: request.bundle, // where it leaves an empty file "oom" when the container ran out of memory
  });
  let isLetGo = false;
  try {
    await request.adopt(child.pid);
    child.pipes.get(4)?.end('\0');
    isLetGo = true;
    const pid = parseSync(await readSync(host, child, request.signal));
    return { pid, monitorPid: await readMonitorPid(host, child, request) };
  } finally {
    if (!isLetGo) await endChild(host, child);
    for (const pipe of child.pipes.values()) pipe.destroy();
  }
}

/** It is our own child and not reaped yet, so that its pid is its own. */
async function endChild({ clock, processes }: Pick<Host, 'clock' | 'processes'>, child: SpawnedProcess): Promise<void> {
  const done = new AbortController();
  processes.kill(child.pid, SIGKILL);
  await Promise.race([child.exited, clock.sleep(endTimeoutMs, done.signal).catch(() => undefined)]);
  done.abort();
}

/**
 * Waits until the monitor of a container whose processes are gone is gone too: it writes down the exit code twice, and the
 * second time may come after somebody has read the first. One that does not end is killed.
 */
export async function awaitMonitorEnd(
  host: Pick<Host, 'clock' | 'files' | 'processes'>,
  { bundle, containerId }: Pick<MonitorRequest, 'bundle' | 'containerId'>,
): Promise<void> {
  const pid = findPid(host, `${bundle}/conmon.pid`);
  if (pid === undefined) return;
  const untilMs = host.clock.monotonicMs() + endTimeoutMs;
  while (isMonitorOf(host, pid, containerId)) {
    if (host.clock.monotonicMs() >= untilMs) {
      host.processes.kill(pid, SIGKILL);
      return;
    }
    await host.clock.sleep(endLookMs, AbortSignal.timeout(endTimeoutMs));
  }
}

function monitorArgv(place: RuntimePlace, request: MonitorRequest): readonly string[] {
  const { containerId, bundle } = request;
  return [
    ...(request.prefix ?? []),
    place.runtime.conmonPath,
    ...['--api-version', '1', '-c', containerId, '-u', containerId, '-n', containerId],
    ...['-r', place.runtime.path, '-b', bundle, '-p', `${bundle}/pidfile`, '-P', `${bundle}/conmon.pid`],
    ...['--exit-dir', request.exits, '--persist-dir', `${bundle}/persist`, '--full-attach'],
    ...['-l', `k8s-file:${request.log}`, '--log-level', 'warning', '--no-sync-log'],
    ...(request.tty ? ['-t'] : []),
    ...(request.stdin ? ['-i', '--leave-stdin-open'] : []),
    ...globalArgs(place).flatMap(arg => ['--runtime-arg', arg]),
  ];
}

interface SyncEnd {
  /** The line, or what came before the pipe ended. */
  readonly line: string;
  /** What conmon said on stderr. */
  readonly words: string;
}

function readSync(host: Pick<Host, 'clock'>, child: SpawnedProcess, signal: AbortSignal): Promise<SyncEnd> {
  const sync = child.pipes.get(3);
  const errors = child.pipes.get(2);
  return new Promise((resolve, reject) => {
    let line = '';
    let words = '';
    const timer = host.clock.after(createTimeoutMs, () => {
      done();
      reject(
        new CoveyError('timeout', `Cannot create the container: the runtime took more than ${createTimeoutMs} ms`),
      );
    });
    const onAbort = (): void => {
      done();
      reject(new CoveyError('cancelled', 'Cannot create the container: not wanted any more', { cause: signal.reason }));
    };
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    errors?.on('data', (chunk: Buffer) => {
      if (words.length < wordsMaxBytes) words += chunk.toString('utf8');
    });
    sync?.on('data', (chunk: Buffer) => {
      if (line.length < wordsMaxBytes) line += chunk.toString('utf8');
      if (!line.includes('\n')) return;
      done();
      resolve({ line, words });
    });
    const onEnd = (): void => {
      done();
      resolve({ line, words });
    };
    sync?.on('end', onEnd);
    sync?.on('error', onEnd);
    errors?.on('error', () => undefined); // its words are a help, not a need
    child.pipes.get(4)?.on('error', () => undefined); // conmon is gone: the sync pipe says so too
  });
}

function parseSync({ line, words }: SyncEnd): number {
  const data = /"data":\s*(-?\d+)/.exec(line)?.[1];
  const pid = data === undefined ? -1 : Number(data);
  if (pid > 0) return pid;
  throw runtimeError(parseMessage(line) ?? (line.trim() === '' ? words : line), 'create');
}

function parseMessage(line: string): string | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('message' in value)) return undefined;
    return typeof value.message === 'string' ? value.message : undefined;
  } catch {
    return undefined; // conmon does not escape all that a runtime may say: take the line as it is
  }
}

/**
 * The process that was spawned writes down the pid of the monitor that it forked, and ends. On a busy machine the monitor may
 * have answered before that.
 */
async function readMonitorPid(
  host: Pick<Host, 'clock' | 'files'>,
  child: SpawnedProcess,
  { bundle, signal }: Pick<MonitorRequest, 'bundle'> & { readonly signal: AbortSignal },
): Promise<number> {
  const path = `${bundle}/conmon.pid`;
  if (findPid(host, path) === undefined) {
    const done = new AbortController();
    const either = AbortSignal.any([signal, done.signal]);
    await Promise.race([child.exited, host.clock.sleep(pidTimeoutMs, either)]);
    done.abort();
  }
  const pid = findPid(host, path);
  if (pid === undefined) throw new CoveyError('container-create', `Cannot create the container: no pid in "${path}"`);
  return pid;
}

export function findPid(host: Pick<Host, 'files'>, path: string): number | undefined {
  const text = host.files.findTextSync(path)?.trim();
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Whether that process is the monitor of that container and lives: ids are unique, so its command line is proof. */
export function isMonitorOf(host: Pick<Host, 'files' | 'processes'>, pid: number, containerId: string): boolean {
  const start = host.processes.findStart(pid);
  if (start === undefined || start.state === 'Z' || start.state === 'X') return false;
  const args = (host.files.findTextSync(`/proc/${pid}/cmdline`) ?? '').split('\0');
  const at = args.indexOf('-c');
  return at > 0 && args[at + 1] === containerId && (args[0] ?? '').endsWith('conmon');
}

/** The exit code that conmon left behind, if the container has ended. */
export function findExit(
  host: Pick<Host, 'files'>,
  place: { readonly bundle: string; readonly exitFile: string },
): { readonly exitCode: number; readonly outOfMemory: boolean } | undefined {
  const text = host.files.findTextSync(place.exitFile) ?? host.files.findTextSync(`${place.bundle}/persist/exit`);
  if (text === undefined || !/^\d+\s*$/.test(text)) return undefined;
  return {
    exitCode: Number(text),
    outOfMemory: host.files.findTextSync(`${place.bundle}/persist/oom`) !== undefined,
  };
}

/** Asks the monitor to open its log anew, after the old one was renamed. False when it is gone. */
export function reopenLog(files: Pick<Files, 'writePipe'>, bundle: string): boolean {
  return files.writePipe(`${bundle}/ctl`, '2 0 0\n');
}

/** Sets the size of the container's terminal. */
export function resizeMonitored(
  files: Pick<Files, 'writePipe'>,
  bundle: string,
  size: { readonly rows: number; readonly columns: number },
): boolean {
  return files.writePipe(`${bundle}/ctl`, `1 ${size.rows} ${size.columns}\n`);
}
