/**
 * A failed disk call as an error that a person can act on. Whatever failed, what was on its way counts as lost.
 *
 * Called by: wal.ts, storage-server.ts. Not here: damage that is found when reading (segment.ts).
 */
import { CoveyError, errnoOf, messageOf } from '../../errors.js';

export function storageFailure(verb: string, folder: string, cause: unknown): CoveyError {
  if (cause instanceof CoveyError) return cause;
  const message = `Cannot ${verb} the Raft storage in "${folder}"`;
  switch (errnoOf(cause)) {
    case 'ENOSPC':
      return new CoveyError('no-space', message, {
        state: messageOf(cause),
        hint: 'free space on that file system and start this node again',
        cause,
      });
    case 'EROFS':
      return new CoveyError('log-failed', message, {
        state: 'the file system is mounted read-only',
        hint: 'look for its reason in dmesg, mount it read-write and start this node again',
        cause,
      });
    default:
      return new CoveyError('log-failed', message, {
        state: `${messageOf(cause)}; what was on its way to the disk counts as lost`,
        hint: 'look at the disk (dmesg, smartctl), then start this node again',
        cause,
      });
  }
}
