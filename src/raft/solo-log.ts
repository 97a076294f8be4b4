/**
 * The log of a cluster with one manager: entries are appended to a file and applied once they are on disk. Entries that wait
 * together share one write and one fdatasync. An answered entry survives kill -9 and loss of power.
 *
 * When the log has grown large a new one is begun and the state is written as a snapshot beside it; then the old files go. A
 * full disk refuses entries (no-space) and loses nothing. A failed fdatasync is never tried again, because nobody knows then
 * what is on disk: the log stops.
 *
 * Called by daemon/node.ts through openStore. Not here: frames (solo/frame.ts), recovery (solo/recover.ts), a Raft group.
 */
import { CoveyError, codeOf } from '../errors.js';
import type { AppendFile, Clock } from '../host.js';
import type { Logger } from '../telemetry.js';
import type { Log, ProposeOutcome } from './log.js';
import { encodeFrame } from './solo/frame.js';
import { createLog, recover } from './solo/recover.js';
import { logName, type SoloFiles, snapshotName, writeSnapshot } from './solo/snapshot.js';
import type { StoreMachine } from './store/machine.js';

export interface SoloLogParts {
  readonly directory: string;
  readonly files: SoloFiles;
  readonly clock: Clock;
  readonly machine: StoreMachine;
  readonly log: Logger;
  /** The log can't go on; the daemon has to be started anew. */
  readonly onFailed: (error: CoveyError) => void;
  readonly limits?: Partial<SoloLogLimits>;
}

export interface SoloLogLimits {
  readonly entryMaxBytes: number;
  /** Bytes of entries that share a write. */
  readonly frameMaxBytes: number;
  /** A snapshot is made after so many entries or bytes, whichever is first, but not before the log is twice its size. */
  readonly snapshotEntries: number;
  readonly snapshotBytes: number;
}

const defaultLimits: SoloLogLimits = {
  entryMaxBytes: 2 << 20,
  frameMaxBytes: 4 << 20,
  snapshotEntries: 20_000,
  snapshotBytes: 8 << 20,
};

interface Waiting {
  readonly entry: Uint8Array;
  readonly resolve: (outcome: ProposeOutcome) => void;
}

interface Running {
  readonly parts: SoloLogParts;
  readonly limits: SoloLogLimits;
  readonly queue: Waiting[];
  readonly controller: AbortController;
  readonly term: number;
  file: AppendFile;
  /** First index of the log that is written to, and of older ones that still stand. */
  logs: number[];
  index: number;
  applied: number;
  checksum: number;
  snapshotIndex: number;
  snapshotBytes: number;
  /** Since the last snapshot. */
  entries: number;
  bytes: number;
  snapshotting: Promise<void> | undefined;
  stopped: boolean;
}

export async function openSoloLog(parts: SoloLogParts): Promise<Log> {
  const position = await recover(parts);
  const log: Running = {
    ...position,
    parts,
    limits: { ...defaultLimits, ...parts.limits },
    queue: [],
    controller: new AbortController(),
    applied: position.index,
    logs: [...position.logs],
    snapshotting: undefined,
    stopped: false,
  };
  let pumping: Promise<void> | undefined;
  const pump = async (): Promise<void> => {
    await Promise.resolve(); // what is proposed in the same turn shares the write
    while (log.queue.length > 0) await writeFrame(log);
    pumping = undefined;
  };
  return {
    term: () => log.term,
    lastApplied: () => log.applied,
    propose: entry => {
      const limitBytes = log.limits.entryMaxBytes;
      if (log.stopped) return Promise.resolve({ kind: 'stopped' });
      if (entry.length > limitBytes) return Promise.resolve({ kind: 'too-large', sizeBytes: entry.length, limitBytes });
      return new Promise(resolve => {
        log.queue.push({ entry, resolve });
        pumping ??= pump();
      });
    },
    [Symbol.asyncDispose]: async () => {
      const wasStopped = log.stopped;
      log.stopped = true;
      await pumping;
      log.controller.abort(new CoveyError('cancelled', 'Cannot go on: the log is closed'));
      await log.snapshotting;
      if (!wasStopped) await writeLastFrame(log);
      await log.file[Symbol.asyncDispose]();
    },
  };
}

/** Writes the next entries, makes them durable, applies and answers them. */
async function writeFrame(log: Running): Promise<void> {
  const waiting = takeFrame(log);
  const head = { firstIndex: log.index + 1, term: log.term, previous: log.checksum };
  const frame = encodeFrame(
    head,
    waiting.map(({ entry }) => entry),
  );
  const begin = log.file.sizeBytes();
  try {
    await log.file.append(frame.pieces);
  } catch (error) {
    await undoWrite(log, { waiting, begin, error });
    return;
  }
  try {
    await log.file.sync();
  } catch (error) {
    stop(log, waiting, error);
    return;
  }
  log.checksum = frame.checksum;
  log.index += waiting.length;
  log.entries += waiting.length;
  log.bytes += frame.sizeBytes;
  applyAll(log, waiting);
  if (!log.stopped) await rotateWhenLarge(log);
}

