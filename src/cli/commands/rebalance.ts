/**
 * `covey rebalance`: shows which tasks go from full nodes to empty ones, has them moved, and waits until they are.
 *
 * `describeMoves` is pure. Not here: which tasks (daemon/orchestrate/rebalance.ts).
 */
import { CoveyError } from '../../errors.js';
import type { PlannedMove, Task } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, listOptions, waitOptions } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { type ListView, printList } from '../output/list.js';
import { openLive } from '../output/live.js';
import { plural } from '../output/values.js';
import type { NodeNames } from '../records.js';
import { watchUntil } from '../wait.js';
import { listNodes } from './node.js';

export const rebalanceCommands: readonly CommandDefinition[] = [
  {
    path: ['rebalance'],
    says: 'Move tasks from full nodes to empty ones',
    about:
      'After nodes came or came back. First the tasks of each service are spread, then all tasks. A task stops when another one runs in its place, as many of a service at a time as --update-parallelism lets; constraints and resources hold as ever, and services with volumes stay where these are.',
    args: [],
    options: [
      { flags: '--dry-run', says: 'Show what would move, and move nothing' },
      {
        flags: '--max-moves <number>',
        says: 'Move no more than so many tasks (default: as many as there are, at most 150)',
      },
      ...listOptions,
      ...waitOptions,
    ],
    examples: [
      { says: 'look first', line: 'covey rebalance --dry-run' },
      { says: 'a little at a time', line: 'covey rebalance --max-moves 5' },
    ],
    run: runRebalance,
  },
];

async function runRebalance({ flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const startedMs = context.console.clock.monotonicMs();
  const maxMoves = flags.integer('max-moves', { min: 1, max: 150 }) ?? 0;
  const dryRun = flags.isOn('dry-run');
  const nodes = await listNodes(context, []);
  const names: NodeNames = Object.fromEntries(nodes.map(({ node }) => [node.id, node.spec.name]));
  const { moves, more, notes } = await control.rebalance({ dryRun, maxMoves }, { signal: context.signal });
  await printList(context, flags, { view: moveView(names), items: moves });
  for (const note of notes) await context.note(`note: ${note}; its tasks stay`);
  if (moves.length === 0) {
    await context.note('Nothing to move: tasks are spread as evenly as they can be.');
    return exitCodes.done;
  }
  if (more) await context.note('There is more to move than that; the next covey rebalance goes on.');
  if (dryRun) await context.note(`${plural(moves.length, 'task')} would move; nothing was moved.`);
  if (dryRun || flags.isOn('detach')) return exitCodes.done;
  const live = context.isInteractive ? openLive(context.console.stdout, context.console.clock) : undefined;
  const result = await watchUntil(
    context,
    {
      request: { tables: ['task'], service: '', stack: '' },
      what: 'tasks moved',
      look: 'covey node ls',
      flags,
      startedMs,
      live,
    },
    async seen => {
      const progress = describeMoves(moves, seen.tasks.values());
      live?.show(progress.lines);
      return progress.left === 0 ? progress : undefined;
    },
  ).finally(() => live?.end([]));
  if (result === 'interrupted') return exitCodes.interrupted;
  if (result.stayed.length === 0) {
    await context.note(`${plural(moves.length, 'task')} moved.`);
    return exitCodes.done;
  }
  const state = result.stayed.slice(0, 3).join('; ');
  throw new CoveyError('not-moved', `Cannot move ${result.stayed.length} of ${plural(moves.length, 'task')}`, {
    state,
  });
}

export interface MoveProgress {
  readonly left: number;
  /** "web.2 not moved to rack2: …": given up. */
  readonly stayed: readonly string[];
  readonly lines: readonly string[];
}

/** How far the moves are. One is over when its task is to stop, has gone, or is to stay after all. */
export function describeMoves(moves: readonly PlannedMove[], tasks: Iterable<Task>): MoveProgress {
  const all = [...tasks];
  const byId = new Map(all.map(task => [task.id, task]));
  const going = moves.filter(({ taskId }) => isWanted(byId.get(taskId)) && byId.get(taskId)?.move !== undefined);
  const stayed = moves.flatMap(({ taskId, serviceName, slot }) => {
    const task = byId.get(taskId);
    return isWanted(task) && task?.move === undefined
      ? [`${serviceName}.${slot} ${task?.status.message || 'stays where it is'}`]
      : [];
  });
  const lines = going.map(({ taskId, serviceName, slot, toNode }) => {
    const next = all.find(
      task => task.id !== taskId && task.serviceName === serviceName && task.slot === slot && task.nodeId === toNode,
    );
    const { state = 'waits for its turn', message = '' } = next?.status ?? {};
    return `  ${serviceName}.${slot}  ${message === '' ? state : `${state}: ${message}`}`;
  });
  const done = moves.length - going.length - stayed.length;
  return { left: going.length, stayed, lines: [`${done} of ${plural(moves.length, 'task')} moved`, ...lines] };
}

function isWanted(task: Task | undefined): boolean {
  return task !== undefined && (task.desired === 'running' || task.desired === 'ready');
}

function moveView(names: NodeNames): ListView<PlannedMove> {
  const nameOf = ({ serviceName, slot }: PlannedMove): string => `${serviceName}.${slot}`;
  return {
    columns: [{ header: 'TASK' }, { header: 'FROM' }, { header: 'TO' }],
    row: move => [nameOf(move), names[move.fromNode] ?? move.fromNode, names[move.toNode] ?? move.toNode],
    record: move => ({
      task: move.taskId,
      name: nameOf(move),
      service: move.serviceName,
      slot: move.slot,
      from: names[move.fromNode] ?? move.fromNode,
      to: names[move.toNode] ?? move.toNode,
    }),
    id: move => move.taskId,
    name: nameOf,
  };
}
