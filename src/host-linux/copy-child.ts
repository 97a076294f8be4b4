/**
 * The child of the daemon that copies files out of a container, or into it, for `covey cp`. It enters the mount namespace of
 * the container, so that the kernel itself keeps every path within it: links, mounts and volumes are those that the container
 * sees. Nothing of the container is run or loaded. All calls are synchronous, because only this thread is in there.
 *
 *   fd 0  archive in    fd 1  archive out    fd 3  one line, the request    fd 4  lines, the answers
 *
 * Called by daemon/main.ts under a hidden argument. Not here: the daemon's end (tasks/copy.ts).
 */
import * as fs from 'node:fs';
import { CoveyError, errnoOf, toProblem } from '../errors.js';
import type { CopyStat, Problem } from '../gen/types.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';
import { parseStat } from './processes.js';
import { type IdMap, openUnpack, packTree } from './tree-copy.js';

export interface CopyRequest {
  /** Process 1 of the container, as the host sees it. */
  readonly pid: number;
  /** Of that process: another one may bear its number by now. */
  readonly startTicks: number;
  /** Within the container. */
  readonly path: string;
  readonly kind: 'stat' | 'out' | 'into';
  readonly followLink: boolean;
  /** Into: keep the owners of the archive. */
  readonly archive: boolean;
}

export type CopyAnswer =
  | ({ readonly kind: 'stat' } & CopyStat)
  | { readonly kind: 'done' }
  | { readonly kind: 'failure'; readonly problem: Problem };

const chunkBytes = 262_144;
const CLONE_FS = 0x200;
const CLONE_NEWNS = 0x2_0000;
const CAPABILITY_VERSION_3 = 0x2008_0522;

/** Serves one request and ends the process. */
export function runCopyChild(): void {
  const answer = (line: CopyAnswer): void => writeAll(4, Buffer.from(`${JSON.stringify(line)}\n`));
  try {
    // The line comes from our own daemon, which wrote it from this type.
    serve(JSON.parse(readLine(3)) as CopyRequest, answer);
    answer({ kind: 'done' });
  } catch (error) {
    answer({ kind: 'failure', problem: toProblem(explain(error)) });
  }
  process.exit(0);
}

function explain(error: unknown): unknown {
  if (error instanceof CoveyError || errnoOf(error) === undefined) return error;
  const code = errnoOf(error) === 'ENOSPC' ? 'no-space' : errnoOf(error) === 'ENOENT' ? 'not-found' : 'copy-failed';
  return new CoveyError(code, `Cannot copy: ${error instanceof Error ? error.message : String(error)}`);
}

function serve(request: CopyRequest, answer: (line: CopyAnswer) => void): void {
  const ids = enter(request);
  const path = Buffer.from(request.path).toString('latin1');
  if (request.kind === 'stat') {
    answer({ kind: 'stat', ...statOf(path, request.followLink) });
    return;
  }
  if (request.kind === 'out') {
    const name = path.endsWith('/.') || path === '/' ? '.' : (path.replace(/\/+$/, '').split('/').at(-1) ?? '.');
    for (const piece of packTree({ path, name, followLink: request.followLink || path.endsWith('/'), ids }))
      writeAll(1, piece);
    return;
  }
  const owner = request.archive ? ('archive' as const) : { uid: 0, gid: 0 };
  checkDirectory(path);
  const unpack = openUnpack({ directory: path, owner, setuid: true, ids });
  const buffer = Buffer.alloc(chunkBytes);
  for (let got = read(0, buffer); got > 0; got = read(0, buffer)) unpack.push(buffer.subarray(0, got));
  unpack.finish();
}

function checkDirectory(path: string): void {
  const stat = fs.statSync(Buffer.from(path, 'latin1'), { throwIfNoEntry: false });
  if (stat?.isDirectory()) return;
  const state = stat === undefined ? 'there is no such directory' : 'it is no directory';
  throw new CoveyError('not-found', `Cannot copy into "${Buffer.from(path, 'latin1').toString()}": ${state}`, {
    hint: 'covey exec TASK mkdir -p DIRECTORY',
  });
}

