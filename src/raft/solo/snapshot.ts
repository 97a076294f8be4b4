/**
 * Snapshot files of the solo log: the whole state at one index, as a chain of frames whose last one is empty, so that a file
 * that was cut short at any place is known as such. Written beside and renamed, hence whole or absent.
 *
 * Called by recover.ts and solo-log.ts. Not here: what a snapshot holds (store/machine.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Clock, Files } from '../../host.js';
import { encodeFrame, scanFrames } from './frame.js';

export type SoloFiles = Pick<
  Files,
  'read' | 'list' | 'rename' | 'remove' | 'makeDirectory' | 'syncDirectory' | 'openAppend'
>;

export function snapshotName(index: number): string {
  return `snapshot-${String(index).padStart(16, '0')}`;
}

export function logName(firstIndex: number): string {
  return `log-${String(firstIndex).padStart(16, '0')}`;
}

/** Writes the pieces; lets other work run between them. Returns the size of the file. */
export async function writeSnapshot(
  { files, clock, directory }: { readonly files: SoloFiles; readonly clock: Clock; readonly directory: string },
  { index, term, pieces }: { readonly index: number; readonly term: number; readonly pieces: Iterable<Uint8Array> },
  signal: AbortSignal,
): Promise<number> {
  const path = `${directory}/${snapshotName(index)}`;
  const temporary = `${path}.tmp`;
  await files.remove(temporary);
  let sizeBytes = 0;
  {
    await using file = await files.openAppend(temporary);
    let previous = 0;
    const write = async (entries: readonly Uint8Array[], firstIndex: number): Promise<void> => {
      const frame = encodeFrame({ firstIndex, term, previous }, entries);
      previous = frame.checksum;
      sizeBytes += frame.sizeBytes;
      await file.append(frame.pieces);
    };
    let count = 0;
    for (const piece of pieces) {
      await write([piece], index + count);
      count += 1;
      await clock.sleep(0, signal);
    }
    await write([], index + count);
    await file.sync();
  }
  await files.rename(temporary, path);
  await files.syncDirectory(directory);
  return sizeBytes;
}

export async function readSnapshot(
  files: SoloFiles,
  path: string,
): Promise<{ readonly bytes: Uint8Array; readonly sizeBytes: number; readonly term: number }> {
  const content = asBuffer(await files.read(path));
  const { frames, tail } = scanFrames(content);
  const last = frames.at(-1);
  if (tail.kind !== 'clean' || last === undefined || last.entries.length > 0) {
    const at = tail.kind === 'clean' ? content.length : tail.at;
    throw damaged(path, at, tail.kind === 'damaged' ? tail.why : 'it ends too early');
  }
  return { bytes: Buffer.concat(frames.flatMap(frame => frame.entries)), sizeBytes: content.length, term: last.term };
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function damaged(path: string, at: number, why: string): CoveyError {
  return new CoveyError('state-damaged', `Cannot read "${path}" at offset ${at}: ${why}`, {
    state: 'nothing was changed',
    hint: 'restore the data directory from a backup, or move it away and begin anew',
  });
}
