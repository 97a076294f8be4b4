/**
 * TCP connections that begin inside of a network namespace: the socket belongs to the namespace in which it was opened, and
 * is used from outside like any other.
 *
 * A connection to an address of the namespace itself stands when connect(2) returns, or is refused; only a full backlog makes
 * it wait, so the rare wait is a poll.
 *
 * Not here: listening sockets (namespaces.ts), what is asked over the connection (tasks/probe.ts).
 */
import * as fs from 'node:fs';
import { isIPv6, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CoveyError } from '../errors.js';
import type { Kernel } from '../host.js';
import { errnoName, lastErrno, libcFunction, systemCallError } from './libc.js';
import { insideNamespace, socketAddress } from './namespaces.js';

const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const connectCall = libcFunction<[number, Uint8Array, number], number>(
  'int connect(int fd, const uint8_t *address, uint32_t length)',
);
const getsockopt = libcFunction<[number, number, number, Uint8Array, Uint8Array], number>(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint8_t *length)',
);
const getpeername = libcFunction<[number, Uint8Array, Uint8Array], number>(
  'int getpeername(int fd, _Out_ uint8_t *address, _Inout_ uint8_t *length)',
);

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const EINPROGRESS = 115;
const firstLookMs = 1;
const lookMaxMs = 100;

export const linuxConnections: Pick<Kernel, 'connect'> = {
  connect: async ({ namespacePath, address, port, signal }) => {
    signal.throwIfAborted();
    const namespaceFd = fs.openSync(namespacePath, 'r');
    let fd: number;
    try {
      fd = insideNamespace({ path: namespacePath, fd: namespaceFd }, () => beginConnection(address, port));
    } finally {
      fs.closeSync(namespaceFd);
    }
    try {
      for (let waitMs = firstLookMs; !isConnected(fd, `${address}:${port}`); waitMs = Math.min(lookMaxMs, waitMs * 2))
        await sleep(waitMs, undefined, { signal });
      return new Socket({ fd, readable: true, writable: true });
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  },
};

function beginConnection(address: string, port: number): number {
  const family = isIPv6(address) ? AF_INET6 : AF_INET;
  const fd = socket(family, SOCK_STREAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) throw systemCallError({ call: 'open a socket to', object: address, errno: lastErrno() });
  const target = socketAddress(family, address, port);
  if (connectCall(fd, target, target.length) === 0) return fd;
  const errno = lastErrno();
  if (errno === EINPROGRESS) return fd;
  fs.closeSync(fd);
  throw refused(`${address}:${port}`, errno);
}

function isConnected(fd: number, target: string): boolean {
  const value = Buffer.alloc(4);
  const length = Buffer.from([4, 0, 0, 0]);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length) !== 0) throw refused(target, lastErrno());
  const errno = value.readInt32LE();
  if (errno !== 0) throw refused(target, errno);
  return getpeername(fd, Buffer.alloc(28), Buffer.from([28, 0, 0, 0])) === 0;
}

function refused(target: string, errno: number): CoveyError {
  const reason = errnoName(errno) === 'ECONNREFUSED' ? 'nothing listens there' : errnoName(errno);
  return new CoveyError('no-connection', `Cannot connect to ${target}: ${reason}`);
}
