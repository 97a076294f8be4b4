/**
 * Files for walks through what is this machine's own, a root file system for instance: each look is done at once. A walk takes
 * dozens of them, and a look by another thread costs ten times as much as the look itself.
 *
 * Not for paths that people name: those may lie on a file system that hangs.
 *
 * Called by prepare.ts, log-rotation.ts and the image store. Not here: files in general (host.ts).
 */
import type { Files } from '../host.js';

export function quickFiles(files: Files): Files {
  return {
    ...files,
    findStat: async path => files.findStatSync(path),
    readText: async path => files.findTextSync(path) ?? (await files.readText(path)),
  };
}
