/**
 * The states of a task on its node, and the one decision about it: `step` looks at what is wanted and what is seen, and
 * names the next action. Asking again, late, or after a missed event is harmless.
 *
 * Observed states only rise, by the order of `taskStates`; the later (attempt, state) wins.
 *
 *   accepted -> preparing -> ready -> starting -> running -> complete | failed | shutdown
 *                  \-> rejected (could not be made)     any of them -> shutdown (not wanted any more)
 *
 * Not here: carrying an action out (controller.ts), who else may change a state (daemon/ and the edge table of the store).
 */
import type { DesiredState, TaskState, TaskStatus } from '../gen/types.js';

export const taskStates: readonly TaskState[] = [
  'new',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'orphaned',
];

export const desiredStates: readonly DesiredState[] = ['ready', 'running', 'shutdown', 'remove'];

export type Health = 'none' | 'starting' | 'healthy' | 'unhealthy';

/** All that the decision depends on. */
export interface TaskView {
  readonly desired: DesiredState;
  /** The managers do not name the task any more. */
  readonly unwanted: boolean;
  /** People asked it to end (task stop). */
  readonly asked: boolean;
  /** As last written down. */
  readonly state: TaskState;
  /** The main container. */
  readonly main: 'none' | 'created' | 'running' | 'ended';
  /** Some process of the task lives, in whichever container. */
  readonly alive: boolean;
  /** Something went wrong so that the task has to end: an action that failed, a lost monitor, a reboot. */
  readonly failed: boolean;
  /** That something lies in the containers themselves: they can be asked to end, and are. */
  readonly gentle: boolean;
  /** Some container was let go and has not ended. */
  readonly begun: boolean;
  /** Of the containers beside the main one: something to be done, or what they (or hooks) make the task wait for. */
  readonly others:
    | { readonly kind: 'none' }
    | { readonly kind: 'mend' }
    | { readonly kind: 'wait'; readonly because: string };
  readonly health: Health;
  readonly stopping: 'no' | 'asked' | 'killed';
  /** The time between the stop signal and SIGKILL is over. */
  readonly graceOver: boolean;
  /** Something of it may still be on the machine: mounts, links, cgroups, bundles. */
  readonly held: boolean;
  /** What it has to wait for before it can be made; undefined: nothing. */
  readonly waitsFor: string | undefined;
}

export type TaskAction =
  /** Nothing to do until something changes. */
  | { readonly kind: 'wait'; readonly because: string }
  /** Write the next state down and report it. */
  | { readonly kind: 'tell'; readonly state: 'preparing' | 'ready' | 'starting' | 'running' }
  /** Image, root file system, network, bundle, monitor and container: everything but the start. */
  | { readonly kind: 'prepare' }
  | { readonly kind: 'start' }
  /** Start, or start again, the next container beside the main one. */
  | { readonly kind: 'mend' }
  /** Stop signal, and the clock of the grace. */
  | { readonly kind: 'stop' }
  /** SIGKILL to every process of the task. */
  | { readonly kind: 'kill' }
  /** Write down how it ended, give everything back, report. */
  | { readonly kind: 'finish' }
  /** Give back what could not be given back at the end. */
  | { readonly kind: 'release' }
  /** Delete what is left of it: its directory with the log. */
  | { readonly kind: 'forget' };

export function rankOf(state: TaskState): number {
  return taskStates.indexOf(state);
}

/** Whether nothing runs any more and nothing will. */
export function isFinal(state: TaskState): boolean {
  return rankOf(state) >= rankOf('complete');
}

/** The later of two statuses by (attempt, state); of equals the second, whose words are newer. */
export function laterStatus(first: TaskStatus, second: TaskStatus): TaskStatus {
  if (first.attempt !== second.attempt) return first.attempt > second.attempt ? first : second;
  return rankOf(first.state) > rankOf(second.state) ? first : second;
}

/** The later of two wishes. */
export function laterDesired(first: DesiredState, second: DesiredState): DesiredState {
  return desiredStates.indexOf(first) > desiredStates.indexOf(second) ? first : second;
}

function isEnding(view: TaskView): boolean {
  const asked = view.asked || view.unwanted || view.desired === 'shutdown' || view.desired === 'remove';
  return asked || view.failed || view.main === 'ended' || view.health === 'unhealthy';
}

export function step(view: TaskView): TaskAction {
  if (isFinal(view.state)) return stepEnded(view);
  return isEnding(view) ? stepDown(view) : stepUp(view);
}

function stepEnded(view: TaskView): TaskAction {
  if (view.held) return { kind: 'release' };
  return view.unwanted ? { kind: 'forget' } : { kind: 'wait', because: 'ended; kept until the managers forget it' };
}

