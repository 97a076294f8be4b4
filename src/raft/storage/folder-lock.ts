/**
 * The lock on the folder of a log: flock on a file in it, so that it goes with the process that held it, however that
 * ended; nobody ever has to judge a leftover file.
 *
 * Called by: wal-worker.ts and the recovery commands, before anything in the folder is read.
 * Not here: the lock of the daemon's whole data directory (Host).
 */
import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { CoveyError } from '../../errors.js';

const LOCK_EXCLUSIVE = 2;
const LOCK_NOT_WAITING = 4;

/** Takes the lock or throws `daemon-running`; disposing gives it back. */
export function openFolderLock(folder: string): Disposable {
  const path = `${folder}/lock`;
  const flock = koffi.load('libc.so.6').func('int flock(int fd, int operation)');
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  if (flock(fd, LOCK_EXCLUSIVE | LOCK_NOT_WAITING) !== 0) {
    closeSync(fd);
    throw new CoveyError('daemon-running', `Cannot use the Raft log in "${folder}": another process does`, {
      state: `the lock on "${path}" is held`,
      hint: 'stop the other coveyd, or give this one another data directory',
    });
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}
