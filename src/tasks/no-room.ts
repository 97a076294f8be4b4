/**
 * Why a task could not be made, when the disk had no room for it: what a mount or a runtime says of that is often something
 * else ("No such file or directory"), and would send people looking in the wrong place.
 *
 * Called by obtain.ts while what was made of the task is still there. Not here: tasks that run (usage/look.ts).
 */
import { CoveyError, codeOf, messageOf } from '../errors.js';
import type { FileSystemSpace } from '../host.js';
import { isCancellation } from '../lifetime.js';
import type { Engine } from './engine.js';
import { sizeText } from './task.js';

/** About what one container needs. */
const inodesNeeded = 16;
const bytesNeeded = 64 * 1_024;

export async function explainFailure(engine: Engine, error: unknown): Promise<unknown> {
  if (codeOf(error) === 'no-space' || isCancellation(error)) return error;
  for (const path of [engine.paths.tasks, engine.paths.bundles]) {
    const space = await engine.host.files.space(path).catch(() => undefined);
    const lack = space === undefined ? undefined : lackOf(space);
    if (lack === undefined) continue;
    // No cause: its code is not the reason, and would be the one that is shown.
    return new CoveyError(
      'no-space',
      `Cannot make the task: the file system of "${path}" is full, ${lack}; what failed: ${messageOf(error)}`,
    );
  }
  return error;
}

function lackOf({ totalInodes, freeInodes, totalBytes, freeBytes }: FileSystemSpace): string | undefined {
  if (totalInodes > 0 && freeInodes < inodesNeeded) return `${freeInodes} of ${totalInodes} inodes are free`;
  if (totalBytes > 0 && freeBytes < bytesNeeded) return `${sizeText(freeBytes)} of ${sizeText(totalBytes)} are free`;
  return undefined;
}
