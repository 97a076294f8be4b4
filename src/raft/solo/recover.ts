/**
 * Brings a state machine to where it was: newest snapshot, then every log from there on. A torn end of the last log is cut
 * off (it was never acknowledged); damage anywhere else is refused with file and offset.
 *
 * Called by solo-log.ts when it is opened. Not here: telling torn from damaged (frame.ts).
 */
import type { AppendFile } from '../../host.js';
import type { StateMachine } from '../log.js';
import { encodeFrame, type Frame, follows, scanFrames } from './frame.js';
import { asBuffer, damaged, logName, readSnapshot, type SoloFiles } from './snapshot.js';

/** Where to go on. */
export interface Position {
  readonly file: AppendFile;
  /** First indexes of the logs that stand, the one that is written to last. */
  readonly logs: readonly number[];
  readonly term: number;
  /** Of the last entry. */
  readonly index: number;
  /** Of the last frame. */
  readonly checksum: number;
  readonly snapshotIndex: number;
  readonly snapshotBytes: number;
  /** Entries and bytes that came after the snapshot. */
  readonly entries: number;
  readonly bytes: number;
}

interface Found {
  readonly snapshots: readonly number[];
  readonly logs: readonly number[];
}

interface Reading {
  readonly files: SoloFiles;
  readonly directory: string;
  readonly machine: StateMachine;
}

export async function recover(reading: Reading): Promise<Position> {
  const { files, directory, machine } = reading;
  await files.makeDirectory(directory, { mode: 0o700 });
  const found = await findFiles(files, directory);
  const snapshotIndex = found.snapshots.at(-1) ?? 0;
  let snapshot = { sizeBytes: 0, term: 0 };
  if (snapshotIndex > 0) {
    const { bytes, ...rest } = await readSnapshot(files, `${directory}/${nameOf('snapshot', snapshotIndex)}`);
    machine.restore(bytes);
    snapshot = rest;
  }
  const logs = found.logs.filter((_, at) => (found.logs[at + 1] ?? Number.POSITIVE_INFINITY) > snapshotIndex + 1);
  const { last, index, bytes } = await readLogs(reading, logs, snapshotIndex);
  const term = Math.max(snapshot.term, last?.frame.term ?? 0) + 1;
  const previous = last?.frame.checksum ?? 0;
  const head = { firstIndex: index + 1, term, previous };
  const file = last === undefined ? await createLog({ files, directory }, head) : await reopenLog(files, last, head);
  await removeOld({ files, directory }, { found, keep: logs, snapshotIndex });
  const { checksum } = encodeFrame(head, []);
  const entries = index - snapshotIndex;
  const stand = logs.length === 0 ? [index + 1] : logs;
  return { file, logs: stand, term, index, checksum, snapshotIndex, snapshotBytes: snapshot.sizeBytes, entries, bytes };
}

function nameOf(kind: 'snapshot' | 'log', index: number): string {
  return `${kind}-${String(index).padStart(16, '0')}`;
}

async function findFiles(files: SoloFiles, directory: string): Promise<Found> {
  const names = [...(await files.list(directory))].sort();
  for (const name of names.filter(each => each.endsWith('.tmp'))) await files.remove(`${directory}/${name}`);
  const numbers = (kind: string): number[] =>
    names.flatMap(name => {
      const match = /^([a-z]+)-([0-9]{16})$/.exec(name);
      return match?.[1] === kind ? [Number(match[2])] : [];
    });
  return { snapshots: numbers('snapshot'), logs: numbers('log') };
}

interface Last {
  readonly path: string;
  readonly frame: Frame;
  /** Where the next frame belongs; what lies beyond was torn. */
  readonly end: number;
}

async function readLogs(
  { files, directory, machine }: Reading,
  logs: readonly number[],
  snapshotIndex: number,
): Promise<{ readonly last: Last | undefined; readonly index: number; readonly bytes: number }> {
  let last: Last | undefined;
  let index = snapshotIndex;
  let bytes = 0;
  if (logs.length === 0 && snapshotIndex > 0) {
    throw damaged(
      `${directory}/${nameOf('log', snapshotIndex + 1)}`,
      0,
      'the log that belongs to the snapshot is missing',
    );
  }
  for (const [at, first] of logs.entries()) {
    const path = `${directory}/${nameOf('log', first)}`;
    const content = asBuffer(await files.read(path));
    const { frames, tail } = scanFrames(content);
    const begin = frames[0];
    if (tail.kind === 'damaged') throw damaged(path, tail.at, tail.why);
    if (tail.kind === 'torn' && at < logs.length - 1) throw damaged(path, tail.at, 'it ends too early');
    if (begin === undefined) throw damaged(path, 0, 'its first frame is missing');
    if (last === undefined ? first > snapshotIndex + 1 : !follows(last.frame, begin)) {
      throw damaged(path, 0, 'what came before it is missing');
    }
    for (const frame of frames) {
      for (const [offset, entry] of frame.entries.entries()) {
        if (frame.firstIndex + offset <= index) continue;
        index = frame.firstIndex + offset;
        machine.apply(index, entry);
      }
    }
    const frame = frames.at(-1) as Frame;
    last = { path, frame, end: frame.end };
    bytes += frame.end;
    const logEnd = frame.firstIndex + frame.entries.length - 1;
    if (logEnd < index) throw damaged(path, frame.end, `it ends at entry ${logEnd}, before the snapshot at ${index}`);
  }
  return { last, index, bytes };
}

async function reopenLog(files: SoloFiles, last: Last, head: Parameters<typeof encodeFrame>[0]): Promise<AppendFile> {
  const file = await files.openAppend(last.path);
  try {
    if (file.sizeBytes() > last.end) {
      await file.truncate(last.end);
      await file.sync();
    }
    await file.append(encodeFrame(head, []).pieces);
    await file.sync();
    return file;
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

/** A new log with its opening frame; it has its name only when that is on disk. */
export async function createLog(
  { files, directory }: { readonly files: SoloFiles; readonly directory: string },
  head: Parameters<typeof encodeFrame>[0],
): Promise<AppendFile> {
  const path = `${directory}/${logName(head.firstIndex)}`;
  await files.remove(`${path}.tmp`);
  const file = await files.openAppend(`${path}.tmp`);
  try {
    await file.append(encodeFrame(head, []).pieces);
    await file.sync();
    await files.rename(`${path}.tmp`, path);
    await files.syncDirectory(directory);
    return file;
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

async function removeOld(
  { files, directory }: { readonly files: SoloFiles; readonly directory: string },
  {
    found,
    keep,
    snapshotIndex,
  }: { readonly found: Found; readonly keep: readonly number[]; readonly snapshotIndex: number },
): Promise<void> {
  for (const log of found.logs) if (!keep.includes(log)) await files.remove(`${directory}/${nameOf('log', log)}`);
  for (const snapshot of found.snapshots) {
    if (snapshot !== snapshotIndex) await files.remove(`${directory}/${nameOf('snapshot', snapshot)}`);
  }
}
