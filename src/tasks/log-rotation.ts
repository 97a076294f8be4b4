/**
 * Keeps logs below their cap: a log that has reached it is renamed to `.1`, the older ones move up, the oldest goes, and its
 * monitor opens a new file. Nothing is lost: what conmon writes in between still goes to the renamed file.
 *
 * A log that does not grow is looked at seldom, one that grows fast each second. Not here: reading across it (logs.ts).
 */
import type { Files } from '../host.js';
import { rotatedMax } from './logs.js';
import { reopenLog } from './runtime/conmon.js';

export const logMaxBytes = 10 * 2 ** 20;
const waitMaxMs = 8_000;
const waitMinMs = 1_000;
/** Growth of a log in one wait from which on it is looked at each second. */
const fastBytes = 2 ** 20;

export interface LogLook {
  readonly sizeBytes: number;
  readonly waitMs: number;
}

/** When to look again. */
export function planLook(before: LogLook | undefined, sizeBytes: number): LogLook {
  const grown = sizeBytes - (before?.sizeBytes ?? 0);
  const waitMs = grown >= fastBytes ? waitMinMs : Math.min(waitMaxMs, (before?.waitMs ?? waitMinMs / 2) * 2);
  return { sizeBytes, waitMs };
}

/** Renames from the oldest on; `.<rotatedMax - 1>` is the last that is kept, so that there are rotatedMax files in all. */
export async function rotateLog(
  files: Pick<Files, 'rename' | 'findStat' | 'remove' | 'writePipe'>,
  log: { readonly path: string; readonly bundle: string },
): Promise<void> {
  const last = rotatedMax - 1;
  await files.remove(`${log.path}.${last}`);
  for (let number = last; number > 1; number -= 1) {
    const from = `${log.path}.${number - 1}`;
    if ((await files.findStat(from)) !== undefined) await files.rename(from, `${log.path}.${number}`);
  }
  await files.rename(log.path, `${log.path}.1`);
  reopenLog(files, log.bundle);
}
