/**
 * Logs of a service or of tasks as one stream, one bulk stream a task. What is there already is merged by time, as far as it
 * comes in time; what is written from then on is told as it comes. A task whose log cannot be had gives one line with the
 * problem, and the others go on. When following a service, its new tasks are taken in, and a node that comes back is asked
 * again for what came after the last line.
 *
 * Keeps true: what waits for a slow reader is bounded for each task; tasks beyond the limit of streams wait for their turn.
 *
 * Called by relay.ts, and by local-tasks.ts for the tasks of one node. Not here: the order of lines (merge-lines.ts), reading files (tasks/logs.ts).
 */
import { openChannel } from '../../channel.js';
import { CoveyError, codeOf, toProblem } from '../../errors.js';
import type { BulkFrame, LogsLine, LogsRequest, Task } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { isEnded, type Store, stateRank } from '../../raft/store.js';
import { getObject } from '../control/find.js';
import { type LineMerge, type LineSource, openLineMerge } from './merge-lines.js';
import type { OpenTaskStream } from './relay.js';
import { checkTaskVerb, getTask, taskNameOf } from './target.js';

/** The tasks that there are: of the cluster, or of one node. */
export interface LogTasks {
  readonly find: (id: string) => Task | undefined;
  /** By what people call it; throws not-found. */
  readonly get: (text: string) => Task;
  /** The id of a service by what people call it; throws not-found. */
  readonly getService: (text: string) => string;
  readonly hasService: (id: string) => boolean;
  readonly ofService: (id: string) => Iterable<Task>;
  readonly nodeName: (nodeId: string) => string;
  readonly watch: (changed: () => void) => Disposable;
}

export function tasksOfStore(store: Pick<Store, 'view' | 'watch'>): LogTasks {
  const { view, watch } = store;
  return {
    find: id => view().find('task', id),
    get: text => getTask(view(), text),
    getService: text => getObject(view(), 'service', text).id,
    hasService: id => view().find('service', id) !== undefined,
    ofService: id => view().tasksOfService(id),
    nodeName: nodeId => view().find('node', nodeId)?.spec.name ?? nodeId,
    watch: changed => watch(() => changed()),
  };
}

export interface MergeOptions {
  readonly tasks: LogTasks;
  readonly clock: Clock;
  readonly open: OpenTaskStream;
  readonly request: LogsRequest;
  readonly signal: AbortSignal;
}

const streamsAtOnce = 100;
/** Between two questions to a node that is away. */
const askAgainMs = 2_000;

interface Merge extends MergeOptions {
  readonly lines: LineMerge;
  readonly serviceId: string | undefined;
  readonly known: Set<string>;
  readonly waiting: Wanted[];
  running: number;
}

/** A task, and from where on its lines are wanted. */
interface Wanted {
  readonly task: Task;
  readonly tail: number;
  readonly sinceMs: number;
}

export async function* mergeLogs(options: MergeOptions): AsyncGenerator<LogsLine> {
  const { request } = options;
  const serviceId = request.service === '' ? undefined : options.tasks.getService(request.service);
  const controller = new AbortController();
  const abort = (): void => controller.abort(options.signal.reason);
  options.signal.addEventListener('abort', abort, { once: true });
  if (options.signal.aborted) abort();
  const lines = openLineMerge(options.clock, controller.signal);
  const merge: Merge = {
    ...options,
    signal: controller.signal,
    lines,
    serviceId,
    known: new Set(),
    waiting: [],
    running: 0,
  };
  const tasks =
    serviceId === undefined ? request.tasks.map(text => taskToRead(merge, text)) : tasksOf(merge, serviceId);
  for (const task of tasks) admit(merge, { task, tail: request.tail, sinceMs: request.sinceMs });
  using _watch = options.tasks.watch(() => follow(merge));
  endWhenDone(merge);
  try {
    yield* lines.take();
  } finally {
    options.signal.removeEventListener('abort', abort);
    controller.abort(new CoveyError('cancelled', 'Cannot go on: nobody reads the logs any more'));
    lines.close();
  }
}

function taskToRead({ tasks }: MergeOptions, text: string): Task {
  const task = tasks.get(text);
  checkTaskVerb('logs', task);
  return task;
}

/** Those that have or had a container, oldest first. */
function tasksOf({ tasks }: MergeOptions, serviceId: string): readonly Task[] {
  return [...tasks.ofService(serviceId)]
    .filter(hasLog)
    .sort((left, right) => left.meta.createdAtMs - right.meta.createdAtMs);
}

function hasLog(task: Task): boolean {
  const { state } = task.status;
  return stateRank(state) >= stateRank('starting') && state !== 'rejected' && state !== 'orphaned';
}

