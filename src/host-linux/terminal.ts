/**
 * Pseudo terminals for `exec -t`: posix_openpt(3) and its relatives, and the window size ioctl.
 */
import * as fs from 'node:fs';
import { ReadStream } from 'node:tty';
import { errnoOf } from '../errors.js';
import type { Kernel } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';

const posixOpenpt = libcFunction<[number], number>('int posix_openpt(int flags)');
const grantpt = libcFunction<[number], number>('int grantpt(int fd)');
const unlockpt = libcFunction<[number], number>('int unlockpt(int fd)');
const ptsname = libcFunction<[number, Uint8Array, number], number>(
  'int ptsname_r(int fd, _Out_ uint8_t *name, size_t size)',
);
const ioctl = libcFunction<[number, number, Uint8Array], number>(
  'int ioctl(int fd, unsigned long request, const uint8_t *argument)',
);

const O_RDWR_NOCTTY_CLOEXEC = 2 | 0o400 | 0o2000000;
const TIOCSWINSZ = 0x5414;

export const linuxTerminal: Pick<
  Kernel,
  'openTerminal' | 'resizeTerminal' | 'resizeTerminalAt' | 'openTerminalStream'
> = {
  openTerminal: size => {
    const masterFd = posixOpenpt(O_RDWR_NOCTTY_CLOEXEC);
    if (masterFd < 0) throw systemCallError({ call: 'open', object: 'a pseudo terminal', errno: lastErrno() });
    const name = Buffer.alloc(64);
    if (grantpt(masterFd) !== 0 || unlockpt(masterFd) !== 0 || ptsname(masterFd, name, name.length) !== 0) {
      const errno = lastErrno();
      fs.closeSync(masterFd);
      throw systemCallError({ call: 'unlock', object: 'a pseudo terminal', errno });
    }
    const slavePath = name.toString('latin1').split('\0')[0] ?? '';
    resize(masterFd, size);
    return { masterFd, slaveFd: fs.openSync(slavePath, fs.constants.O_RDWR | fs.constants.O_NOCTTY), slavePath };
  },
  resizeTerminal: resize,
  resizeTerminalAt: (slavePath, size) => {
    const fd = fs.openSync(slavePath, fs.constants.O_RDWR | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK);
    try {
      resize(fd, size);
    } finally {
      fs.closeSync(fd);
    }
  },
  openTerminalStream: masterFd => {
    const stream = new ReadStream(masterFd);
    // EIO: the last holder of the other end is gone; that is how a terminal says "end".
    stream.on('error', error => {
      if (errnoOf(error) === 'EIO') stream.push(null);
    });
    return stream;
  },
};

function resize(masterFd: number, size: { readonly rows: number; readonly columns: number }): void {
  const window = Buffer.alloc(8);
  window.writeUInt16LE(size.rows, 0);
  window.writeUInt16LE(size.columns, 2);
  if (ioctl(masterFd, TIOCSWINSZ, window) !== 0) {
    throw systemCallError({ call: 'resize', object: `terminal ${masterFd}`, errno: lastErrno() });
  }
}
