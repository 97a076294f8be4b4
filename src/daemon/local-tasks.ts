/**
 * The tasks of this node and what can be done with them here, without any manager: for the day on which none answers. What is
 * known is what the agent knows: its tasks, as they were assigned and as they are.
 *
 * Called through the unix socket only (local.ts). Not here: the same for the whole cluster (control/, bulk/), the verbs
 * (tasks/).
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { ListTasksRequest, Task } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { Clock } from '../host.js';
import { type LogTasks, mergeLogs } from './bulk/logs.js';
import { carryOut } from './bulk/node.js';
import { checkTaskVerb, taskNameOf } from './bulk/target.js';
import type { MemberNode } from './member-node.js';

type TaskHandlers = Pick<Handlers<Services['Local']>, 'listTasks' | 'exec' | 'logs' | 'runTaskVerb'>;

export interface LocalTaskParts {
  readonly clock: Clock;
  readonly findNode: () => Pick<MemberNode, 'membership' | 'agent'> | undefined;
}

/** The tasks of one node, found by what people call them there. */
function tasksOfNode(tasks: () => readonly Task[], nodeName: string): Pick<LogTasks, 'get' | 'getService'> {
  const newestFirst = (): readonly Task[] =>
    [...tasks()].sort((a, b) => Number(isWanted(b)) - Number(isWanted(a)) || b.meta.createdAtMs - a.meta.createdAtMs);
  return {
    get: text => {
      const all = newestFirst();
      const exact = all.find(task => task.id === text || taskNameOf(task, nodeName) === text);
      if (exact !== undefined) return exact;
      const fitting = text === '' ? [] : all.filter(task => task.id.startsWith(text));
      const [only] = fitting;
      if (only !== undefined && fitting.length === 1) return only;
      const code = fitting.length > 1 ? 'ambiguous' : 'not-found';
      throw new CoveyError(code, `Cannot find task "${text}" on this node`, {
        state: fitting.length > 1 ? `${fitting.length} ids begin like that` : `${all.length} tasks are known here`,
        hint: 'covey task ls --local',
      });
    },
    getService: text => {
      const found = tasks().find(task => task.serviceName === text || task.serviceId === text);
      if (found !== undefined) return found.serviceId;
      throw new CoveyError('not-found', `Cannot find service "${text}" on this node`, {
        state: 'no task of it is known here',
        hint: 'covey task ls --local',
      });
    },
  };
}

function isWanted(task: Task): boolean {
  return task.desired === 'running' || task.desired === 'ready';
}

export function localTaskHandlers(parts: LocalTaskParts): TaskHandlers {
  const node = (): Pick<MemberNode, 'membership' | 'agent'> => {
    const found = parts.findNode();
    if (found !== undefined) return found;
    throw new CoveyError('not-in-cluster', 'Cannot answer: this daemon is not a node of any cluster', {
      hint: 'covey init makes a cluster, covey join enters one',
    });
  };
  const find = () => {
    const { agent, membership } = node();
    return tasksOfNode(agent.tasks, membership.nodeName);
  };
  return {
    listTasks: async request => {
      const { agent, membership } = node();
      return {
        tasks: selectTasks(agent.tasks(), request, find()),
        nodes: { [membership.nodeId]: membership.nodeName },
      };
    },
    exec: async function* (frames, context) {
      const input = frames[Symbol.asyncIterator]();
      const first = await input.next();
      const body = first.done === true ? undefined : first.value.body;
      if (body?.kind !== 'exec') {
        throw new CoveyError('bad-argument', 'Cannot begin: the first frame has to be of kind "exec"');
      }
      const task = find().get(body.taskId);
      checkTaskVerb('exec', task);
      const rest = { [Symbol.asyncIterator]: () => input };
      yield* node().agent.exec(rest, { ...body, taskId: task.id }, context.signal);
    },
    logs: (request, { signal }) => {
      const { agent, membership } = node();
      const tasks: LogTasks = {
        ...find(),
        find: id => agent.tasks().find(task => task.id === id),
        hasService: () => true,
        ofService: id => agent.tasks().filter(task => task.serviceId === id),
        nodeName: () => membership.nodeName,
        watch: changed => agent.onReport(() => changed()),
      };
      return mergeLogs({
        tasks,
        clock: parts.clock,
        open: (_task, start, stream) => carryOut(agent, start, { input: stream.down, term: 0, signal: stream.signal }),
        request,
        signal,
      });
    },
    runTaskVerb: async ({ task: text, verb, container, signal, graceMs }, context) => {
      const task = find().get(text);
      if (!checkTaskVerb(verb, task)) return { status: task.status, processes: [] };
      const start = { taskId: task.id, container, verb, signal, graceMs, term: 0 };
      return await node().agent.verb(start, context.signal);
    },
  };
}

function selectTasks(
  all: readonly Task[],
  { tasks: texts, service, node, stack, current }: ListTasksRequest,
  find: ReturnType<typeof tasksOfNode>,
): readonly Task[] {
  if (node !== '') {
    throw new CoveyError('bad-argument', 'Cannot list the tasks of another node without the managers', {
      hint: 'leave --node out',
    });
  }
  const serviceId = service === '' ? undefined : find.getService(service);
  const chosen = texts.length === 0 ? all : texts.map(find.get);
  return chosen.filter(
    task =>
      (serviceId === undefined || task.serviceId === serviceId) &&
      (stack === '' || task.stack === stack) &&
      (!current || (isWanted(task) && !['complete', 'shutdown', 'failed', 'rejected'].includes(task.status.state))),
  );
}
