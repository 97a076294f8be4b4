/**
 * A file that grows at its end. Small writes go straight into the page cache (5 µs); large ones and fdatasync run in the
 * thread pool, so that the event loop stays free (0.2 ms each on the reference machine, as fast as a worker thread of its
 * own, which would cost 9 MiB).
 *
 * Called by raft/solo-log.ts. Not here: state files that are replaced whole (files.ts).
 */
import * as fs from 'node:fs';
import * as fsp from 'node:fs/promises';
import { CoveyError, type ErrorCode, errnoOf } from '../errors.js';
import type { AppendFile } from '../host.js';

const syncWriteMaxBytes = 64 << 10;

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'not-found',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EACCES: 'no-permission',
  EROFS: 'no-permission',
};

export async function openAppendFile(path: string): Promise<AppendFile> {
  const handle = await attempt('open', path, () => fsp.open(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600));
  let end = (await attempt('look at', path, () => handle.stat())).size;
  const write = async (piece: Uint8Array): Promise<void> => {
    for (let done = 0; done < piece.length; ) {
      const rest = piece.subarray(done);
      const count =
        rest.length <= syncWriteMaxBytes
          ? fs.writeSync(handle.fd, rest, 0, rest.length, end)
          : (await handle.write(rest, 0, rest.length, end)).bytesWritten;
      done += count;
      end += count;
    }
  };
  return {
    path,
    sizeBytes: () => end,
    append: pieces =>
      attempt('write to', path, async () => {
        for (const piece of pieces) await write(piece);
      }),
    sync: () => attempt('make durable', path, () => handle.datasync()),
    truncate: sizeBytes =>
      attempt('cut', path, async () => {
        await handle.truncate(sizeBytes);
        end = sizeBytes;
      }),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

async function attempt<Result>(verb: string, path: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    const errno = errnoOf(cause);
    const message = `Cannot ${verb} "${path}"${errno === undefined ? '' : `: ${errno}`}`;
    throw new CoveyError(codes[errno ?? ''] ?? 'internal', message, { cause });
  }
}
