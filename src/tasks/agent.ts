/**
 * The agent of a node: the worker, plus logs and exec of its tasks. Opened by daemon/node.ts.
 *
 * Not here: the session with the managers (daemon/session), choosing the runtime (runtime/probe.ts).
 */
import { CoveyError } from '../errors.js';
import type { AttachStart, BulkFrame, ExecStart, LogsStart } from '../gen/types.js';
import type { TaskId } from '../ids.js';
import { deadline } from '../lifetime.js';
import type { Agent, AgentOptions } from './agent-types.js';
import { attachTo } from './attach.js';
import type { TaskController } from './controller.js';
import { copyFiles } from './copy.js';
import { type Engine, openEngine } from './engine.js';
import { execInside } from './exec-call.js';
import { getContainer } from './find-container.js';
import { logLimitsOf } from './log-rotation.js';
import { readLogs } from './logs.js';
import { removeSmallTree } from './small-tree.js';
import { readStats } from './usage/stats.js';
import { runVerb, viewOf } from './verb-actions.js';
import { checkVerb } from './verbs.js';
import { openWorker, type Worker } from './worker.js';

export function openAgent(options: AgentOptions): Agent {
  const engine = openEngine(options);
  const worker = openWorker(engine, options.lifetime);
  return {
    recover: () => worker.recover(),
    assign: update => worker.assign(update),
    reports: worker.reports,
    tasks: () => [...worker.all().values()].map(({ task, report }) => ({ ...task, status: report.status })),
    onReport: worker.onReport,
    exec: (frames, start, signal) => exec(engine, worker, { frames, start, signal }),
    logs: (start, signal) => logs(engine, worker, { start, signal }),
    attach: (frames, start, signal) => attach(engine, worker, { frames, start, signal }),
    copy: (frames, start, signal) =>
      copyFiles(engine, {
        controller: getTask(worker, start.taskId),
        start,
        frames,
        command: options.copyCommand,
        signal,
      }),
    verb: (start, signal) =>
      runVerb(engine, {
        controller: getTask(worker, start.taskId),
        start,
        changed: until => nextReport(worker, until),
        signal,
      }),
    stats: (start, signal) => readStats(engine, { start, tasks: worker.all, signal }),
    sweep: worker.sweep,
    connected: worker.connected,
    stopAll: signal => stopAll(engine, worker, signal),
  };
}

interface ExecRequest {
  readonly frames: AsyncIterable<BulkFrame>;
  readonly start: ExecStart;
  readonly signal: AbortSignal;
}

async function* exec(engine: Engine, worker: Worker, request: ExecRequest): AsyncIterable<BulkFrame> {
  const { start } = request;
  const controller = getTask(worker, start.taskId);
  const index = getContainer(controller.task, start.container);
  checkVerb('exec', viewOf(controller));
  const container = controller.containers[index];
  if (container?.phase !== 'running') {
    throw new CoveyError('task-not-running', `Cannot run a program in task ${start.taskId}: it does not run`, {
      state: `its state is ${controller.report.status.state}`,
    });
  }
  const { paths } = engine;
  const place = {
    taskId: start.taskId,
    containerId: container.containerId,
    bundle: paths.bundle(start.taskId, index),
    rootPath: `${paths.root(start.taskId, index)}/merged`,
  };
  yield* execInside(engine, place, request);
}

interface News extends AsyncDisposable {
  readonly grown: (signal: AbortSignal) => Promise<void>;
}

/** Something happened in the folder of the task, or was reported. */
function openNews(engine: Engine, worker: Worker, asked: { readonly taskId: TaskId; readonly follow: boolean }): News {
  let wake: (() => void) | undefined;
  let changed = false;
  const notice = (): void => {
    changed = true;
    wake?.();
  };
  const watch = asked.follow ? engine.host.files.watch(engine.paths.task(asked.taskId), notice) : undefined;
  const reports = worker.onReport(notice);
  return {
    grown: async signal => {
      if (!changed) {
        await new Promise<void>(resolve => {
          wake = resolve;
          signal.addEventListener('abort', notice, { once: true });
          if (signal.aborted) resolve();
        });
        signal.removeEventListener('abort', notice);
      }
      changed = false;
    },
    [Symbol.asyncDispose]: async () => {
      reports[Symbol.dispose]();
      await watch?.[Symbol.asyncDispose]();
    },
  };
}

async function* attach(
  engine: Engine,
  worker: Worker,
  request: { readonly frames: AsyncIterable<BulkFrame>; readonly start: AttachStart; readonly signal: AbortSignal },
): AsyncIterable<BulkFrame> {
  const { taskId } = request.start;
  const controller = getTask(worker, taskId);
  await using news = openNews(engine, worker, { taskId, follow: true });
  yield* attachTo(engine, { ...request, controller, grown: news.grown });
}

/** Timers hold no more; a follower without an end is begun anew by nobody after so many days. */
const longestMs = 2 ** 31 - 1;

async function* logs(
  engine: Engine,
  worker: Worker,
  request: { readonly start: LogsStart; readonly signal: AbortSignal },
): AsyncIterable<BulkFrame> {
  const { start, signal } = request;
  const { task } = getTask(worker, start.taskId);
  const index = getContainer(task, start.container);
  await using news = openNews(engine, worker, { taskId: start.taskId, follow: start.follow });
  using limit = deadline(engine.host.clock, {
    ms: start.untilMs === 0 ? longestMs : Math.min(longestMs, Math.max(0, start.untilMs - engine.host.clock.wallMs())),
    parent: signal,
    reason: () => new CoveyError('cancelled', 'Cannot follow any longer: the time that was asked for is over'),
  });
  yield* readLogs(engine.host.files, {
    path: engine.paths.log(start.taskId, index),
    filesMax: logLimitsOf(task.spec.containers[index] ?? {}).filesMax,
    tail: start.tail,
    sinceMs: start.sinceMs,
    untilMs: start.untilMs,
    follow: start.follow,
    isEnded: () => worker.find(start.taskId)?.ended ?? true,
    grown: news.grown,
    signal: start.follow ? limit.signal : signal,
  });
  yield { body: { kind: 'end' } };
}

function getTask(worker: Worker, id: TaskId): TaskController {
  const controller = worker.find(id);
  if (controller !== undefined) return controller;
  throw new CoveyError('not-found', `Cannot find task ${id} on this node`);
}

/** Resolves when something was reported, or the signal is over. */
function nextReport(worker: Worker, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      reports[Symbol.dispose]();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const reports = worker.onReport(done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}

async function stopAll(engine: Engine, worker: Worker, signal: AbortSignal): Promise<number> {
  const count = await worker.clear(signal);
  await worker.sweep();
  const stuck = engine.cgroups.removeAll();
  if (stuck.length > 0) engine.log.warn('cannot remove all cgroups', { stuck });
  await engine.secrets.close();
  await engine.userns.close();
  const { files } = engine.host;
  removeSmallTree(files, engine.paths.exits);
  removeSmallTree(files, engine.paths.bundles);
  for (const root of engine.paths.runtimeRoots) removeSmallTree(files, root);
  files.removeDirectorySync(engine.place.root.slice(0, engine.place.root.lastIndexOf('/')));
  files.removeDirectorySync(engine.paths.tasks);
  return count;
}
