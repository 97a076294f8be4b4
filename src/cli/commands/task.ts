/**
 * Tasks: listed and inspected. The list shows each slot with its newest task first and its history below.
 *
 * Not here: exec (exec.ts), logs (service/logs.ts), pause, stop and the like (task-verbs.ts).
 */
import { CoveyError } from '../../errors.js';
import type { ListTasksRequest, Task } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import {
  type CommandDefinition,
  clusterListOptions,
  formatOption,
  type Invocation,
  localOption,
  readOptions,
} from '../definition.js';
import { stateColour } from '../output/colours.js';
import { exitCodes } from '../output/errors.js';
import { compareNames, type ListView, printInspection, printList } from '../output/list.js';
import { plural, renderAge, renderDuration } from '../output/values.js';
import { isLive, type NodeNames, taskName, taskRecord } from '../records.js';

export const taskCommands: readonly CommandDefinition[] = [
  {
    path: ['task', 'ls'],
    says: 'List tasks of all services, of one service or of one node',
    args: [],
    options: [
      { flags: '--service <service>', says: 'Only of this service', completes: 'service' },
      { flags: '--node <node>', says: 'Only on this node', completes: 'node' },
      { flags: '--stack <stack>', says: 'Only of this stack', completes: 'stack' },
      { flags: '-a, --all', says: 'Those that ended too' },
      localOption,
      ...clusterListOptions,
    ],
    examples: [
      { says: 'what runs on a node', line: 'covey task ls --node rack1' },
      { says: 'what this node runs, with all managers away', line: 'covey task ls --local' },
      { says: 'all failures, for a program', line: 'covey task ls -a -f state=failed --format json' },
    ],
    run: runList,
  },
  {
    path: ['task', 'inspect'],
    says: 'Show all about tasks',
    args: [{ name: 'TASK', needed: true, many: true, completes: 'task' }],
    options: [formatOption, localOption, ...readOptions],
    examples: [
      { says: 'one task', line: 'covey task inspect web.1' },
      { says: 'its address', line: "covey task inspect --format '{{.addresses.0}}' web.1" },
    ],
    run: runInspect,
  },
];

/** A task with the names of all nodes, and whether an older one of its slot stands below it. */
export interface NamedTask {
  readonly task: Task;
  readonly nodes: NodeNames;
  /** Not the newest of its slot. */
  readonly past: boolean;
}

export async function listTasks(context: CliContext, asked: Partial<ListTasksRequest>): Promise<readonly NamedTask[]> {
  const calls = await context.tasks();
  const request = { tasks: [], service: '', node: '', stack: '', current: false, ...asked };
  const { tasks, nodes } = await calls.listTasks(request, { signal: context.signal });
  return orderTasks(tasks, nodes);
}

/** By name; within a slot what should run first, then the newest. */
function orderTasks(tasks: readonly Task[], nodes: NodeNames): readonly NamedTask[] {
  const named = tasks.map(task => ({ task, name: taskName(task, nodes) }));
  named.sort(
    (a, b) =>
      compareNames(a.name, b.name) ||
      Number(isLive(b.task)) - Number(isLive(a.task)) ||
      b.task.meta.createdAtMs - a.task.meta.createdAtMs ||
      b.task.meta.version - a.task.meta.version,
  );
  return named.map(({ task, name }, at) => ({ task, nodes, past: named[at - 1]?.name === name }));
}

export function taskView(nowMs: number): ListView<NamedTask> {
  return {
    columns: [
      { header: 'TASK', cutTo: 16 },
      { header: 'NODE', cutTo: 8 },
      { header: 'STATE' },
      { header: 'SINCE', align: 'left' },
      { header: 'ADDRESS' },
      { header: 'WHY', cutTo: 12 },
    ],
    row: ({ task, nodes, past }) => {
      const name = taskName(task, nodes);
      return [
        past ? ` \\ ${name.slice(name.lastIndexOf('.'))}` : name,
        nodes[task.nodeId] ?? '-',
        { text: stateText(task), colour: stateColour(task.status.state) },
        renderAge(nowMs - task.status.sinceMs),
        task.endpoints[0]?.addresses[0] ?? '',
        whyOf(task, nowMs),
      ];
    },
    record: ({ task, nodes }) => taskRecord(task, nodes),
    id: ({ task }) => task.id,
    name: ({ task, nodes }) => taskName(task, nodes),
  };
}

function stateText(task: Task): string {
  const { state, health, paused, ready } = task.status;
  if (paused === true) return 'paused';
  if (state === 'running' && ready !== '' && ready !== 'ready') return 'running, not ready';
  return state === 'running' && health !== '' && health !== 'healthy' ? `running, ${health}` : state;
}

function whyOf(task: Task, nowMs: number): string {
  const { status } = task;
  if (status.error !== '') return status.error;
  if (status.state === 'ready' && task.desired === 'ready') return whyHeld(task, nowMs);
  if (status.message !== '') return status.message;
  if (task.superseded) return 'its node is lost; another runs in its place';
  const warnings = status.limits?.warnings ?? [];
  if (warnings.length > 0) return warnings.map(warning => warning.message).join('; ');
  if (status.exitCode !== undefined && status.exitCode !== 0) return `exit code ${status.exitCode}`;
  return task.placeNote ?? '';
}

/** Prepared, and not yet told to start. */
function whyHeld({ startAfterMs, failures }: Task, nowMs: number): string {
  if (startAfterMs <= nowMs) return 'prepared: starts when its turn has come';
  const after = failures === 0 ? '' : `, after ${plural(failures, 'failure')} in a row`;
  return `starts in ${renderDuration(startAfterMs - nowMs)}${after}`;
}

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  const tasks = await listTasks(context, {
    service: flags.text('service') ?? '',
    node: flags.text('node') ?? '',
    stack: flags.text('stack') ?? '',
    current: !flags.isOn('all'),
  });
  await printList(context, flags, { view: taskView(context.console.clock.wallMs()), items: tasks });
  return exitCodes.done;
}

/** The tasks that names, ids or beginnings of ids mean; of a slot, the one that counts now. */
export async function getTasks(context: CliContext, asked: readonly string[]): Promise<readonly NamedTask[]> {
  const found: NamedTask[] = [];
  for (const text of asked) {
    const tasks = await listTasks(context, { tasks: [text] });
    const [first] = tasks;
    if (first === undefined) throw new CoveyError('not-found', `Cannot find task "${text}"`, { hint: 'covey task ls' });
    found.push(first);
  }
  return found;
}

async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const tasks = await getTasks(context, args);
  const items = tasks.map(({ task, nodes }) => ({
    record: { ...taskRecord(task, nodes), spec: task.spec, endpoints: task.endpoints },
    name: taskName(task, nodes),
  }));
  await printInspection(context, flags, items);
  return exitCodes.done;
}
