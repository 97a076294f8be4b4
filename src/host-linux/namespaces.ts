/**
 * Network namespaces: made and pinned, entered for the length of one synchronous call, sockets and sysctls inside of them.
 *
 * setns and unshare act on the calling thread, and JavaScript runs on one: between entering and coming back nothing waits. A
 * thread that cannot come back would do everything else in the wrong namespace: the process aborts.
 *
 * Not here: netlink sockets (netlink.ts), packet rules (nftables.ts).
 */
import * as fs from 'node:fs';
import { isIPv6 } from 'node:net';
import { CoveyError, errnoOf } from '../errors.js';
import type { Kernel, NamespaceHandle } from '../host.js';
import { errnoName, lastErrno, libcFunction, systemCallError } from './libc.js';

const setns = libcFunction<[number, number], number>('int setns(int fd, int type)');
const unshare = libcFunction<[number], number>('int unshare(int flags)');
const mount = libcFunction<[string, string, string, number, null], number>(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, void *data)',
);
const umount2 = libcFunction<[string, number], number>('int umount2(const char *target, int flags)');
const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const setsockopt = libcFunction<[number, number, number, Uint8Array, number], number>(
  'int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)',
);
const bind = libcFunction<[number, Uint8Array, number], number>(
  'int bind(int fd, const uint8_t *address, uint32_t length)',
);
const listen = libcFunction<[number, number], number>('int listen(int fd, int backlog)');
const inetPton = libcFunction<[number, string, Uint8Array], number>(
  'int inet_pton(int family, const char *text, _Out_ uint8_t *address)',
);

const CLONE_NEWNET = 0x40000000;
const MS_BIND = 4096;
const MNT_DETACH = 2;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const listenBacklog = 128;
const ownNamespace = '/proc/thread-self/ns/net';

/** Calls `work` inside of the namespace (undefined: where we are) and comes back, whatever happens. */
export function insideNamespace<Result>(namespace: NamespaceHandle | undefined, work: () => Result): Result {
  if (namespace === undefined) return work();
  const home = fs.openSync(ownNamespace, 'r');
  try {
    if (setns(namespace.fd, CLONE_NEWNET) !== 0) {
      throw systemCallError({ call: 'enter', object: `network namespace "${namespace.path}"`, errno: lastErrno() });
    }
    try {
      return work();
    } finally {
      comeBack(home);
    }
  } finally {
    fs.closeSync(home);
  }
}

function comeBack(home: number): void {
  if (setns(home, CLONE_NEWNET) === 0) return;
  fs.writeSync(2, `covey: cannot return to the network namespace of the daemon: ${errnoName(lastErrno())}\n`);
  process.abort();
}

export const linuxNamespaces: Pick<
  Kernel,
  | 'makeNetworkNamespace'
  | 'openNamespace'
  | 'closeNamespace'
  | 'removeNamespace'
  | 'openSocket'
  | 'writeSysctl'
  | 'readSysctl'
> = {
  makeNetworkNamespace: path => {
    fs.writeFileSync(path, '', { flag: 'a' });
    const home = fs.openSync(ownNamespace, 'r');
    try {
      if (unshare(CLONE_NEWNET) !== 0) {
        throw systemCallError({ call: 'make', object: `network namespace "${path}"`, errno: lastErrno() });
      }
      try {
        if (mount(ownNamespace, path, 'none', MS_BIND, null) !== 0) {
          throw systemCallError({ call: 'pin a network namespace at', object: `"${path}"`, errno: lastErrno() });
        }
        return { path, fd: fs.openSync(ownNamespace, 'r') };
      } finally {
        comeBack(home);
      }
    } catch (error) {
      removeNamespace(path);
      throw error;
    } finally {
      fs.closeSync(home);
    }
  },
  openNamespace: path => {
    const namespace = { path, fd: openPin(path) };
    try {
      insideNamespace(namespace, () => undefined);
    } catch (error) {
      fs.closeSync(namespace.fd);
      throw new CoveyError('not-found', `Cannot open network namespace "${path}": nothing is pinned there`, {
        cause: error,
      });
    }
    return namespace;
  },
  closeNamespace: namespace => fs.closeSync(namespace.fd),
  removeNamespace,
  openSocket: (namespace, wanted) => insideNamespace(namespace, () => openBoundSocket(wanted)),
  writeSysctl: (namespace, name, value) =>
    insideNamespace(namespace, () => {
      try {
        fs.writeFileSync(sysctlPath(name), value);
      } catch (error) {
        const code = errnoOf(error) === 'ENOENT' ? 'not-found' : 'no-permission';
        throw new CoveyError(code, `Cannot set sysctl ${name} to ${value}`, { cause: error });
      }
    }),
  readSysctl: (namespace, name) =>
    insideNamespace(namespace, () => {
      try {
        return fs.readFileSync(sysctlPath(name), 'utf8').trim();
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined;
        throw new CoveyError('no-permission', `Cannot read sysctl ${name}`, { cause: error });
      }
    }),
};

function removeNamespace(path: string): void {
  umount2(path, MNT_DETACH);
  fs.rmSync(path, { force: true });
}

function openPin(path: string): number {
  try {
    return fs.openSync(path, 'r');
  } catch (error) {
    throw new CoveyError('not-found', `Cannot open network namespace "${path}"`, { cause: error });
  }
}

/** As sysctl(8) reads names: dots separate, unless there is a slash, because names of links may have dots. */
function sysctlPath(name: string): string {
  return `/proc/sys/${name.includes('/') ? name : name.replaceAll('.', '/')}`;
}

/** Bound in the namespace of the calling thread, listening for TCP. */
export function openBoundSocket(wanted: Parameters<Kernel['openSocket']>[1]): number {
  const family = isIPv6(wanted.address) ? AF_INET6 : AF_INET;
  const type = wanted.kind === 'tcp' ? SOCK_STREAM : SOCK_DGRAM;
  const object = `${wanted.address} ${wanted.kind} port ${wanted.port}`;
  const fd = socket(family, type | SOCK_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) throw systemCallError({ call: 'open a socket for', object, errno: lastErrno() });
  const one = Buffer.from([1, 0, 0, 0]);
  const address = socketAddress(family, wanted.address, wanted.port);
  const failed =
    (wanted.kind === 'tcp' && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one, 4) !== 0) ||
    (family === AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, one, 4) !== 0) ||
    bind(fd, address, address.length) !== 0 ||
    (wanted.kind === 'tcp' && listen(fd, listenBacklog) !== 0);
  if (!failed) return fd;
  const errno = lastErrno();
  fs.closeSync(fd);
  throw systemCallError(
    { call: 'listen on', object, errno },
    errnoName(errno) === 'EADDRINUSE' ? 'port-in-use' : undefined,
  );
}

/** struct sockaddr_in or sockaddr_in6. */
export function socketAddress(family: number, text: string, port: number): Buffer {
  const v6 = family === AF_INET6;
  const bytes = Buffer.alloc(16);
  if (inetPton(family, text, bytes) !== 1) throw new CoveyError('bad-argument', `Cannot use "${text}" as an address`);
  const address = Buffer.alloc(v6 ? 28 : 16);
  address.writeUInt16LE(family, 0);
  address.writeUInt16BE(port, 2);
  bytes.copy(address, v6 ? 8 : 4, 0, v6 ? 16 : 4);
  return address;
}