function stepDown(view: TaskView): TaskAction {
  if (!view.alive) return { kind: 'finish' };
  // A container that was never started has nothing to say to a stop signal, and one without a monitor nobody to hear it.
  if (view.stopping === 'no') {
    const unborn = view.main === 'created' && !view.begun;
    return unborn || (view.failed && !view.gentle) ? { kind: 'kill' } : { kind: 'stop' };
  }
  if (view.stopping === 'asked' && view.graceOver) return { kind: 'kill' };
  return { kind: 'wait', because: view.stopping === 'asked' ? 'stopping' : 'killed; waits for its end' };
}

function stepUp(view: TaskView): TaskAction {
  if (rankOf(view.state) < rankOf('preparing')) {
    return view.waitsFor === undefined
      ? { kind: 'tell', state: 'preparing' }
      : { kind: 'wait', because: view.waitsFor };
  }
  if (view.main === 'none') {
    return view.waitsFor === undefined ? { kind: 'prepare' } : { kind: 'wait', because: view.waitsFor };
  }
  if (view.state === 'preparing') return { kind: 'tell', state: 'ready' };
  if (view.main === 'created' && view.desired === 'ready') return { kind: 'wait', because: 'ready' };
  if (view.state === 'ready') return { kind: 'tell', state: 'starting' };
  if (view.others.kind === 'mend') return view.others;
  if (view.main === 'created') return view.others.kind === 'wait' ? view.others : { kind: 'start' };
  if (view.state === 'running') return { kind: 'wait', because: 'running' };
  if (view.others.kind === 'wait') return view.others;
  return view.health === 'starting' ? { kind: 'wait', because: 'health check' } : { kind: 'tell', state: 'running' };
}

/** How a task ended, as seen at its end. */
export interface TaskEnd {
  /** Furthest state before. */
  readonly state: TaskState;
  /** Why it had to end, if something went wrong. */
  readonly failure: { readonly code: string; readonly message: string } | undefined;
  /** Of the main container; undefined when it never ran, or when nobody saw its end. */
  readonly exitCode: number | undefined;
  /** It was told to stop before it ended. */
  readonly stopped: boolean;
  /** People told it to: whatever its exit code, it has completed, and its restart policy decides on from there. */
  readonly asked: boolean;
  /** The kernel killed a process of it for memory when it ended. */
  readonly outOfMemory: boolean;
  /** That happened earlier, and the main process lived on. */
  readonly killedBefore?: boolean;
  readonly memoryLimitBytes: number;
  /** The last words of the failing health check. */
  readonly unhealthy: string | undefined;
}

export interface Verdict {
  readonly state: 'complete' | 'shutdown' | 'failed' | 'rejected';
  readonly error: string;
  readonly errorCode: string;
  readonly outOfMemory: boolean;
}

/** A task that lives without its monitor has to end: nobody would see how. */
export const monitorLost = {
  code: 'monitor-lost',
  message: 'Cannot watch the task: its monitor (conmon) died; its exit code is unknown',
} as const;

export function judge(end: TaskEnd): Verdict {
  const outOfMemory = end.outOfMemory && end.exitCode === 137 && !end.stopped;
  const failed = (errorCode: string, error: string): Verdict => ({ state: 'failed', error, errorCode, outOfMemory });
  if (end.failure !== undefined) {
    const state = rankOf(end.state) < rankOf('starting') ? 'rejected' : 'failed';
    return { state, error: end.failure.message, errorCode: end.failure.code, outOfMemory };
  }
  if (end.unhealthy !== undefined) return failed('unhealthy', `Cannot keep the task: unhealthy: ${end.unhealthy}`);
  if (end.stopped && end.exitCode === undefined && rankOf(end.state) >= rankOf('starting')) {
    const state = end.asked ? 'complete' : 'shutdown';
    return {
      state,
      error: 'Cannot tell how it ended: its monitor (conmon) died first',
      errorCode: 'monitor-lost',
      outOfMemory,
    };
  }
  if (end.asked && end.stopped) return { state: 'complete', error: '', errorCode: '', outOfMemory };
  if (end.stopped || end.exitCode === undefined) return { state: 'shutdown', error: '', errorCode: '', outOfMemory };
  if (end.exitCode === 0) return { state: 'complete', error: '', errorCode: '', outOfMemory };
  if (outOfMemory) return failed('out-of-memory', `exit code 137: killed for memory${limitText(end.memoryLimitBytes)}`);
  return failed('container-exit', `exit code ${end.exitCode}${exitWords(end)}`);
}

function limitText(bytes: number): string {
  return bytes === 0 ? ', which the node ran out of' : ` at its limit of ${sizeText(bytes)}`;
}

function exitWords(end: TaskEnd): string {
  const signal =
    end.exitCode !== undefined && end.exitCode > 128 && end.exitCode < 193 ? end.exitCode - 128 : undefined;
  const words = signal === undefined ? [] : [`killed by signal ${signal}`];
  if (end.outOfMemory || end.killedBefore === true)
    words.push(`one of its processes was killed for memory${limitText(end.memoryLimitBytes)}`);
  return words.length === 0 ? '' : `: ${words.join('; ')}`;
}

/** "256 MiB", "1.5 GiB". */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}
