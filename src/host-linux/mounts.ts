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
const flock = libcFunction<[number, number], number>('int flock(int fd, int operation)');

const MNT_DETACH = 2;
const EINVAL = 22;
const ENOENT = 2;
const EWOULDBLOCK = 11;
const LOCK_EX_NB = 2 | 4;

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

export const linuxMounts: Pick<Kernel, 'mount' | 'unmount' | 'lockFile'> = {
  mount: ({ source, target, type, flags, data, directory, inside }) => {
    const call = (): number => (mountCall(source, target, type, flags, data ?? null) === 0 ? 0 : lastErrno());
    const errno = within(directory, () => insideNamespace(inside, call));
    if (errno === 0) return;
    throw systemCallError(
      { call: `mount ${type || 'bind'} "${source}" on`, object: `"${target}"`, errno },
      'mount-failed',
    );
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
