/**
 * Sockets that outlive the daemon: a process of sleep(1) has the same descriptors open, and the next daemon takes them out of it
 * (pidfd_getfd(2), Linux 5.6). What arrives in between waits in the kernel.
 *
 * Keeps true: one holder a path, named after it (argv[0]), so that it is found with or without the file that has its pid; sockets
 * of another namespace, or fewer than are wanted, are let go and made anew. Which sockets they are is not looked at: one path
 * stands for one list.
 *
 * Not here: what is served on them (netns/dns).
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { CoveyError, codeOf, errnoOf } from '../errors.js';
import type { Kernel, NamespaceHandle } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';
import { insideNamespace, openBoundSocket } from './namespaces.js';

type Wanted = Parameters<Kernel['openKeptSockets']>[1];

const pidfdCall = libcFunction<[number, number, number, number], number>(
  'long syscall(long number, int first, int second, unsigned int flags)',
);
const getsockopt = libcFunction<[number, number, number, Uint8Array, Uint8Array], number>(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint8_t *length)',
);

/** The same on all architectures. */
const SYS_pidfd_open = 434;
const SYS_pidfd_getfd = 438;
const SOL_SOCKET = 1;
/** Of a network namespace, never used again (Linux 5.14). */
const SO_NETNS_COOKIE = 71;
const firstFd = 3;

export const linuxKeptSockets: Pick<Kernel, 'openKeptSockets' | 'releaseKeptSockets'> = {
  openKeptSockets: (namespace, wanted, path) => {
    const known = pidIn(path);
    if (known !== undefined) {
      const taken = takeFrom(known, namespace, wanted);
      if (taken !== undefined) return taken;
      end(known);
    }
    let fds: readonly number[];
    try {
      fds = openAll(namespace, wanted);
    } catch (error) {
      // A daemon that was killed before it wrote down which process it is.
      const lost = codeOf(error) === 'port-in-use' ? findByName(path) : undefined;
      if (lost === undefined) throw error;
      fs.writeFileSync(path, String(lost));
      const taken = takeFrom(lost, namespace, wanted);
      if (taken === undefined) throw error;
      return taken;
    }
    hold(fds, path);
    return fds;
  },
  releaseKeptSockets: path => {
    const pid = pidIn(path) ?? findByName(path);
    if (pid !== undefined) end(pid);
    fs.rmSync(path, { force: true });
  },
};

function openAll(namespace: NamespaceHandle, wanted: Wanted): readonly number[] {
  const fds: number[] = [];
  try {
    for (const one of wanted) fds.push(insideNamespace(namespace, () => openBoundSocket(one)));
    return fds;
  } catch (error) {
    for (const fd of fds) fs.closeSync(fd);
    throw error;
  }
}

/** Without a holder the sockets end with this process: worth a restart's questions, not the resolver. */
function hold(fds: readonly number[], path: string): void {
  const holder = spawn('sleep', ['infinity'], {
    argv0: nameOf(path),
    cwd: '/',
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', ...fds],
    detached: true,
  });
  holder.on('error', () => undefined);
  holder.unref();
  if (holder.pid !== undefined) fs.writeFileSync(path, String(holder.pid));
}

/** The holder's sockets as descriptors of ours, or undefined when they are not what is wanted. */
function takeFrom(pid: number, namespace: NamespaceHandle, wanted: Wanted): readonly number[] | undefined {
  const holder = pidfdCall(SYS_pidfd_open, pid, 0, 0);
  if (holder < 0) return undefined;
  const fds: number[] = [];
  try {
    for (const [at] of wanted.entries()) {
      const fd = pidfdCall(SYS_pidfd_getfd, holder, firstFd + at, 0);
      if (fd < 0) throw systemCallError({ call: 'take a socket of process', object: String(pid), errno: lastErrno() });
      fds.push(fd);
    }
    const here = insideNamespace(namespace, () => openBoundSocket({ kind: 'udp', address: '127.0.0.1', port: 0 }));
    fds.push(here);
    const [cookie, ...others] = fds.map(cookieOf).reverse();
    if (others.some(other => other !== cookie)) throw new CoveyError('not-found', 'The namespace is another one');
    fs.closeSync(fds.pop() ?? here);
    return fds;
  } catch {
    for (const fd of fds) fs.closeSync(fd);
    return undefined;
  } finally {
    fs.closeSync(holder);
  }
}

function cookieOf(fd: number): bigint {
  const value = Buffer.alloc(8);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(8);
  if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, value, length) !== 0) {
    throw systemCallError({ call: 'ask for the namespace of', object: `descriptor ${fd}`, errno: lastErrno() });
  }
  return value.readBigUInt64LE();
}

function nameOf(path: string): string {
  return `covey-sockets:${path}`;
}

function pidIn(path: string): number | undefined {
  try {
    const pid = Number(fs.readFileSync(path, 'utf8'));
    return pid > 0 && isHolder(pid, path) ? pid : undefined;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function findByName(path: string): number | undefined {
  return fs
    .readdirSync('/proc')
    .map(Number)
    .find(pid => pid > 0 && isHolder(pid, path));
}

function isHolder(pid: number, path: string): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(`${nameOf(path)}\0`);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error; // gone, or not ours to look at
    return false;
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
