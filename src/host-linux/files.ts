/**
 * Files over node:fs. State files are replaced whole: temporary, fsync, rename, fsync of the folder, so that a crash at any
 * line leaves either the old or the new content.
 *
 * Errors name the path and keep the errno in their cause: not-found, no-space, no-permission, internal.
 */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as fsp from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CoveyError, type ErrorCode, errnoOf } from '../errors.js';
import type { FileReader, FileStat, Files } from '../host.js';
import { openAppendFile } from './append-file.js';

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'not-found',
  ENOTDIR: 'not-found',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EACCES: 'no-permission',
  EPERM: 'no-permission',
  EROFS: 'no-permission',
};

function failed(verb: string, path: string, cause: unknown): CoveyError {
  if (cause instanceof CoveyError) return cause;
  const errno = errnoOf(cause);
  return new CoveyError(
    codes[errno ?? ''] ?? 'internal',
    `Cannot ${verb} "${path}"${errno === undefined ? '' : `: ${errno}`}`,
    { cause },
  );
}

async function attempt<Result>(verb: string, path: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    throw failed(verb, path, cause);
  }
}

function attemptSync<Result>(verb: string, path: string, work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    throw failed(verb, path, cause);
  }
}

/** The result, or undefined when the path does not exist. */
async function unlessMissing<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOENT' || errno === 'ENOTDIR';
}

export const linuxFiles: Files = {
  read: path => attempt('read', path, () => fsp.readFile(path)),
  readText: path => attempt('read', path, () => fsp.readFile(path, 'utf8')),
  findText: path => attempt('read', path, () => unlessMissing(fsp.readFile(path, 'utf8'))),
  findTextSync: path => {
    try {
      return fs.readFileSync(path, 'utf8');
    } catch (cause) {
      if (isMissing(cause) || errnoOf(cause) === 'ESRCH') return undefined;
      throw failed('read', path, cause);
    }
  },
  replace: (path, content, options) =>
    attempt('write', path, () => replaceDurably(path, content, options?.mode ?? 0o600)),
  write: (path, content, options) =>
    attempt('write', path, () =>
      fsp.writeFile(path, content, options?.mode === undefined ? {} : { mode: options.mode }),
    ),
  writeSync: (path, content, options) =>
    attemptSync('write', path, () =>
      fs.writeFileSync(path, content, options?.mode === undefined ? {} : { mode: options.mode }),
    ),
  append: (path, content) => attempt('append to', path, () => fsp.appendFile(path, content)),
  makeDirectory: (path, options) =>
    attempt(
      'make directory',
      path,
      async () => void (await fsp.mkdir(path, { recursive: true, mode: options?.mode ?? 0o755 })),
    ),
  makeDirectorySync: (path, options) =>
    attemptSync(
      'make directory',
      path,
      () => void fs.mkdirSync(path, { recursive: true, mode: options?.mode ?? 0o755 }),
    ),
  list: path => attempt('list', path, async () => (await unlessMissing(fsp.readdir(path))) ?? []),
  findStat: path =>
    attempt('stat', path, async () => {
      const stat = await unlessMissing(fsp.lstat(path));
      return stat === undefined ? undefined : statOf(stat);
    }),
  findStatSync: path =>
    attemptSync('stat', path, () => {
      const stat = fs.lstatSync(path, { throwIfNoEntry: false });
      return stat === undefined ? undefined : statOf(stat);
    }),
  rename: (from, to) => attempt('rename', from, () => fsp.rename(from, to)),
  remove: path => attempt('remove', path, () => removeOne(path)),
  removeTree: path => attempt('remove', path, () => removeTree(path)),
  symlink: (target, path) => attempt('link', path, () => fsp.symlink(target, path)),
  findLink: path => attempt('read link', path, () => unlessMissing(fsp.readlink(path))),
  changeOwner: (path, uid, gid) => attempt('change the owner of', path, () => fsp.lchown(path, uid, gid)),
  changeMode: (path, mode) => attempt('change the mode of', path, () => fsp.chmod(path, mode)),
  space: path =>
    attempt('look at the space of', path, async () => {
      const found = await fsp.statfs(path);
      return {
        totalBytes: found.blocks * found.bsize,
        freeBytes: found.bavail * found.bsize,
        totalInodes: found.files,
        freeInodes: found.ffree,
      };
    }),
  watch: (path, onChange) => {
    const watcher = attemptSync('watch', path, () =>
      fs.watch(path, { persistent: false }, (_event, name) => onChange(name ?? undefined)),
    );
    watcher.on('error', () => onChange(undefined)); // the watched directory went away: look again
    return { [Symbol.asyncDispose]: async () => watcher.close() };
  },
  syncDirectory: path => attempt('sync', path, () => syncDirectory(path)),
  openAppend: openAppendFile,
  openReader: path => attempt('read', path, () => openReader(path)),
  writePipe: (path, content) => attemptSync('write to', path, () => writePipe(path, content)),
  listSync: path => {
    try {
      return fs.readdirSync(path);
    } catch (cause) {
      if (isMissing(cause)) return [];
      throw failed('list', path, cause);
    }
  },
  removeDirectorySync: path => attemptSync('remove', path, () => removeDirectory(path)),
  removeFileSync: path => {
    try {
      fs.unlinkSync(path);
    } catch (cause) {
      if (!isMissing(cause)) throw failed('remove', path, cause);
    }
  },
};

