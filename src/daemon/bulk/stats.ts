/**
 * Figures of running tasks, from all nodes that have some: one bulk stream a node. A node that cannot be asked gives one
 * answer with the problem; the others go on. While figures are followed, nodes that get a first task are taken in.
 *
 * Called by relay.ts. Not here: reading the figures (tasks/usage/stats.ts).
 */
import { type Channel, openChannel } from '../../channel.js';
import { CoveyError, fromProblem, toProblem } from '../../errors.js';
import type { BulkFrame, Service, StatsAnswer, StatsRequest, Task, TaskFigures } from '../../gen/types.js';
import { asId, type ServiceId } from '../../ids.js';
import type { Store, View } from '../../raft/store.js';
import { getObject } from '../control/find.js';
import { pushTo } from './node.js';
import type { OpenTaskStream } from './relay.js';
import { getTask, taskNameOf } from './target.js';

export interface StatsOptions {
  readonly store: Store;
  readonly open: OpenTaskStream;
  readonly request: StatsRequest;
  readonly signal: AbortSignal;
}

/** Answers that wait for a slow reader; the nodes wait behind them. */
const answersMax = 64;

interface Gathering extends StatsOptions {
  readonly answers: Channel<StatsAnswer>;
  readonly service: Service | undefined;
  readonly tasks: readonly Task[];
  /** Nodes that are being asked. */
  readonly asked: Set<string>;
  running: number;
}

export async function* gatherStats(options: StatsOptions): AsyncGenerator<StatsAnswer> {
  const { store, request } = options;
  const view = store.view();
  const ended = new AbortController();
  const gathering: Gathering = {
    ...options,
    signal: AbortSignal.any([options.signal, ended.signal]),
    answers: openChannel<StatsAnswer>(answersMax),
    service: request.service === '' ? undefined : getObject(view, 'service', request.service),
    tasks: request.tasks.map(text => runningTask(view, text)),
    asked: new Set(),
    running: 0,
  };
  askNodes(gathering, view);
  using _watch = store.watch((_events, later) => {
    if (!request.once && request.tasks.length === 0) askNodes(gathering, later);
  });
  if (gathering.running === 0 && (request.once || request.tasks.length > 0)) gathering.answers.close();
  try {
    yield* gathering.answers;
  } finally {
    ended.abort(new CoveyError('cancelled', 'Cannot go on: nobody reads the figures any more'));
    gathering.answers.close();
  }
}

function runningTask(view: View, text: string): Task {
  const task = getTask(view, text);
  if (task.status.state === 'running') return task;
  throw new CoveyError('task-not-running', `Cannot show what task "${text}" uses`, {
    state: `it is ${task.status.state}`,
    hint: `covey service ps ${task.serviceName}`,
  });
}

/** One stream to each node that has a task of those asked for and no stream yet. */
function askNodes(gathering: Gathering, view: View): void {
  const { tasks, service, asked } = gathering;
  const all = tasks.length > 0 ? tasks : service === undefined ? view.list('task') : view.tasksOfService(service.id);
  const byNode = new Map<string, Task[]>();
  for (const task of all) {
    if (task.status.state !== 'running' || task.superseded) continue;
    byNode.set(task.nodeId, [...(byNode.get(task.nodeId) ?? []), task]);
  }
  for (const [nodeId, ofNode] of byNode) {
    if (asked.has(nodeId)) continue;
    asked.add(nodeId);
    gathering.running += 1;
    void askNode(gathering, ofNode).finally(() => {
      gathering.running -= 1;
      if (gathering.running === 0 && (gathering.request.once || tasks.length > 0)) gathering.answers.close();
    });
  }
}

async function askNode(gathering: Gathering, tasks: readonly Task[]): Promise<void> {
  const { store, request, answers, service, signal } = gathering;
  const [address] = tasks;
  if (address === undefined) return;
  const nodeName = store.view().find('node', address.nodeId)?.spec.name ?? address.nodeId;
  const { once, intervalMs } = request;
  const taskIds = request.tasks.length > 0 ? tasks.map(task => task.id) : [];
  const serviceId = service?.id ?? asId<ServiceId>('');
  const start: BulkFrame = { body: { kind: 'stats', taskIds, serviceId, once, intervalMs } };
  try {
    // Nothing is sent downwards; the task is the address of its node.
    for await (const { body } of gathering.open(address, start, { down: openChannel<BulkFrame>(1), signal })) {
      if (body.kind === 'figures') {
        const named = body.tasks.map(figures => ({ taskName: nameOf(store.view(), figures, nodeName), figures }));
        await pushTo(answers, { nodeName, tasks: named });
      }
      if (body.kind === 'end' && body.problem !== undefined) throw fromProblem(body.problem);
    }
  } catch (error) {
    if (!signal.aborted) await pushTo(answers, { nodeName, tasks: [], problem: toProblem(error) });
  }
}

function nameOf(view: View, { taskId }: TaskFigures, nodeName: string): string {
  const task = view.find('task', taskId);
  return task === undefined ? taskId : taskNameOf(task, nodeName);
}
