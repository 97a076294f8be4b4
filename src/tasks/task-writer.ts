/**
 * Writes a task down, one write after the other, each with what is so when its turn comes. A full disk must not keep a task
 * from ending: what is not written is found out again.
 *
 * Called by controller.ts. Not here: the form of the file (task-file.ts).
 */
import type { TaskId } from '../ids.js';
import type { Engine } from './engine.js';
import { renderTaskFile, type TaskFile } from './task-file.js';

export type WriteTask = (file: () => TaskFile) => Promise<void>;

export function openTaskWriter(engine: Engine, id: TaskId): WriteTask {
  let writing: Promise<void> = Promise.resolve();
  return file => {
    const write = async (): Promise<void> => {
      try {
        await engine.host.files.replace(engine.paths.taskFile(id), renderTaskFile(file()));
      } catch (error) {
        engine.log.error('cannot write a task down', { task: id, error });
      }
    };
    writing = writing.then(write);
    return writing;
  };
}
