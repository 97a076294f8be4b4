/**
 * User namespaces as maps of owners, and mounts that show a tree's owners through one (mount_setattr(2), Linux 5.12).
 *
 * The kernel takes a map only as a user namespace, and makes one only for a process of a single thread: a short-lived
 * unshare(1) lends its own, which then lives by our descriptor alone.
 *
 * Not here: which ids map to which (tasks/userns.ts).
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CoveyError, errnoOf } from '../errors.js';
import type { Kernel } from '../host.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';

// The same numbers on all architectures: they were given together (asm-generic/unistd.h).
const SYS_open_tree = 428;
const SYS_move_mount = 429;
const SYS_mount_setattr = 442;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const OPEN_TREE_CLONE = 1;
const O_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_IDMAP = 0x00100000n;

const openTree = libcFunction<[number, number, string, number], number>(
  'long syscall(long number, int directory, const char *path, unsigned int flags)',
);
const moveMount = libcFunction<[number, number, string, number, string, number], number>(
  'long syscall(long number, int from, const char *fromPath, int to, const char *toPath, unsigned int flags)',
);
const mountSetattr = libcFunction<[number, number, string, number, Uint8Array, number], number>(
  'long syscall(long number, int fd, const char *path, unsigned int flags, const uint8_t *attributes, size_t size)',
);

const lendTimeoutMs = 5_000;
const lookMs = 1;

export const linuxUserNamespaces: Pick<Kernel, 'openUserNamespace' | 'bindMapped'> = {
  openUserNamespace: async ({ firstId, count }) => {
    // It waits for its input to end, so that it goes with us whatever happens.
    const child = spawn('unshare', ['--user', '--', 'cat'], { stdio: ['pipe', 'ignore', 'pipe'], env: systemEnv });
    let words = '';
    child.stderr.on('data', (chunk: Buffer) => {
      words = `${words}${chunk.toString('utf8')}`.slice(0, 500);
    });
    const failed = new Promise<never>((_resolve, reject) => {
      child.once('error', cause => reject(new CoveyError('not-found', 'Cannot start unshare', { cause })));
      child.once('close', code =>
        reject(
          new CoveyError(
            'no-user-namespace',
            `Cannot make a user namespace: ${words.trim() || `unshare ended with ${code}`}`,
          ),
        ),
      );
    });
    failed.catch(() => undefined); // raced below; ending it is an exit as well
    try {
      return await Promise.race([failed, lend(child.pid ?? 0, `0 ${firstId} ${count}\n`)]);
    } finally {
      child.kill('SIGKILL');
    }
  },
  bindMapped: ({ source, target, namespaceFd }) => {
    const tree = openTree(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC);
    if (tree < 0) throw systemCallError({ call: 'open the tree', object: `"${source}"`, errno: lastErrno() });
    try {
      const attributes = Buffer.alloc(32); // struct mount_attr: set, clear, propagation, userns_fd
      attributes.writeBigUInt64LE(MOUNT_ATTR_IDMAP, 0);
      attributes.writeBigUInt64LE(BigInt(namespaceFd), 24);
      if (mountSetattr(SYS_mount_setattr, tree, '', AT_EMPTY_PATH, attributes, attributes.length) !== 0) {
        throw systemCallError({ call: 'map the owners of', object: `"${source}"`, errno: lastErrno() }, 'mount-failed');
      }
      if (moveMount(SYS_move_mount, tree, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) !== 0) {
        throw systemCallError({ call: 'mount on', object: `"${target}"`, errno: lastErrno() }, 'mount-failed');
      }
    } finally {
      fs.closeSync(tree);
    }
  },
};

const systemEnv = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

/** Once the child has its own namespace: writes the map into it, and opens it. */
async function lend(pid: number, map: string): Promise<number> {
  const path = `/proc/${pid}/ns/user`;
  const ours = fs.readlinkSync('/proc/self/ns/user');
  for (let waitedMs = 0; ; waitedMs += lookMs) {
    const theirs = readLink(path);
    if (theirs !== undefined && theirs !== ours) break;
    if (waitedMs >= lendTimeoutMs) throw new CoveyError('timeout', 'Cannot make a user namespace: unshare hangs');
    await sleep(lookMs);
  }
  for (const name of ['uid_map', 'gid_map']) {
    try {
      fs.writeFileSync(`/proc/${pid}/${name}`, map);
    } catch (cause) {
      throw new CoveyError('no-user-namespace', `Cannot map ids: the kernel refused "${map.trim()}"`, { cause });
    }
  }
  return fs.openSync(path, 'r');
}

function readLink(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined; // it is not there yet, or gone: then its exit tells
  }
}
