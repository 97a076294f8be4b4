/**
 * task.json: the task as it was assigned, how far it came, and the boot in which that was. Written durably before anything is
 * done about it; read at the start of the daemon.
 *
 * Not here: who writes when (controller.ts, worker.ts).
 */
import { crc32 } from 'node:zlib';
import { CoveyError } from '../errors.js';
import type { Task, TaskStatus } from '../gen/types.js';
import type { Alone } from './alone.js';

export interface TaskFile {
  readonly task: Task;
  readonly status: TaskStatus;
  readonly bootId: string;
  /** The managers do not name it any more. */
  readonly unwanted: boolean;
  /** People told it to end; its node starts it no more by itself. */
  readonly asked?: boolean | undefined;
  /** Of attempts that its node opened by itself. */
  readonly alone?: Alone | undefined;
}

const formatVersion = 2;

/** First a line with the version and a checksum of the rest, so that half a file, or one with a wrong bit, is not obeyed. */
export function renderTaskFile(file: TaskFile): string {
  const text = JSON.stringify(file);
  return `${formatVersion} ${checksumOf(text)}\n${text}`;
}

function checksumOf(text: string): string {
  return crc32(text).toString(16);
}

export function parseTaskFile(path: string, text: string): TaskFile {
  const [head = '', ...rest] = text.split('\n');
  const body = rest.join('\n');
  if (head !== `${formatVersion} ${checksumOf(body)}`) {
    throw new CoveyError('state-damaged', `Cannot read "${path}": it is cut short, damaged or of another version`, {
      state: `it begins with "${head.slice(0, 40)}"`,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw new CoveyError('state-damaged', `Cannot read "${path}": it is not JSON`, { cause });
  }
  if (!isTaskFile(value)) {
    throw new CoveyError('state-damaged', `Cannot read "${path}": it holds no task`);
  }
  return value;
}

function isTaskFile(value: unknown): value is TaskFile {
  if (typeof value !== 'object' || !value) return false;
  const file: { task?: unknown; status?: unknown; bootId?: unknown; unwanted?: unknown } = value;
  if (typeof file.bootId !== 'string' || typeof file.unwanted !== 'boolean') return false;
  return hasText(file.task, 'id') && hasText(file.task, 'desired') && hasText(file.status, 'state');
}

function hasText(value: unknown, key: string): boolean {
  return typeof value === 'object' && !!value && key in value && typeof Reflect.get(value, key) === 'string';
}
