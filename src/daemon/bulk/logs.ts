/**
 * Logs of a service or of tasks as one stream: one bulk stream a task, lines in the order in which they come. A task whose log
 * cannot be had gives one line with the problem; the others go on. When following a service, its new tasks are taken in.
 *
 * Keeps true: what waits for a slow reader is bounded; tasks beyond the limit of streams wait for their turn.
 *
 * Called by relay.ts. Not here: reading files (tasks/logs.ts).
 */
import { type Channel, openChannel } from '../../channel.js';
import { CoveyError, toProblem } from '../../errors.js';
import type { BulkFrame, LogsLine, LogsRequest, Service, Task } from '../../gen/types.js';
import { isEnded, type Store, stateRank, type View } from '../../raft/store.js';
import { pushTo } from './node.js';
import type { OpenTaskStream } from './relay.js';
import { getTask } from './target.js';

export interface MergeOptions {
  readonly store: Store;
  readonly open: OpenTaskStream;
  readonly request: LogsRequest;
  readonly signal: AbortSignal;
}

const linesMax = 64;
const streamsAtOnce = 100;

interface Merge extends MergeOptions {
  readonly lines: Channel<LogsLine>;
  readonly service: Service | undefined;
  readonly known: Set<string>;
  readonly waiting: Task[];
  running: number;
}

export async function* mergeLogs(options: MergeOptions): AsyncGenerator<LogsLine> {
  const { store, request } = options;
  const view = store.view();
  const service = request.service === '' ? undefined : getService(view, request.service);
  const lines = openChannel<LogsLine>(linesMax);
  const controller = new AbortController();
  const abort = (): void => controller.abort(options.signal.reason);
  options.signal.addEventListener('abort', abort, { once: true });
  if (options.signal.aborted) abort();
  const merge: Merge = {
    ...options,
    signal: controller.signal,
    lines,
    service,
    known: new Set(),
    waiting: [],
    running: 0,
  };
  const tasks = service === undefined ? request.tasks.map(text => getTask(view, text)) : tasksOf(view, service.id);
  for (const task of tasks) admit(merge, task);
  using _watch = store.watch((_events, later) => follow(merge, later));
  endWhenDone(merge);
  try {
    yield* lines;
  } finally {
    options.signal.removeEventListener('abort', abort);
    controller.abort(new CoveyError('cancelled', 'Cannot go on: nobody reads the logs any more'));
    lines.close();
  }
}

/** Those that have or had a container, oldest first. */
function tasksOf(view: View, serviceId: string): readonly Task[] {
  return [...view.tasksOfService(serviceId)]
    .filter(hasLog)
    .sort((left, right) => left.meta.createdAtMs - right.meta.createdAtMs);
}

function hasLog(task: Task): boolean {
  const { state } = task.status;
  return stateRank(state) >= stateRank('starting') && state !== 'rejected' && state !== 'orphaned';
}

function admit(merge: Merge, task: Task): void {
  if (merge.known.has(task.id)) return;
  merge.known.add(task.id);
  merge.waiting.push(task);
  begin(merge);
}

function begin(merge: Merge): void {
  while (merge.running < streamsAtOnce) {
    const task = merge.waiting.shift();
    if (task === undefined) return;
    merge.running += 1;
    void copyTask(merge, task).finally(() => {
      merge.running -= 1;
      begin(merge);
      endWhenDone(merge);
    });
  }
}

function follow(merge: Merge, view: View): void {
  if (merge.lines.ended() || !merge.request.follow) return;
  if (merge.service !== undefined) {
    for (const task of view.tasksOfService(merge.service.id))
      if (hasLog(task) && !isEnded(task.status.state)) admit(merge, task);
  }
  endWhenDone(merge);
}

/** No stream is open, and none can come: tasks were asked for, or the service is gone, or nobody follows. */
function endWhenDone(merge: Merge): void {
  if (merge.running > 0 || merge.waiting.length > 0) return;
  const more =
    merge.request.follow &&
    merge.service !== undefined &&
    merge.store.view().find('service', merge.service.id) !== undefined;
  if (!more) merge.lines.close();
}

async function copyTask(merge: Merge, task: Task): Promise<void> {
  const nodeName = merge.store.view().find('node', task.nodeId)?.spec.name ?? task.nodeId;
  const head = { taskId: task.id, taskName: nameOf(task, nodeName), nodeName };
  const { follow: following, tail, sinceMs, untilMs, container } = merge.request;
  // The caller sends nothing; an empty stream downwards.
  const down = openChannel<BulkFrame>(1);
  try {
    const start: BulkFrame = {
      body: { kind: 'logs', taskId: task.id, container, follow: following, tail, sinceMs, untilMs },
    };
    for await (const { body } of merge.open(task, start, { down, signal: merge.signal })) {
      if (body.kind === 'data' && body.data.length > 0) await pushTo(merge.lines, { ...head, data: body });
      if (body.kind === 'end' && body.problem !== undefined)
        await pushTo(merge.lines, { ...head, problem: body.problem });
      if (merge.lines.ended()) return;
    }
  } catch (error) {
    if (!merge.signal.aborted) await pushTo(merge.lines, { ...head, problem: toProblem(error) });
  }
}

/** "web.1", or "web.rack1" for a task whose slot is its node. */
function nameOf(task: Task, nodeName: string): string {
  return `${task.serviceName}.${task.slot === 0 ? nodeName : task.slot}`;
}

function getService(view: View, text: string): Service {
  const exact = view.find('service', text) ?? view.findByName('service', text);
  if (exact !== undefined) return exact;
  const found = [...view.list('service')].filter(service => service.id.startsWith(text));
  const [first, second] = found;
  if (first === undefined)
    throw new CoveyError('not-found', `Cannot find service "${text}"`, { hint: 'covey service ls' });
  if (second !== undefined)
    throw new CoveyError('ambiguous', `Cannot tell which service "${text}" is`, { state: `${found.length} begin so` });
  return first;
}
