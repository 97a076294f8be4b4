/**
 * What the child that unpacks images asks of the kernel: a view of the file system in which only its own folder can be
 * written, with no network; attributes that only root may set; a file system flushed to disk.
 *
 * For the process of tasks/image/unpack-child.ts only: `enterJail` cannot be undone.
 */
import * as fs from 'node:fs';
import { CoveyError } from '../errors.js';
import { linuxClock, linuxRandom } from './clock.js';
import { errnoName, lastErrno, libcFunction, systemCallError } from './libc.js';
import { mountFlags } from './mounts.js';

const unshare = libcFunction<[number], number>('int unshare(int flags)');
const mount = libcFunction<[string | null, string, string | null, number, string | null], number>(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const mountSetattr = libcFunction<[number, number, string, number, Buffer, number], number>(
  'long syscall(long number, int folder, const char *path, unsigned int flags, void *attributes, size_t size)',
);
const lsetxattr = libcFunction<[Buffer, string, Buffer, number, number], number>(
  'int lsetxattr(const void *path, const char *name, const void *value, size_t size, int flags)',
);
const umount2 = libcFunction<[string, number], number>('int umount2(const char *target, int flags)');
const pipe2 = libcFunction<[Buffer, number], number>('int pipe2(void *ends, int flags)');
const fcntl = libcFunction<[number, number, number], number>('int fcntl(int fd, int command, int value)');
const syncfs = libcFunction<[number], number>('int syncfs(int fd)');

const CLONE_NEWNS = 0x2_0000;
const CLONE_NEWUTS = 0x400_0000;
const CLONE_NEWIPC = 0x800_0000;
const CLONE_NEWNET = 0x4000_0000;
const SYS_mount_setattr = 442; // the same on all processors
const AT_FDCWD = -100;
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_NOSUID = 2n;
const MOUNT_ATTR_NODEV = 4n;
const MOUNT_ATTR_NOEXEC = 8n;
const O_CLOEXEC = 0o2000000;
const F_SETPIPE_SZ = 1031;
const MNT_DETACH = 2;
const ENOSYS = 38;
/** Where tar and what it needs lie. */
const systemPaths = ['/usr', '/bin', '/sbin', '/lib', '/lib64', '/etc', '/dev', '/proc'];

/**
 * From here on this thread, and every process it starts, sees all file systems read-only but for `writable`, which holds
 * neither devices nor programs that work; and no network, unless it is asked for. Other threads of the process are not
 * touched.
 *
 * Mounts that are not needed are let go at once: a copy of the mounts of a container would keep them alive.
 */
function enterJail(writable: string, readable: readonly string[], options = { network: false }): void {
  const network = options.network ? 0 : CLONE_NEWNET;
  check(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | network), 'make namespaces for', writable);
  check(
    mount(null, '/', null, mountFlags.recursive | mountFlags.private, null),
    'make private the mounts of',
    writable,
  );
  for (const point of mountPoints()) {
    const isNeeded = [writable, ...readable, ...systemPaths].some(
      path => path === point || path.startsWith(`${point}/`),
    );
    if (point !== '/' && !isNeeded) umount2(point, MNT_DETACH); // gone already when its parent went
  }
  check(mount(writable, writable, null, mountFlags.bind, null), 'bind', writable);
  if (!setMount('/', AT_RECURSIVE, { set: MOUNT_ATTR_RDONLY, clear: 0n })) {
    // Linux before 5.12: the root alone.
    check(
      mount(null, '/', null, mountFlags.remount | mountFlags.bind | mountFlags.readOnly, null),
      'make read-only',
      '/',
    );
    return;
  }
  setMount(writable, 0, { set: MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, clear: MOUNT_ATTR_RDONLY });
}

function mountPoints(): readonly string[] {
  const lines = fs.readFileSync('/proc/thread-self/mountinfo', 'utf8').split('\n');
  const unescaped = (text: string): string =>
    text.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return lines.flatMap(line => (line === '' ? [] : [unescaped(line.split(' ')[4] ?? '')]));
}

/** False when the kernel does not have the call. */
function setMount(path: string, flags: number, change: { readonly set: bigint; readonly clear: bigint }): boolean {
  const attributes = Buffer.alloc(32);
  attributes.writeBigUInt64LE(change.set, 0);
  attributes.writeBigUInt64LE(change.clear, 8);
  if (mountSetattr(SYS_mount_setattr, AT_FDCWD, path, flags, attributes, attributes.length) === 0) return true;
  if (lastErrno() === ENOSYS) return false;
  throw systemCallError({ call: 'change the mount', object: `"${path}"`, errno: lastErrno() });
}

function check(result: number, call: string, path: string): void {
  if (result !== 0) throw systemCallError({ call, object: `"${path}"`, errno: lastErrno() });
}

/** Of the file itself, not of what a link points to. The path is bytes: it need not be UTF-8. */
function setAttribute(path: Uint8Array, name: string, value: string): void {
  const bytes = Buffer.from(value);
  if (lsetxattr(Buffer.concat([path, Buffer.alloc(1)]), name, bytes, bytes.length, 0) === 0) return;
  throw new CoveyError(
    'internal',
    `Cannot set the attribute ${name} of "${Buffer.from(path).toString('utf8')}": ${errnoName(lastErrno())}`,
  );
}

/** Everything written to the file system of the path so far is on disk when this returns. */
function syncFileSystem(path: string): void {
  const fd = fs.openSync(path, 'r');
  try {
    check(syncfs(fd), 'sync the file system of', path);
  } finally {
    fs.closeSync(fd);
  }
}

function makePipe(bytes: number): { readonly read: number; readonly write: number } {
  const ends = Buffer.alloc(8);
  if (pipe2(ends, O_CLOEXEC) !== 0) throw systemCallError({ call: 'make', object: 'a pipe', errno: lastErrno() });
  const [read, write] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  fcntl(write, F_SETPIPE_SZ, bytes); // where that is too much it stays as it is
  return { read, write };
}

/** What `runUnpackChild` of tasks/image wants. */
export const linuxJail = { enterJail, setAttribute, syncFileSystem, makePipe, clock: linuxClock, random: linuxRandom };
