/**
 * Verbs that people ask of one task of this node, carried out: pause, unpause, stop, kill, top. Each answers when it is so,
 * or throws with the state that forbids it (verbs.ts).
 *
 * Keeps true: a task that is to end is awake; a pause that does not succeed leaves nothing standing still.
 *
 * Called by agent.ts. Not here: the life of a task (controller.ts, task.ts).
 */
import { CoveyError } from '../errors.js';
import type { TaskAnswer, TaskStatus, VerbStart } from '../gen/types.js';
import { type ContainerSeen, isAlive } from './containers.js';
import type { TaskController } from './controller.js';
import type { Engine } from './engine.js';
import { getContainer } from './find-container.js';
import { listProcesses } from './processes.js';
import { parseSignal } from './runtime/signals.js';
import { checkVerb } from './verbs.js';

export interface VerbCall {
  readonly controller: TaskController;
  readonly start: VerbStart;
  /** Resolves at the next report of any task. */
  readonly changed: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

const SIGKILL = 9;
const freezeMaxMs = 5_000;
const freezeLookMs = 10;

export async function runVerb(engine: Engine, call: VerbCall): Promise<TaskAnswer> {
  const { controller, start } = call;
  const todo = checkVerb(start.verb, viewOf(controller));
  const processes = todo ? await perform(engine, call) : [];
  return { status: controller.report.status, processes };
}

/** The task as the table of verbs wants to know it. */
export function viewOf(controller: TaskController): Parameters<typeof checkVerb>[1] {
  const { task, report, unwanted } = controller;
  const { status } = report;
  return {
    name: task.id,
    state: status.state,
    desired: unwanted ? 'remove' : task.desired,
    paused: status.paused ?? false,
    error: status.error,
  };
}

async function perform(engine: Engine, call: VerbCall): Promise<TaskAnswer['processes']> {
  const { controller, start } = call;
  const { task } = controller;
  switch (start.verb) {
    case 'pause':
      await pause(engine, call);
      return [];
    case 'unpause':
      engine.cgroups.freezer.thaw(task.id);
      controller.notePaused(false);
      return [];
    case 'stop':
      controller.askStop(start.graceMs);
      await untilEnded(call);
      return [];
    case 'kill':
      await kill(engine, call);
      return [];
    case 'top':
      return listProcesses(engine, task, start.container === '' ? undefined : getContainer(task, start.container));
  }
}

async function pause(engine: Engine, { controller, signal }: VerbCall): Promise<void> {
  const { clock } = engine.host;
  const { task } = controller;
  runningContainer(controller, 0);
  const untilMs = clock.monotonicMs() + freezeMaxMs;
  try {
    while (!engine.cgroups.freezer.freeze(task.id)) {
      if (clock.monotonicMs() >= untilMs) {
        throw new CoveyError('pause-failed', `Cannot pause task ${task.id}: not all of its processes stand still`, {
          state: `${engine.cgroups.members(task.id).length} processes, after ${freezeMaxMs} ms`,
        });
      }
      await clock.sleep(freezeLookMs, signal);
    }
    // It may have been told to end while its processes came to a halt: then they are let go to do so.
    checkVerb('pause', viewOf(controller));
    if (controller.stopping) throw new CoveyError('task-stopping', `Cannot pause task ${task.id}: it is about to end`);
  } catch (error) {
    engine.cgroups.freezer.thaw(task.id);
    throw error;
  }
  controller.notePaused(true);
}

/** What is frozen acts upon a signal only once it is let go, so it is. */
async function kill(engine: Engine, call: VerbCall): Promise<void> {
  const { controller, start } = call;
  const signal = signalOf(start.signal);
  const index = start.container === '' ? 0 : getContainer(controller.task, start.container);
  const container = runningContainer(controller, index);
  if (!isAlive(engine, container)) return; // it ended by itself: the exit file is on its way
  engine.host.processes.kill(container.pid, signal);
  engine.cgroups.freezer.thaw(controller.task.id);
  controller.notePaused(false);
  if (signal === SIGKILL && index === 0) await untilEnded(call);
}

function signalOf(text: string): number {
  try {
    return text === '' ? SIGKILL : parseSignal(text);
  } catch {
    // It speaks of a container's stop signal, and says nothing else.
    throw new CoveyError('bad-argument', `Cannot send "${text}": there is no signal of that name`, {
      hint: 'SIGTERM, HUP, USR1, SIGRTMIN+3 and the like, or a number from 1 to 64',
    });
  }
}

function runningContainer(controller: TaskController, index: number): ContainerSeen {
  const container = controller.containers[index];
  if (container?.phase === 'running') return container;
  throw new CoveyError('task-not-running', `Cannot do this to task ${controller.task.id}: its container does not run`, {
    state: `the container is ${container?.phase ?? 'none'}, the task ${controller.report.status.state}`,
  });
}

async function untilEnded({ controller, changed, signal }: VerbCall): Promise<TaskStatus> {
  while (!controller.ended) {
    signal.throwIfAborted();
    await changed(signal);
  }
  return controller.report.status;
}
