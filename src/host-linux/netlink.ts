/**
 * Netlink sockets (rtnetlink, nfnetlink) that stay in the namespace in which they were opened. Requests go out in one send,
 * answers are read until all are there; the kernel answers rtnetlink at once, so both are synchronous. News of changes gather
 * in a socket of their own until somebody takes them.
 *
 * Not here: what the messages say (netns/netlink/).
 */
import * as fs from 'node:fs';
import { CoveyError } from '../errors.js';
import type { Kernel, NamespaceHandle, NetlinkNews, NetlinkSocket } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';
import { insideNamespace } from './namespaces.js';

const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const setsockopt = libcFunction<[number, number, number, Uint8Array, number], number>(
  'int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)',
);
const bind = libcFunction<[number, Uint8Array, number], number>(
  'int bind(int fd, const uint8_t *address, uint32_t length)',
);
const send = libcFunction<[number, Uint8Array, number, number], number>(
  'long send(int fd, const uint8_t *data, size_t size, int flags)',
);
const recv = libcFunction<[number, Uint8Array, number, number], number>(
  'long recv(int fd, _Out_ uint8_t *data, size_t size, int flags)',
);

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const protocols = { route: 0, netfilter: 12 } as const;
const MSG_DONTWAIT = 0x40;
const errnoAgain = 11;
const errnoNoBuffers = 105;
/** Some hundred changes; after more of them a look at all is cheaper than reading each. */
const newsBytes = 1 << 18;

const bufferBytes = 1 << 20;
/** Kernels fill at most 32 KiB for one read of a dump. */
const receiveBytes = 32_768;
/** An answer is there when send returns; a wait this long means that the count of answers is wrong. */
const receiveTimeoutSeconds = 5;

export const linuxNetlink: Pick<Kernel, 'openNetlink' | 'followNetlink'> = makeNetlink();

function makeNetlink(): Pick<Kernel, 'openNetlink' | 'followNetlink'> {
  let buffer: Buffer | undefined;
  return {
    openNetlink: (namespace, family = 'route') => {
      buffer ??= Buffer.alloc(receiveBytes);
      return netlinkSocket(openSocket(namespace, family), buffer);
    },
    followNetlink: (namespace, groups, family = 'route') => {
      buffer ??= Buffer.alloc(receiveBytes);
      return netlinkNews(openNews(namespace, groups, family), buffer);
    },
  };
}

function openSocket(namespace: NamespaceHandle | undefined, family: keyof typeof protocols): number {
  const fd = insideNamespace(namespace, () => socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocols[family]));
  if (fd < 0) throw systemCallError({ call: 'open', object: `a netlink socket (${family})`, errno: lastErrno() });
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, number(bufferBytes), 4);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, number(bufferBytes), 4);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, number(1), 4);
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, number(1), 4);
  setsockopt(
    fd,
    SOL_SOCKET,
    SO_RCVTIMEO,
    Buffer.from(new BigInt64Array([BigInt(receiveTimeoutSeconds), 0n]).buffer),
    16,
  );
  return fd;
}

function number(value: number): Uint8Array {
  return Buffer.from(new Uint32Array([value]).buffer);
}

function openNews(
  namespace: NamespaceHandle | undefined,
  groups: readonly number[],
  family: keyof typeof protocols,
): number {
  const fd = insideNamespace(namespace, () => socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocols[family]));
  const refused = (): CoveyError =>
    systemCallError({ call: 'open', object: 'a netlink socket for news', errno: lastErrno() });
  if (fd < 0) throw refused();
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK, 0);
  // Bound, because the kernel tells nothing to a socket without a name.
  const isDone = [
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, number(newsBytes), 4),
    bind(fd, address, address.length),
    ...groups.map(group => setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, number(group), 4)),
  ].every(result => result === 0);
  if (isDone) return fd;
  const error = refused();
  fs.closeSync(fd);
  throw error;
}

function netlinkNews(fd: number, buffer: Buffer): NetlinkNews {
  let open = true;
  return {
    take: () => {
      const messages: Uint8Array[] = [];
      let lost = false;
      while (open) {
        const size = recv(fd, buffer, buffer.length, MSG_DONTWAIT);
        if (size > 0) messages.push(...split(buffer, size));
        else if (lastErrno() === errnoNoBuffers) lost = true;
        else if (lastErrno() === errnoAgain) break;
        else
          throw systemCallError({ call: 'receive', object: 'news by netlink', errno: lastErrno() }, 'netlink-refused');
      }
      return lost ? undefined : messages;
    },
    [Symbol.dispose]: () => {
      if (open) fs.closeSync(fd);
      open = false;
    },
  };
}

/** The messages of one read, each copied. */
function split(buffer: Buffer, size: number): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (let at = 0; at + 16 <= size; ) {
    const length = buffer.readUInt32LE(at);
    messages.push(Uint8Array.prototype.slice.call(buffer, at, at + length));
    at += (length + 3) & ~3;
  }
  return messages;
}

function netlinkSocket(fd: number, buffer: Buffer): NetlinkSocket {
  let open = true;
  return {
    talk: (batch, acknowledgements) => {
      if (!open) throw new CoveyError('bug', 'Cannot use a netlink socket after its end');
      if (send(fd, batch, batch.length, 0) !== batch.length) {
        throw systemCallError(
          { call: 'send', object: `${batch.length} bytes of netlink`, errno: lastErrno() },
          'netlink-refused',
        );
      }
      return receiveAnswers(fd, buffer, acknowledgements);
    },
    [Symbol.dispose]: () => {
      if (open) fs.closeSync(fd);
      open = false;
    },
  };
}

/** Reads into one buffer for all sockets, since nothing waits in between, and copies each answer out of it. */
function receiveAnswers(fd: number, buffer: Buffer, acknowledgements: number): Uint8Array[] {
  const answers: Uint8Array[] = [];
  let missing = acknowledgements;
  while (missing > 0) {
    const size = recv(fd, buffer, buffer.length, 0);
    if (size <= 0)
      throw systemCallError({ call: 'receive', object: 'netlink answers', errno: lastErrno() }, 'netlink-refused');
    for (const answer of split(buffer, size)) {
      const type = (answer[4] ?? 0) | ((answer[5] ?? 0) << 8);
      answers.push(answer);
      if (type === NLMSG_ERROR || type === NLMSG_DONE) missing -= 1;
    }
  }
  return answers;
}
