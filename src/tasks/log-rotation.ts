/**
 * Keeps logs below their cap: a log that has reached it is renamed to `.1`, the older ones move up, the oldest goes, and its
 * monitor opens a new file. Nothing is lost: what conmon writes in between still goes to the renamed file.
 *
 * A log that does not grow is looked at seldom, one that grows fast each second: what is written between two looks comes on
 * top of the cap. A daemon that died between the rename and the word to the monitor says that word when it is back.
 *
 * Called by worker.ts once a second. Not here: reading across it (logs.ts).
 */
import type { ContainerSpec } from '../gen/types.js';
import type { Files } from '../host.js';
import type { TaskController } from './controller.js';
import type { Engine } from './engine.js';
import { quickFiles } from './quick-files.js';
import { reopenLog } from './runtime/conmon.js';

export interface LogLimits {
  readonly sizeMaxBytes: number;
  /** In all, the one that is written included. */
  readonly filesMax: number;
}

const logMaxBytes = 10 * 2 ** 20;
const filesMaxDefault = 3;

export function logLimitsOf({ log }: Pick<ContainerSpec, 'log'>): LogLimits {
  return {
    sizeMaxBytes: log === undefined || log.sizeMaxBytes === 0 ? logMaxBytes : log.sizeMaxBytes,
    filesMax: log === undefined || log.filesMax === 0 ? filesMaxDefault : log.filesMax,
  };
}

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

type RotationFiles = Pick<Files, 'rename' | 'findStat' | 'remove' | 'writePipe'>;

interface LogPlace {
  readonly path: string;
  readonly bundle: string;
  readonly filesMax: number;
}

/** Renames from the oldest on. The one beyond the limit goes when the new one is there, so that nothing is lost in between. */
async function rotateLog(files: RotationFiles, log: LogPlace): Promise<void> {
  const last = Math.max(1, log.filesMax - 1);
  await files.remove(`${log.path}.${last}`);
  for (let number = last; number > 1; number -= 1) {
    const from = `${log.path}.${number - 1}`;
    if ((await files.findStat(from)) !== undefined) await files.rename(from, `${log.path}.${number}`);
  }
  await files.rename(log.path, `${log.path}.1`);
  reopenLog(files, log.bundle);
}

/** One look at a log: rotates it, or goes on with a rotation that was cut off. The size it has now. */
export async function tendLog(files: RotationFiles, log: LogPlace & LogLimits): Promise<number> {
  const stat = await files.findStat(log.path);
  if (stat === undefined) {
    if ((await files.findStat(`${log.path}.1`)) !== undefined) reopenLog(files, log.bundle);
    return 0;
  }
  if (log.filesMax === 1) await files.remove(`${log.path}.1`);
  if (stat.sizeBytes < log.sizeMaxBytes) return stat.sizeBytes;
  await rotateLog(files, log);
  return 0;
}

export type TendLogs = (running: readonly TaskController[]) => Promise<void>;

/** Looks at the logs of running containers whose time has come. */
export function openLogTender(engine: Engine): TendLogs {
  const looks = new Map<string, LogLook & { readonly dueMs: number }>();
  const files = quickFiles(engine.host.files);
  let busy = false;
  const tend: TendLogs = async running => {
    const nowMs = engine.host.clock.monotonicMs();
    const paths = new Set<string>();
    for (const { task, containers } of running) {
      for (const [index, { phase }] of containers.entries()) {
        const spec = task.spec.containers[index];
        if (phase !== 'running' || spec === undefined) continue;
        const path = engine.paths.log(task.id, index);
        paths.add(path);
        const before = looks.get(path);
        if (before !== undefined && before.dueMs > nowMs) continue;
        const place = { path, bundle: engine.paths.bundle(task.id, index), ...logLimitsOf(spec) };
        const look = planLook(before, await tendLog(files, place));
        looks.set(path, { ...look, dueMs: nowMs + look.waitMs });
      }
    }
    for (const path of looks.keys()) if (!paths.has(path)) looks.delete(path);
  };
  return async running => {
    if (busy) return; // a slow disk: two at once would rename each other's files
    busy = true;
    await tend(running).finally(() => {
      busy = false;
    });
  };
}
