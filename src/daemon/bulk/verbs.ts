/**
 * One verb for one task, from the manager to the task's node and back with the answer, within a time.
 *
 *     caller            manager                         node
 *     RunTaskVerb  ->   known state allows it?     ->   seen state allows it? carries it out
 *                  <-   TaskAnswer, or the problem <-   Answer, or End with the problem
 *
 * Keeps true: a command of a manager that leads no more is refused by the node; a caller that goes away ends the waiting.
 * A stop that has begun goes on without its caller.
 *
 * Called by relay.ts. Not here: which verb goes in which state (tasks/verbs.ts).
 */
import { openChannel } from '../../channel.js';
import { CoveyError, fromProblem } from '../../errors.js';
import type { BulkFrame, Task, TaskAnswer, TaskVerbRequest } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { deadline } from '../../lifetime.js';
import type { Store } from '../../raft/store.js';
import type { OpenTaskStream } from './relay.js';
import { checkTaskVerb, getTask } from './target.js';

export interface VerbParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly term: () => number;
  readonly open: OpenTaskStream;
}

/** Beyond the grace of a stop. */
const answerMs = 20_000;
const graceDefaultMs = 10_000;

export async function runTaskVerb(
  parts: VerbParts,
  request: TaskVerbRequest,
  signal: AbortSignal,
): Promise<TaskAnswer> {
  const task = getTask(parts.store.view(), request.task);
  if (!checkTaskVerb(request.verb, task)) return { status: task.status, processes: [] };
  const ms = answerMs + (request.verb === 'stop' ? graceOf(task, request) : 0);
  using limit = deadline(parts.clock, {
    ms,
    parent: signal,
    reason: () =>
      new CoveyError('timeout', `Cannot ${request.verb} task "${request.task}": its node does not answer`, {
        state: `nothing came within ${ms / 1000} s`,
        hint: 'covey node ls',
      }),
  });
  const down = openChannel<BulkFrame>(1);
  const { container, verb, signal: name, graceMs } = request;
  const start: BulkFrame = {
    body: { kind: 'verb', taskId: task.id, container, verb, signal: name, graceMs, term: parts.term() },
  };
  for await (const { body } of parts.open(task, start, { down, signal: limit.signal })) {
    if (body.kind === 'answer') return body;
    if (body.kind === 'end' && body.problem !== undefined) throw fromProblem(body.problem);
  }
  throw new CoveyError(
    'node-unreachable',
    `Cannot tell what became of task "${request.task}": its node gave no answer`,
  );
}

function graceOf(task: Task, { graceMs }: TaskVerbRequest): number {
  return graceMs ?? Math.max(...task.spec.containers.map(container => container.stopGraceMs ?? graceDefaultMs));
}