function admit(merge: Merge, wanted: Wanted): void {
  if (merge.known.has(wanted.task.id)) return;
  merge.known.add(wanted.task.id);
  merge.waiting.push(wanted);
  begin(merge);
}

function begin(merge: Merge): void {
  while (merge.running < streamsAtOnce) {
    const wanted = merge.waiting.shift();
    if (wanted === undefined) return;
    merge.running += 1;
    const source = merge.lines.open();
    void copyTask(merge, wanted, source).finally(() => {
      source.end();
      merge.running -= 1;
      begin(merge);
      endWhenDone(merge);
    });
  }
}

/** Of a task that came later every line is new. */
function follow(merge: Merge): void {
  if (merge.signal.aborted || !merge.request.follow) return;
  if (merge.serviceId !== undefined) {
    for (const task of merge.tasks.ofService(merge.serviceId))
      if (hasLog(task) && !isEnded(task.status.state)) admit(merge, { task, tail: -1, sinceMs: merge.request.sinceMs });
  }
  endWhenDone(merge);
}

/** No stream is open, and none can come: tasks were asked for, or the service is gone, or nobody follows, or its time is over. */
function endWhenDone(merge: Merge): void {
  if (merge.running > 0 || merge.waiting.length > 0) return;
  const { request, serviceId, tasks } = merge;
  const isOver = request.untilMs > 0 && merge.clock.wallMs() >= request.untilMs;
  const more = request.follow && !isOver && serviceId !== undefined && tasks.hasService(serviceId);
  if (!more) merge.lines.close();
}

/** The last line that came: where to go on when the stream broke. */
interface Mark {
  atMs: number;
  /** Lines of that very millisecond. */
  count: number;
}

async function copyTask(merge: Merge, wanted: Wanted, source: LineSource): Promise<void> {
  const { task } = wanted;
  const nodeName = merge.tasks.nodeName(task.nodeId);
  const head = { taskId: task.id, taskName: taskNameOf(task, nodeName), nodeName };
  const mark: Mark = { atMs: 0, count: 0 };
  let told = false;
  for (;;) {
    try {
      await copyStream(merge, { wanted, source, head, mark });
      return;
    } catch (error) {
      if (merge.signal.aborted) return;
      if (!told) await source.push({ ...head, problem: toProblem(error) });
      told = true;
      if (!mayComeBack(merge, task, error)) return;
    }
    source.live();
    await merge.clock.sleep(askAgainMs, merge.signal).catch(() => undefined); // the next look at the signal ends it
    if (!mayComeBack(merge, task, undefined)) return;
  }
}

function mayComeBack(merge: Merge, { id }: Task, error: unknown): boolean {
  if (merge.signal.aborted || !merge.request.follow) return false;
  if (error !== undefined && codeOf(error) !== 'node-unreachable') return false;
  const task = merge.tasks.find(id);
  return task !== undefined && !isEnded(task.status.state);
}

interface Copy {
  readonly wanted: Wanted;
  readonly source: LineSource;
  readonly head: Pick<LogsLine, 'taskId' | 'taskName' | 'nodeName'>;
  readonly mark: Mark;
}

async function copyStream(merge: Merge, { wanted, source, head, mark }: Copy): Promise<void> {
  const { task } = wanted;
  const { follow: following, untilMs, container } = merge.request;
  const isAgain = mark.count > 0;
  const [tail, sinceMs] = isAgain ? [-1, mark.atMs] : [wanted.tail, wanted.sinceMs];
  let skip = isAgain ? mark.count : 0;
  // The caller sends nothing; an empty stream downwards.
  const down = openChannel<BulkFrame>(1);
  const start: BulkFrame = {
    body: { kind: 'logs', taskId: task.id, container, follow: following, tail, sinceMs, untilMs },
  };
  for await (const { body } of merge.open(task, start, { down, signal: merge.signal })) {
    if (body.kind === 'live') source.live();
    if (body.kind === 'lost') await source.push({ ...head, problem: toProblem(lostLines()) });
    if (body.kind === 'end' && body.problem !== undefined) await source.push({ ...head, problem: body.problem });
    if (body.kind !== 'data' || body.data.length === 0) continue;
    if (skip > 0 && body.atMs === mark.atMs) {
      skip -= 1;
      continue;
    }
    skip = 0;
    mark.count = body.atMs === mark.atMs ? mark.count + 1 : 1;
    mark.atMs = body.atMs;
    await source.push({ ...head, data: body });
  }
}

function lostLines(): CoveyError {
  return new CoveyError('log-lost', 'Cannot show all lines: some were rotated away before they were read', {
    hint: 'more or larger files: --log-opt max-size=… --log-opt max-file=…',
  });
}
