/**
 * Verbs of tasks as the daemon asks an agent for them, and a program that shows whether it runs.
 */
import type { Task, TaskAnswer, TaskVerb, VerbStart } from '../../src/gen/types.js';
import { type Rig, waitMaxMs } from './fixtures.js';

export function ask(rig: Rig, task: Task, verb: TaskVerb, more: Partial<VerbStart> = {}): Promise<TaskAnswer> {
  const start: VerbStart = { taskId: task.id, container: '', verb, signal: '', term: 1, ...more };
  return rig.agent.verb(start, AbortSignal.timeout(waitMaxMs));
}

/** A program that counts for as long as it is let. */
export const counting = [
  'sh',
  '-c',
  'trap "exit 7" TERM; i=0; while true; do i=$((i+1)); echo $i > /tmp/count; usleep 5000; done',
];
