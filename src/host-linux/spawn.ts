/**
 * Starts processes by posix_spawn(3). Node forks for it, and a fork copies the page tables of the daemon: 4 ms of CPU with 150
 * MiB resident, for every container. This way parent and child share them until the child runs its program: 0.1 ms.
 *
 * Keeps true: a child gets the descriptors, environment and directory that it is given and nothing else of ours; its signals
 * are as a shell would give them, none ignored and none blocked; every child is waited for.
 *
 * Called by processes.ts. Not here: programs that are run to their end (processes.ts).
 */
import * as fs from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { CoveyError } from '../errors.js';
import type { SpawnedProcess, SpawnOptions } from '../host.js';
import { errnoName, lastErrno, libcFunction, systemCallError } from './libc.js';

type Strings = readonly (string | null)[];

const posixSpawn = libcFunction<[number[], string, Uint8Array, Uint8Array, Strings, Strings], number>(
  'int posix_spawn(_Out_ int *pid, const char *path, void *actions, void *attr, const char **argv, const char **envp)',
);
const initActions = libcFunction<[Uint8Array], number>('int posix_spawn_file_actions_init(void *actions)');
const destroyActions = libcFunction<[Uint8Array], number>('int posix_spawn_file_actions_destroy(void *actions)');
const addDup = libcFunction<[Uint8Array, number, number], number>(
  'int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)',
);
const addDirectory = libcFunction<[Uint8Array, string], number>(
  'int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)',
);
const closeFrom = libcFunction<[Uint8Array, number], number>(
  'int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)',
);
const initAttributes = libcFunction<[Uint8Array], number>('int posix_spawnattr_init(void *attr)');
const setFlags = libcFunction<[Uint8Array, number], number>('int posix_spawnattr_setflags(void *attr, int16_t flags)');
const setDefaults = libcFunction<[Uint8Array, Uint8Array], number>(
  'int posix_spawnattr_setsigdefault(void *attr, const void *signals)',
);
const setMask = libcFunction<[Uint8Array, Uint8Array], number>(
  'int posix_spawnattr_setsigmask(void *attr, const void *signals)',
);
const socketPair = libcFunction<[number, number, number, number[]], number>(
  'int socketpair(int domain, int type, int protocol, _Out_ int *ends)',
);
const duplicate = libcFunction<[number, number, number], number>('int fcntl(int fd, int command, int least)');
const waitFor = libcFunction<[number, number[], number], number>(
  'int waitpid(int pid, _Out_ int *status, int options)',
);

/** More than any libc has for its posix_spawn_file_actions_t (80 bytes), posix_spawnattr_t (336) and sigset_t (128). */
const structBytes = 512;
const POSIX_SPAWN_SETSIGDEF = 4;
const POSIX_SPAWN_SETSIGMASK = 8;
const POSIX_SPAWN_SETSID = 0x80;
const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const F_DUPFD_CLOEXEC = 1030;
const WNOHANG = 1;
/** Long enough to be never. */
const holdMs = 2 ** 30;

/** Without a word about them the first three are /dev/null. */
const standard = ['ignore', 'ignore', 'ignore'] as const;

type Ended = Awaited<SpawnedProcess['exited']>;

const children = new Map<number, (ended: Ended) => void>();

/** Descriptors that the child is made with. */
interface Ends {
  /** Of the child, by number; `null`: /dev/null. */
  readonly theirs: (number | null)[];
  readonly ours: Map<number, number>;
  /** To be closed here once the child has them, or could not be started. */
  readonly closing: number[];
}

/** Rejects when it cannot be started (not-found). */
export async function spawnProcess(argv: readonly string[], options: SpawnOptions): Promise<SpawnedProcess> {
  const [program = ''] = argv;
  const path = program.includes('/') ? program : findProgram(program, options.env['PATH']);
  const ends: Ends = { theirs: [], ours: new Map(), closing: [] };
  let pid: number;
  try {
    openEnds(ends, [...options.stdio, ...standard.slice(options.stdio.length)]);
    watchChildren();
    pid = start({ path, argv, options, ends });
  } catch (error) {
    for (const fd of ends.ours.values()) fs.closeSync(fd);
    throw error;
  } finally {
    for (const fd of ends.closing) fs.closeSync(fd);
  }
  const pipes = new Map([...ends.ours].map(([fd, own]) => [fd, openPipe(fd, own)] as const));
  const hold = setInterval(() => undefined, holdMs); // the notice of its end alone keeps no process waiting
  const exited = new Promise<Ended>(resolve => {
    children.set(pid, ended => {
      clearInterval(hold);
      pipes.get(0)?.destroy();
      resolve(ended);
    });
  });
  return { pid, pipes, exited };
}

