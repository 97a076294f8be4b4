/**
 * Waits until nothing that should run is left on a node, and says meanwhile how many tasks are, and why those that are to take
 * their place don't run.
 *
 * `describeDrain` is pure. Called by commands/node.ts and commands/node-drain.ts. Not here: the watch (wait.ts), moving the
 * tasks (daemon/orchestrate).
 */
import { CoveyError, codeOf } from '../errors.js';
import type { Task } from '../gen/types.js';
import type { CliContext } from './context.js';
import { exitCodes } from './output/errors.js';
import { openLive } from './output/live.js';
import { plural } from './output/values.js';
import { isLive } from './records.js';
import { blindLines, type WaitOptions, watchUntil } from './wait.js';

export interface DrainSeen {
  readonly left: readonly Task[];
  /** "web.2 can't run elsewhere: no node fits: …"; empty when nothing is known to be in the way. */
  readonly obstacles: readonly string[];
}

/** What is left on the node, and what keeps it there. */
export function describeDrain(tasks: Iterable<Task>, nodeId: string): DrainSeen {
  const all = [...tasks].filter(isLive);
  const left = all.filter(task => task.nodeId === nodeId);
  const isSuccessor = (task: Task): boolean =>
    task.nodeId !== nodeId && left.some(old => old.serviceId === task.serviceId && old.slot === task.slot);
  const obstacles = all
    .filter(task => isSuccessor(task) && task.status.message !== '' && task.status.state !== 'running')
    .map(task => `${task.serviceName}.${task.slot} can't run elsewhere yet: ${task.status.message}`);
  return { left, obstacles };
}

export interface WaitForDrain extends WaitOptions {
  readonly nodeId: string;
}

export async function waitForDrain(context: CliContext, options: WaitForDrain): Promise<number> {
  const live = context.isInteractive ? openLive(context.console.stdout, context.console.clock) : undefined;
  let atFirst = 0;
  let last: DrainSeen = { left: [], obstacles: [] };
  const said = new Set<string>();
  try {
    const result = await watchUntil(context, { ...options, live }, async seen => {
      last = describeDrain(seen.tasks.values(), options.nodeId);
      atFirst = Math.max(atFirst, last.left.length);
      const line = `${options.what}: ${last.left.length} of ${plural(atFirst, 'task')} still here`;
      live?.show([line, ...last.obstacles, ...blindLines(seen)]);
      if (live === undefined) await noteNew(context, last.obstacles, said);
      return last.left.length === 0 ? true : undefined;
    });
    await live?.end([]);
    return result === 'interrupted' ? exitCodes.interrupted : exitCodes.done;
  } catch (error) {
    await live?.end();
    if (!(error instanceof CoveyError) || codeOf(error) !== 'timeout') throw error;
    const state = [`${last.left.length} of ${plural(atFirst, 'task')} still here`, ...last.obstacles.slice(0, 3)].join(
      '; ',
    );
    throw new CoveyError('timeout', error.message, { state, hint: error.hint });
  }
}

/** Without a terminal each obstacle is told once. */
async function noteNew(context: CliContext, obstacles: readonly string[], said: Set<string>): Promise<void> {
  for (const text of obstacles) {
    if (said.has(text)) continue;
    said.add(text);
    await context.note(text);
  }
}
