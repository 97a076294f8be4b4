/**
 * What Node has no call for on unix sockets: who is at the other end (SO_PEERCRED), datagrams (sd_notify(3)), and sockets of
 * packets (the attach socket of conmon).
 */
import * as fs from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Kernel } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';

const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const getsockopt = libcFunction<[number, number, number, Uint8Array, Uint8Array], number>(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint8_t *length)',
);
const sendto = libcFunction<[number, Uint8Array, number, number, Uint8Array, number], number>(
  'long sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
);

const connect = libcFunction<[number, Uint8Array, number], number>(
  'int connect(int fd, const uint8_t *address, uint32_t length)',
);
const shutdown = libcFunction<[number, number], number>('int shutdown(int fd, int how)');

const AF_UNIX = 1;
const SOCK_SEQPACKET_CLOEXEC_NONBLOCK = 5 | 0o2000000 | 0o4000;
const SHUT_RD = 0;
const EAGAIN = 11;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const MSG_NOSIGNAL = 0x4000;

export const linuxUnixSockets: Pick<Kernel, 'peerCredentials' | 'sendDatagram' | 'openAttachInput' | 'closeFd'> = {
  peerCredentials: fd => {
    const value = Buffer.alloc(12);
    const length = Buffer.from([12, 0, 0, 0]);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) {
      throw systemCallError({ call: 'read the peer of', object: `descriptor ${fd}`, errno: lastErrno() });
    }
    return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
  },
  sendDatagram: (path, text) => {
    const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (fd < 0) throw systemCallError({ call: 'open', object: 'a unix socket', errno: lastErrno() });
    try {
      const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path);
      const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), name]);
      const data = Buffer.from(text);
      if (sendto(fd, data, data.length, MSG_NOSIGNAL, address, address.length) < 0) {
        throw systemCallError({ call: 'send to', object: `"${path}"`, errno: lastErrno() });
      }
    } finally {
      fs.closeSync(fd);
    }
  },
  openAttachInput: path => {
    const fd = socket(AF_UNIX, SOCK_SEQPACKET_CLOEXEC_NONBLOCK, 0);
    if (fd < 0) throw systemCallError({ call: 'open', object: 'a unix socket', errno: lastErrno() });
    const close = (): void => fs.closeSync(fd);
    try {
      connectBy(fd, path);
      if (shutdown(fd, SHUT_RD) !== 0) {
        throw systemCallError({ call: 'shut down', object: `"${path}"`, errno: lastErrno() });
      }
    } catch (error) {
      close();
      throw error;
    }
    return {
      write: data => {
        if (sendto(fd, data, data.length, MSG_NOSIGNAL, Buffer.alloc(0), 0) >= 0) return true;
        const errno = lastErrno();
        if (errno === EAGAIN) return false;
        throw systemCallError({ call: 'send to', object: `"${path}"`, errno });
      },
      [Symbol.dispose]: close,
    };
  },
  closeFd: fd => fs.closeSync(fd),
};

/** An address holds 107 bytes and a path may be longer: through a descriptor of its folder. */
function connectBy(fd: number, path: string): void {
  const folder = fs.openSync(dirname(path), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    const short = `/proc/self/fd/${folder}/${basename(path)}\0`;
    const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(short)]);
    if (connect(fd, address, address.length) !== 0) {
      throw systemCallError({ call: 'connect to', object: `"${path}"`, errno: lastErrno() });
    }
  } finally {
    fs.closeSync(folder);
  }
}
