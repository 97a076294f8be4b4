/**
 * task.json: the task as it was assigned, how far it came, and the boot in which that was. Written durably before anything is
 * done about it; read at the start of the daemon.
 *
 * Not here: who writes when (controller.ts, worker.ts).
 */
import { CoveyError } from '../errors.js';
import type { Task, TaskStatus } from '../gen/types.js';

export interface TaskFile {
  readonly task: Task;
  readonly status: TaskStatus;
  readonly bootId: string;
  /** The managers do not name it any more. */
  readonly unwanted: boolean;
}

const formatVersion = 1;

export function renderTaskFile(file: TaskFile): string {
  return JSON.stringify({ version: formatVersion, ...file });
}

export function parseTaskFile(path: string, text: string): TaskFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CoveyError('state-damaged', `Cannot read "${path}": it is not JSON`, { cause });
  }
  if (!isTaskFile(value)) {
    throw new CoveyError('state-damaged', `Cannot read "${path}": it holds no task of version ${formatVersion}`);
  }
  return value;
}

function isTaskFile(value: unknown): value is TaskFile {
  if (typeof value !== 'object' || !value) return false;
  const file: { version?: unknown; task?: unknown; status?: unknown; bootId?: unknown; unwanted?: unknown } = value;
  if (file.version !== formatVersion || typeof file.bootId !== 'string' || typeof file.unwanted !== 'boolean')
    return false;
  return hasText(file.task, 'id') && hasText(file.task, 'desired') && hasText(file.status, 'state');
}

function hasText(value: unknown, key: string): boolean {
  return typeof value === 'object' && !!value && key in value && typeof Reflect.get(value, key) === 'string';
}
