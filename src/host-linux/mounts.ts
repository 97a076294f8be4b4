/**
 * mount(2), umount2(2), flock(2): 0.2 ms each where an exec of mount(8) takes 2.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import type { Kernel } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';
import { insideNamespace } from './namespaces.js';

const mountCall = libcFunction<[string, string, string, number, string | null], number>(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const umount2 = libcFunction<[string, number], number>('int umount2(const char *target, int flags)');
const openat2 = libcFunction<[number, number, string, Uint8Array, number], number>(
  'long syscall(long number, int directory, const char *path, const uint8_t *how, unsigned long size)',
);
const flock = libcFunction<[number, number], number>('int flock(int fd, int operation)');

const MNT_DETACH = 2;
const EINVAL = 22;
const ENOENT = 2;
const EWOULDBLOCK = 11;
const LOCK_EX_NB = 2 | 4;
/** The same on all architectures. */
const SYS_openat2 = 437;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const RESOLVE_NO_MAGICLINKS = 2;
const RESOLVE_IN_ROOT = 16;

/** Flags of mount(2) under the names of its manual. */
export const mountFlags = {
  readOnly: 1,
  noSuid: 2,
  noDev: 4,
  noExec: 8,
  remount: 32,
  bind: 4_096,
  recursive: 16_384,
  private: 1 << 18,
  slave: 1 << 19,
} as const;

export const linuxMounts: Pick<Kernel, 'bindBeneath' | 'mount' | 'unmount' | 'lockFile'> = {
  mount: ({ source, target, type, flags, data, directory, inside }) => {
    const call = (): number => (mountCall(source, target, type, flags, data ?? null) === 0 ? 0 : lastErrno());
    const errno = within(directory, () => insideNamespace(inside, call));
    if (errno === 0) return;
    throw systemCallError(
      { call: `mount ${type || 'bind'} "${source}" on`, object: `"${target}"`, errno },
      'mount-failed',
    );
  },
  bindBeneath: ({ root, path, target }) => {
    const rootFd = fs.openSync(root, O_PATH | fs.constants.O_DIRECTORY);
    try {
      const fd = openBeneath(rootFd, path);
      try {
        if (fs.fstatSync(fd).isDirectory()) fs.mkdirSync(target, { recursive: true });
        else fs.writeFileSync(target, '', { flag: 'a' });
        const source = `/proc/self/fd/${fd}`;
        if (mountCall(source, target, '', mountFlags.bind | mountFlags.recursive, null) === 0) return;
        throw systemCallError({ call: `bind "${path}" on`, object: `"${target}"`, errno: lastErrno() }, 'mount-failed');
      } finally {
        fs.closeSync(fd);
      }
    } finally {
      fs.closeSync(rootFd);
    }
  },
  unmount: (target, options) => {
    if (umount2(target, options?.detach === true ? MNT_DETACH : 0) === 0) return;
    const errno = lastErrno();
    if (errno !== EINVAL && errno !== ENOENT)
      throw systemCallError({ call: 'unmount', object: `"${target}"`, errno }, 'mount-failed');
  },
  lockFile: path => {
    fs.mkdirSync(dirname(path), { recursive: true });
    const fd = fs.openSync(path, 'a', 0o600); // never closed: the lock lives as long as the process
    if (flock(fd, LOCK_EX_NB) === 0) return true;
    const errno = lastErrno();
    fs.closeSync(fd);
    if (errno === EWOULDBLOCK) return false;
    throw systemCallError({ call: 'lock', object: `"${path}"`, errno });
  },
};

/** openat2(2): within the root as if it were "/", no magic links. */
function openBeneath(rootFd: number, path: string): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(O_PATH | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), 16);
  const fd = openat2(SYS_openat2, rootFd, path, how, how.length);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  throw systemCallError(
    { call: 'find', object: `"${path}" in the volume`, errno },
    errno === ENOENT ? 'mount-source' : undefined,
  );
}

/** The call with another working directory. Nothing else runs in between: the call is synchronous, and all paths of ours absolute. */
function within(directory: string | undefined, call: () => number): number {
  if (directory === undefined) return call();
  const before = process.cwd();
  process.chdir(directory);
  try {
    return call();
  } finally {
    process.chdir(before);
  }
}
