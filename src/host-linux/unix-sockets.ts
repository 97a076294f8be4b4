/**
 * What Node has no call for on unix sockets: who is at the other end (SO_PEERCRED), and datagrams (sd_notify(3)).
 */
import * as fs from 'node:fs';
import type { Kernel } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';

const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const getsockopt = libcFunction<[number, number, number, Uint8Array, Uint8Array], number>(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint8_t *length)',
);
const sendto = libcFunction<[number, Uint8Array, number, number, Uint8Array, number], number>(
  'long sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
);

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const MSG_NOSIGNAL = 0x4000;

export const linuxUnixSockets: Pick<Kernel, 'peerCredentials' | 'sendDatagram' | 'closeFd'> = {
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
  closeFd: fd => fs.closeSync(fd),
};
