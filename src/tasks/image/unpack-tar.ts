/**
 * The tar that writes a layer: started in the jail of the child that unpacks, with six capabilities and no network, and fed
 * through a pipe.
 *
 * Keeps true: a tar that ends early ends the feeding, and its words say why.
 *
 * Not here: what it is fed with (layer-filter.ts), the jail (host-linux/jail.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { CoveyError, messageOf } from '../../errors.js';
import { noSpace } from './unpack-io.js';
import type { UnpackKernel } from './unpack-protocol.js';

export interface TarProcess {
  /** Resolves when tar can take more. Rejects when it has ended. */
  readonly write: (pieces: readonly Uint8Array[]) => Promise<void>;
  /** After the last bytes: resolves when tar has written everything. */
  readonly finish: () => Promise<void>;
  readonly kill: () => void;
}

/** Capabilities that unpacking needs; all others are taken from tar, where setpriv(1) is there to do it. */
const tarCapabilities = '-all,+chown,+dac_override,+fowner,+fsetid,+mknod,+setfcap';
const queueMaxBytes = 4 * 2 ** 20;
/** The most that a process may ask for without more rights. */
const pipeBytes = 2 ** 20;
const errorTextMaxBytes = 4_096;

export interface TarOptions {
  /** The process that starts it has a network: tar gets none. */
  readonly offline: boolean;
  readonly makePipe: UnpackKernel['makePipe'];
}

/** Through a pipe of our own: Node's are sockets, where each byte costs twice as much. */
export function startTar(directory: string, { offline, makePipe }: TarOptions): TarProcess {
  const [program = '', ...args] = tarCommand(directory, offline);
  const pipe = makePipe(pipeBytes);
  const child = spawn(program, args, {
    stdio: [pipe.read, 'ignore', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  });
  fs.closeSync(pipe.read); // else a write would never learn that tar has ended
  const errors = collectErrors(child);
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', cause =>
      reject(
        new CoveyError('internal', `Cannot start ${program}: ${messageOf(cause)}`, { hint: 'apt-get install tar' }),
      ),
    );
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(tarError(directory, errors().trim(), code === null ? String(signal) : `exit code ${code}`));
    });
  });
  ended.catch(() => undefined); // told to whoever writes or finishes
  const feeder = openFeeder(pipe.write);
  return {
    write: async pieces => {
      if (child.exitCode !== null) return await ended;
      if (!feeder.push(pieces)) await Promise.race([feeder.room(), ended]);
    },
    finish: async () => {
      await Promise.race([feeder.close(), ended]);
      await ended;
    },
    kill: () => {
      child.kill('SIGKILL');
      void feeder.close();
    },
  };
}

function tarCommand(directory: string, offline: boolean): readonly string[] {
  const tar = [
    'tar',
    '--extract',
    '--file=-',
    `--directory=${directory}`,
    '--numeric-owner',
    '--same-owner',
    '--same-permissions',
  ];
  // As much as a pipe held before it was made larger: with the usual 10 KiB a sixth of the time goes into calls.
  tar.push('--blocking-factor=256');
  // Whiteouts and late parents must not touch the times of directories; no names of this machine's users are looked up.
  tar.push('--delay-directory-restore', '--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability');
  tar.push('--warning=no-timestamp');
  const find = (name: string): string | undefined =>
    ['/usr/bin', '/bin'].map(folder => `${folder}/${name}`).find(path => fs.existsSync(path));
  const setpriv = find('setpriv');
  const unshare = offline ? find('unshare') : undefined;
  const jailed = [setpriv ?? '', `--bounding-set=${tarCapabilities}`, '--inh-caps=-all', '--no-new-privs', '--'];
  return [
    ...(unshare === undefined ? [] : [unshare, '--net', '--']),
    ...(setpriv === undefined ? tar : [...jailed, ...tar]),
  ];
}

function collectErrors(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.on('data', (piece: Buffer) => {
    if (text.length < errorTextMaxBytes) text += piece.toString('utf8');
  });
  return () => text;
}

interface Feeder {
  /** False when enough waits: `room` resolves when it does not any more. */
  readonly push: (pieces: readonly Uint8Array[]) => boolean;
  readonly room: () => Promise<void>;
  /** Closes the pipe once all is written, or nobody reads any more. */
  readonly close: () => Promise<void>;
}

/** One write at a time, of all that waits, in a thread: this one goes on meanwhile. */
function openFeeder(fd: number): Feeder {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  let isOver = false;
  let writing: Promise<void> | undefined;
  let room = Promise.withResolvers<void>();
  const write = async (): Promise<void> => {
    while (waiting.length > 0) {
      const pieces = waiting;
      waiting = [];
      bytes = 0;
      room.resolve();
      room = Promise.withResolvers();
      // What went wrong is told by the end of tar.
      if (!isOver) isOver = !(await writeAll(fd, pieces));
    }
    writing = undefined;
  };
  return {
    push: pieces => {
      for (const piece of pieces) {
        waiting.push(piece);
        bytes += piece.length;
      }
      if (waiting.length > 0) writing ??= write();
      return bytes < queueMaxBytes;
    },
    room: () => room.promise,
    close: async () => {
      while (writing !== undefined) await writing;
      if (fd >= 0) fs.closeSync(fd);
      fd = -1;
    },
  };
}

/** False when nobody reads any more. */
async function writeAll(fd: number, pieces: readonly Uint8Array[]): Promise<boolean> {
  for (let left = pieces; left.length > 0; ) {
    const written = await new Promise<number>(resolve => {
      fs.writev(fd, left, (error, count) => resolve(error === null ? count : 0));
    });
    if (written === 0) return false;
    left = after(left, written);
  }
  return true;
}

/** What is left of the pieces without their first bytes. */
function after(pieces: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let skip = bytes;
  for (const [at, piece] of pieces.entries()) {
    if (skip < piece.length) return [piece.subarray(skip), ...pieces.slice(at + 1)];
    skip -= piece.length;
  }
  return [];
}

function tarError(directory: string, errors: string, how: string): CoveyError {
  // tar says nothing of the reason when only a part of a block went in.
  const isFull =
    /No space left on device|Disk quota exceeded|Wrote only \d+ of \d+ bytes/.test(errors) && !/setxattr/.test(errors);
  if (isFull) return noSpace(directory);
  const first = errors.split('\n').slice(0, 3).join('; ');
  return new CoveyError('image-layer', 'Cannot unpack a layer: tar could not write what it holds', {
    state: `${how}: ${first}`,
  });
}