function findProgram(
  program: string,
  searched = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
): string {
  const path = searched
    .split(delimiter)
    .map(folder => join(folder, program))
    .find(candidate => fs.existsSync(candidate));
  if (path !== undefined) return path;
  throw new CoveyError('not-found', `Cannot start ${program}`, { state: `it is in none of ${searched}` });
}

function openEnds(ends: Ends, stdio: SpawnOptions['stdio']): void {
  stdio.forEach((kind, fd) => {
    if (kind === 'ignore') ends.theirs[fd] = null;
    else if (typeof kind === 'number') ends.theirs[fd] = above(ends, kind, stdio.length);
    else {
      const pair = [-1, -1];
      if (socketPair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, pair) !== 0)
        throw systemCallError({ call: 'open', object: 'a pair of sockets', errno: lastErrno() });
      const [own = -1, other = -1] = pair;
      ends.ours.set(fd, own);
      ends.closing.push(other);
      ends.theirs[fd] = above(ends, other, stdio.length);
    }
  });
}

/** The child's descriptors are put in place one after the other: none may lie where another goes. */
function above(ends: Ends, fd: number, least: number): number {
  if (fd >= least) return fd;
  const copy = duplicate(fd, F_DUPFD_CLOEXEC, least);
  if (copy < 0) throw systemCallError({ call: 'duplicate', object: `descriptor ${fd}`, errno: lastErrno() });
  ends.closing.push(copy);
  return copy;
}

function start(request: {
  readonly path: string;
  readonly argv: readonly string[];
  readonly options: SpawnOptions;
  readonly ends: Ends;
}): number {
  const { path, argv, options, ends } = request;
  const actions = Buffer.alloc(structBytes);
  const attributes = makeAttributes(options.detached);
  const nothing = ends.theirs.includes(null) ? fs.openSync('/dev/null', fs.constants.O_RDWR) : -1;
  if (nothing >= 0) ends.closing.push(nothing);
  const put = nothing >= 0 ? above(ends, nothing, ends.theirs.length) : -1;
  const environment = Object.entries(options.env).map(([name, value]) => `${name}=${value}`);
  const pid = [0];
  initActions(actions);
  try {
    ends.theirs.forEach((fd, target) => {
      addDup(actions, fd ?? put, target);
    });
    // Libraries open descriptors that children inherit: a monitor would keep the namespace of a socket of libnftables.
    closeFrom(actions, ends.theirs.length);
    if (options.cwd !== undefined) addDirectory(actions, options.cwd);
    const errno = posixSpawn(pid, path, actions, attributes, [...argv, null], [...environment, null]);
    if (errno !== 0) throw startError(argv[0] ?? '', errno);
  } finally {
    destroyActions(actions);
  }
  return pid[0] ?? 0;
}

function startError(program: string, errno: number): CoveyError {
  const name = errnoName(errno);
  return new CoveyError(name === 'ENOENT' ? 'not-found' : 'internal', `Cannot start ${program}: ${name}`);
}

/** All signals do what they do by default: this process ignores and handles some. */
function makeAttributes(detached: boolean): Buffer {
  const attributes = Buffer.alloc(structBytes);
  initAttributes(attributes);
  setFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (detached ? POSIX_SPAWN_SETSID : 0));
  setDefaults(attributes, Buffer.alloc(structBytes, 0xff));
  setMask(attributes, Buffer.alloc(structBytes));
  return attributes;
}

/** Standard input is only written to: reading would end it when the child closes its end. */
function openPipe(fd: number, own: number): Socket {
  return new Socket({ fd: own, readable: fd !== 0, writable: true });
}

function watchChildren(): void {
  if (!process.listeners('SIGCHLD').includes(reap)) process.on('SIGCHLD', reap);
}

/** One notice may stand for many ends. Node waits for its own children by their ids, as this does. */
function reap(): void {
  for (const [pid, tell] of children) {
    const status = [0];
    if (waitFor(pid, status, WNOHANG) === 0) continue;
    children.delete(pid);
    tell(endOf(status[0] ?? 0));
  }
}

function endOf(status: number): Ended {
  const signal = status & 0x7f;
  if (signal === 0) return { exitCode: (status >> 8) & 0xff, signalName: undefined };
  const [name] = Object.entries(constants.signals).find(([, number]) => number === signal) ?? [`signal ${signal}`];
  return { exitCode: undefined, signalName: name };
}
