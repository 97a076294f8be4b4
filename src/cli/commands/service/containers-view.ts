/**
 * `service ps --containers`: the containers of each task instead of the tasks.
 *
 * Not here: tasks (../task.ts).
 */
import type { ContainerStatus } from '../../../gen/types.js';
import type { ListView } from '../../output/list.js';
import { taskName } from '../../records.js';
import type { NamedTask } from '../task.js';

export interface TaskContainer extends NamedTask {
  readonly container: ContainerStatus;
}

/** A task with one container has it under no name. */
export function containersOf(named: NamedTask): readonly TaskContainer[] {
  const { status } = named.task;
  const { containers, exitCode, health, ready, message, error } = status;
  if (containers.length > 0) return containers.map(container => ({ ...named, container }));
  const told = { health, ready, message: error || message };
  return [{ ...named, container: { name: '', role: 'main', state: status.state, exitCode, restarts: 0, ...told } }];
}

export const containersView: ListView<TaskContainer> = {
  columns: [
    { header: 'TASK', cutTo: 16 },
    { header: 'CONTAINER', cutTo: 16 },
    { header: 'ROLE' },
    { header: 'STATE' },
    { header: 'RESTARTS', align: 'right' },
    { header: 'NODE', cutTo: 8 },
    { header: 'WHY', cutTo: 12 },
  ],
  row: ({ task, nodes, container }) => [
    taskName(task, nodes),
    container.name || '-',
    container.role,
    stateOf(container),
    String(container.restarts),
    nodes[task.nodeId] ?? '-',
    container.message,
  ],
  record: ({ task, nodes, container }) => ({
    task: taskName(task, nodes),
    taskId: task.id,
    node: nodes[task.nodeId] ?? task.nodeId,
    ...container,
    exitCode: container.exitCode ?? null,
  }),
  id: ({ task, container }) => `${task.id}${container.name === '' ? '' : `/${container.name}`}`,
  name: ({ task, nodes, container }) => `${taskName(task, nodes)}${container.name === '' ? '' : `/${container.name}`}`,
};

function stateOf({ state, exitCode, health, ready }: ContainerStatus): string {
  if (state === 'ended') return `ended, exit code ${exitCode ?? 'unknown'}`;
  if (state !== 'running') return state;
  if (ready !== '' && ready !== 'ready') return 'running, not ready';
  return health === '' || health === 'healthy' ? state : `running, ${health}`;
}