async function openReader(path: string): Promise<FileReader | undefined> {
  const file = await unlessMissing(fsp.open(path, 'r'));
  if (file === undefined) return undefined;
  return {
    read: (offset, sizeMaxBytes) =>
      attempt('read', path, async () => {
        const buffer = Buffer.allocUnsafe(sizeMaxBytes);
        const { bytesRead } = await file.read(buffer, 0, sizeMaxBytes, offset);
        return buffer.subarray(0, bytesRead);
      }),
    stat: () => attempt('stat', path, async () => statOf(await file.stat())),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

function writePipe(path: string, content: string): boolean {
  try {
    const fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    try {
      fs.writeSync(fd, content);
    } finally {
      fs.closeSync(fd);
    }
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENXIO' || errnoOf(error) === 'EPIPE' || isMissing(error)) return false;
    throw error;
  }
}

function removeDirectory(path: string): 'removed' | 'missing' | 'busy' {
  try {
    fs.rmdirSync(path);
    return 'removed';
  } catch (error) {
    if (isMissing(error)) return 'missing';
    const errno = errnoOf(error);
    if (errno === 'EBUSY' || errno === 'ENOTEMPTY') return 'busy';
    throw error;
  }
}

function statOf(stat: fs.Stats): FileStat {
  const kind = stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'other';
  return {
    kind,
    sizeBytes: stat.size,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    inode: stat.ino,
    device: stat.dev,
    modifiedMs: stat.mtimeMs,
    ...(stat.isCharacterDevice() || stat.isBlockDevice() ? { node: deviceNode(stat) } : {}),
  };
}

/** Numbers as glibc packs them into dev_t (sys/sysmacros.h). */
function deviceNode(stat: fs.Stats): NonNullable<FileStat['node']> {
  const packed = BigInt(stat.rdev);
  const major = ((packed >> 8n) & 0xfffn) | ((packed >> 32n) & 0xfffff000n);
  const minor = (packed & 0xffn) | ((packed >> 12n) & 0xffffff00n);
  return { type: stat.isBlockDevice() ? 'b' : 'c', major: Number(major), minor: Number(minor) };
}

async function replaceDurably(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const file = await fsp.open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await fsp.rename(temporary, path);
  } catch (error) {
    await fsp.rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(folder);
}

async function syncDirectory(path: string): Promise<void> {
  const folder = await fsp.open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function removeOne(path: string): Promise<void> {
  try {
    await fsp.unlink(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (isMissing(error)) return;
    if (errno !== 'EISDIR' && errno !== 'EPERM') throw error;
    await unlessMissing(fsp.rmdir(path));
  }
}

/** Refuses while something is mounted below: what is mounted there belongs to somebody else. */
async function removeTree(path: string): Promise<void> {
  const mounts = await fsp.readFile('/proc/self/mountinfo', 'utf8');
  const below = mounts.split('\n').find(line => {
    const point = line.split(' ')[4] ?? '';
    return point === path || point.startsWith(`${path}/`);
  });
  if (below !== undefined)
    throw new CoveyError('mount-failed', `Cannot remove "${path}": "${below.split(' ')[4]}" is a mount point`);
  await fsp.rm(path, { recursive: true, force: true });
}