function statOf(path: string, follow: boolean): CopyStat {
  const bytes = Buffer.from(path, 'latin1');
  const own = fs.lstatSync(bytes, { throwIfNoEntry: false });
  const stat = follow && own?.isSymbolicLink() ? fs.statSync(bytes, { throwIfNoEntry: false }) : own;
  return {
    exists: stat !== undefined,
    directory: stat?.isDirectory() ?? false,
    link: stat?.isSymbolicLink() ?? false,
    sizeBytes: stat?.size ?? 0,
    mode: (stat?.mode ?? 0) & 0o7777,
    modifiedAtMs: Math.floor(stat?.mtimeMs ?? 0),
    linkTarget: stat?.isSymbolicLink() ? fs.readlinkSync(bytes, 'utf8') : '',
  };
}

/** From here on this thread sees the files of the container, and acts as its root. How its ids map to ours. */
function enter({ pid, startTicks }: CopyRequest): IdMap {
  const namespace = fs.openSync(`/proc/${pid}/ns/mnt`, fs.constants.O_RDONLY);
  const [uids, gids] = ['uid_map', 'gid_map'].map(name => parseMap(fs.readFileSync(`/proc/${pid}/${name}`, 'utf8')));
  if (parseStat(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')).startTicks !== startTicks) {
    throw new CoveyError('task-not-running', 'Cannot enter the container: it ended just now');
  }
  const unshare = libcFunction<[number], number>('int unshare(int flags)');
  const setns = libcFunction<[number, number], number>('int setns(int fd, int type)');
  check(unshare(CLONE_FS), 'part from the files of', 'the daemon');
  check(setns(namespace, CLONE_NEWNS), 'enter the mounts of', `process ${pid}`);
  fs.closeSync(namespace);
  const [uid, gid] = [uids?.(0) ?? 0, gids?.(0) ?? 0];
  if (uid !== 0 || gid !== 0) actAs(uid, gid);
  return { inside: id => inverse(id, uid), outside: id => uids?.(id) ?? id };
}

/** Of a namespace whose ids are one range: that is how covey makes them. */
function inverse(id: number, base: number): number {
  return id >= base ? id - base : id;
}

/** From ids inside to ids outside, by the lines of uid_map. */
function parseMap(text: string): (id: number) => number {
  const rows = text
    .trim()
    .split('\n')
    .map(line => line.trim().split(/\s+/).map(Number));
  return id => {
    for (const [inside = 0, outside = 0, count = 0] of rows) {
      if (id >= inside && id < inside + count) return outside + (id - inside);
    }
    throw new CoveyError('copy-failed', `Cannot give a file to id ${id}: the user namespace of the container has none`);
  };
}

/** Files of an id-mapped mount can be made only by an id that is mapped; our rights stay. */
function actAs(uid: number, gid: number): void {
  const setfsuid = libcFunction<[number], number>('int setfsuid(unsigned int id)');
  const setfsgid = libcFunction<[number], number>('int setfsgid(unsigned int id)');
  const capget = libcFunction<[Buffer, Buffer], number>('int capget(void *header, _Out_ void *data)');
  const capset = libcFunction<[Buffer, Buffer], number>('int capset(void *header, const void *data)');
  setfsgid(gid);
  setfsuid(uid);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  const data = Buffer.alloc(24);
  check(capget(header, data), 'read', 'our capabilities');
  for (const at of [0, 12]) data.writeUInt32LE(data.readUInt32LE(at + 4), at); // effective as permitted
  check(capset(header, data), 'set', 'our capabilities');
}

function check(result: number, call: string, object: string): void {
  if (result !== 0) throw systemCallError({ call, object, errno: lastErrno() });
}

function readLine(fd: number): string {
  let text = '';
  const buffer = Buffer.alloc(4_096);
  while (!text.includes('\n')) {
    const got = read(fd, buffer);
    if (got === 0) break;
    text += buffer.toString('utf8', 0, got);
  }
  return text;
}

function writeAll(fd: number, piece: Buffer): void {
  for (let at = 0; at < piece.length; ) at += patiently(fd, POLLOUT, () => fs.writeSync(fd, piece, at));
}

function read(fd: number, buffer: Buffer): number {
  return patiently(fd, POLLIN, () => fs.readSync(fd, buffer));
}

const poll = libcFunction<[Buffer, number, number], number>(
  'int poll(void *sockets, unsigned long count, int timeout)',
);
const POLLIN = 1;
const POLLOUT = 4;

/** Our pipes do not wait by themselves: they are sockets of the daemon's event loop. */
function patiently(fd: number, event: number, work: () => number): number {
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN') throw error;
      const socket = Buffer.alloc(8);
      socket.writeInt32LE(fd, 0);
      socket.writeInt16LE(event, 4);
      poll(socket, 1, -1);
    }
  }
}