function takeFrame({ queue, limits }: Running): readonly Waiting[] {
  let bytes = 0;
  let count = 0;
  for (const { entry } of queue) {
    if (count > 0 && bytes + entry.length > limits.frameMaxBytes) break;
    bytes += entry.length;
    count += 1;
  }
  return queue.splice(0, count);
}

function applyAll(log: Running, waiting: readonly Waiting[]): void {
  for (const [at, { entry, resolve }] of waiting.entries()) {
    try {
      log.parts.machine.apply(log.applied + 1, entry);
    } catch (error) {
      stop(log, waiting.slice(at), error);
      return;
    }
    log.applied += 1;
    resolve({ kind: 'committed', index: log.applied });
  }
}

/**
 * A write that failed is taken back. When the disk is full, all that waits is refused with it: later entries rest on the
 * earlier ones and must not get through alone.
 */
async function undoWrite(
  log: Running,
  { waiting, begin, error }: { readonly waiting: readonly Waiting[]; readonly begin: number; readonly error: unknown },
): Promise<void> {
  const path = `${log.parts.directory}/${logName(log.logs.at(-1) ?? 1)}`;
  try {
    await log.file.truncate(begin);
  } catch (cause) {
    stop(log, waiting, cause);
    return;
  }
  if (codeOf(error) !== 'no-space') stop(log, waiting, error);
  else for (const { resolve } of [...waiting, ...log.queue.splice(0)]) resolve({ kind: 'no-space', path });
}

function stop(log: Running, waiting: readonly Waiting[], cause: unknown): void {
  log.stopped = true;
  for (const { resolve } of waiting) resolve({ kind: 'unknown' });
  for (const { resolve } of log.queue.splice(0)) resolve({ kind: 'stopped' });
  log.parts.onFailed(
    cause instanceof CoveyError && cause.code === 'newer-schema'
      ? cause
      : new CoveyError('log-failed', 'Cannot go on with the log of this manager', { cause }),
  );
}

async function rotateWhenLarge(log: Running): Promise<void> {
  const { limits } = log;
  const isLarge = log.bytes >= Math.max(limits.snapshotBytes, 2 * log.snapshotBytes);
  if (log.snapshotting !== undefined || !(isLarge || log.entries >= limits.snapshotEntries)) return;
  const { directory, files } = log.parts;
  const head = { firstIndex: log.index + 1, term: log.term, previous: log.checksum };
  try {
    const file = await createLog({ files, directory }, head);
    const old = log.file;
    log.file = file;
    log.logs.push(head.firstIndex);
    log.checksum = encodeFrame(head, []).checksum;
    await old[Symbol.asyncDispose]();
  } catch (error) {
    log.parts.log.warn('cannot begin a new log; going on with the old one', { error });
    log.entries = 0; // tried again when as much has come once more
    log.bytes = 0;
    return;
  }
  log.entries = 0;
  log.bytes = 0;
  log.snapshotting = snapshot(log, log.parts.machine.snapshotPieces()).finally(() => {
    log.snapshotting = undefined;
  });
}

/** Writes the snapshot and removes what it makes superfluous; a failure leaves the old files, which tell all. */
async function snapshot(log: Running, pieces: Iterable<Uint8Array>): Promise<void> {
  const { directory, files } = log.parts;
  const { index, snapshotIndex: oldIndex, term } = log;
  const covered = log.logs.slice(0, -1);
  try {
    log.snapshotBytes = await writeSnapshot(log.parts, { index, term, pieces }, log.controller.signal);
    log.snapshotIndex = index;
    if (oldIndex > 0) await files.remove(`${directory}/${snapshotName(oldIndex)}`);
    for (const first of covered) await files.remove(`${directory}/${logName(first)}`);
    log.logs = log.logs.filter(first => !covered.includes(first));
  } catch (error) {
    if (!log.controller.signal.aborted)
      log.parts.log.warn('cannot write a snapshot; the log goes on growing', { error });
  }
}

/** An empty frame says that all before it was synced: after a clean end the last entry can't pass for a torn one. */
async function writeLastFrame(log: Running): Promise<void> {
  try {
    const head = { firstIndex: log.index + 1, term: log.term, previous: log.checksum };
    await log.file.append(encodeFrame(head, []).pieces);
    await log.file.sync();
  } catch (error) {
    log.parts.log.warn('cannot close the log in an orderly way; nothing is lost', { error });
  }
}
