/**
 * The console of this process. Everything is opened when first used: `covey --help` touches the output only. Modules of Node are
 * taken by `getBuiltinModule` where they are used, because importing node:fs alone evaluates all that it exports (8 ms).
 *
 * Not here: pseudo terminals that we make ourselves (terminal.ts).
 */

import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Console, CreatedFile, Input, Output } from '../console.js';
import { CoveyError, errnoOf } from '../errors.js';
import { linuxClock } from './clock.js';

const interrupts = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function openConsole(): Console {
  return {
    args: process.argv.slice(2),
    env: process.env,
    directory: process.cwd(),
    homeDirectory: process.env['HOME'],
    clock: linuxClock,
    stdin: openInput(),
    stdout: openOutput(1, () => process.stdout),
    stderr: openOutput(2, () => process.stderr),
    findFile: path => attempt(path, () => process.getBuiltinModule('node:fs').readFileSync(path)),
    findKind: path => {
      const stat = attempt(path, () => process.getBuiltinModule('node:fs').statSync(path));
      return stat === undefined ? undefined : stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : 'other';
    },
    openFile: async path => {
      try {
        const { open } = process.getBuiltinModule('node:fs/promises');
        const handle = await open(path, 'r');
        const { size } = await handle.stat();
        return { sizeBytes: size, chunks: handle.createReadStream({ highWaterMark: 256 * 1024 }) };
      } catch (cause) {
        throw readError(path, cause);
      }
    },
    createFile,
    connectSocket,
    onInterrupt: call => {
      const listeners = interrupts.map(name => [name, () => call(name)] as const);
      for (const [name, listener] of listeners) process.on(name, listener);
      return {
        [Symbol.dispose]: () => {
          for (const [name, listener] of listeners) process.removeListener(name, listener);
        },
      };
    },
  };
}

async function createFile(path: string, { mode = 0o644 } = {}): Promise<CreatedFile> {
  const { open, rename, rm } = process.getBuiltinModule('node:fs/promises');
  const temporary = `${path}.${process.pid}.tmp`;
  const explained = async <Value>(work: Promise<Value>): Promise<Value> => {
    try {
      return await work;
    } catch (cause) {
      const errno = errnoOf(cause);
      const code = errno === 'ENOSPC' ? 'no-space' : errno === 'EACCES' ? 'no-permission' : 'internal';
      throw new CoveyError(code, `Cannot write "${path}": ${errno ?? 'it failed'}`, { cause });
    }
  };
  const handle = await explained(open(temporary, 'wx', mode));
  let isKept = false;
  return {
    write: async content => {
      for (let at = 0; at < content.length; ) at += (await explained(handle.write(content, at))).bytesWritten;
    },
    keep: async () => {
      await explained(handle.sync());
      await explained(rename(temporary, path));
      isKept = true;
      const folder = await explained(open(dirname(path), 'r'));
      await explained(folder.sync());
      await folder.close();
    },
    [Symbol.asyncDispose]: async () => {
      await handle.close();
      if (!isKept) await rm(temporary, { force: true });
    },
  };
}

function connectSocket(path: string): Promise<Duplex> {
  const { connect } = process.getBuiltinModule('node:net');
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  });
}

function attempt<Result>(path: string, work: () => Result): Result | undefined {
  try {
    return work();
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined;
    throw readError(path, cause);
  }
}

function readError(path: string, cause: unknown): CoveyError {
  const errno = errnoOf(cause);
  const code = errno === 'ENOENT' ? 'not-found' : errno === 'EACCES' ? 'no-permission' : 'internal';
  const why =
    errno === 'EISDIR' ? 'it is a directory' : errno === 'ENOENT' ? 'there is no such file' : (errno ?? 'it failed');
  return new CoveyError(code, `Cannot read "${path}": ${why}`, { cause });
}

function openInput(): Input {
  return {
    isTerminal: process.getBuiltinModule('node:tty').isatty(0),
    read: async function* () {
      try {
        for await (const chunk of process.stdin) yield chunk as Uint8Array;
      } finally {
        process.stdin.unref();
      }
    },
    setRaw: raw => {
      if (process.stdin.isTTY) process.stdin.setRawMode(raw);
    },
  };
}

/** The stream is made when first written to or asked: making one costs milliseconds. */
function openOutput(fd: 1 | 2, stream: () => NodeJS.WriteStream): Output {
  const gone = new AbortController();
  let listening = false;
  const listen = (): NodeJS.WriteStream => {
    const out = stream();
    if (!listening) {
      listening = true;
      out.on('error', error => gone.abort(error));
    }
    return out;
  };
  return {
    isTerminal: process.getBuiltinModule('node:tty').isatty(fd),
    size: () => ({ rows: stream().rows || 24, columns: stream().columns || 80 }),
    write: content =>
      new Promise(resolve => {
        if (gone.signal.aborted) return resolve();
        listen().write(content, () => resolve());
      }),
    onResize: call => {
      stream().on('resize', call);
      return {
        [Symbol.dispose]: () => {
          stream().removeListener('resize', call);
        },
      };
    },
    gone: gone.signal,
  };
}
