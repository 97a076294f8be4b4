/**
 * What may be asked of a task in which state: one table over all verbs and all phases of a task's life. Asked by the manager
 * with what the store knows, to refuse at once, and by the agent with what it sees, whose word counts.
 *
 *   do     it is carried out
 *   done   it is so already: answered as success
 *   CODE   refused, with the state that forbids it
 *
 * Pure. Not here: carrying verbs out (verb-actions.ts), their way to the node (daemon/bulk).
 */
import { CoveyError, type ErrorCode } from '../errors.js';
import type { DesiredState, TaskState } from '../gen/types.js';

export const taskVerbs = [
  'pause',
  'unpause',
  'stop',
  'kill',
  'restart',
  'wait',
  'exec',
  'attach',
  'copy',
  'logs',
  'top',
] as const;

export type TaskVerbName = (typeof taskVerbs)[number];

/** All that the answer depends on. */
export interface VerbView {
  readonly state: TaskState;
  readonly desired: DesiredState;
  readonly paused: boolean;
}

type VerbPhase =
  /** No node has it yet. */
  | 'unplaced'
  /** Its node has it, and makes its containers. */
  | 'coming'
  /** Made, and waits to be started. */
  | 'made'
  | 'running'
  | 'paused'
  /** Told to end by the managers. */
  | 'stopping'
  /** Its end stands for its slot: nothing has taken its place. */
  | 'ended'
  /** History. */
  | 'replaced'
  /** Its node is gone for good. */
  | 'orphaned';

type VerbAnswer = 'do' | 'done' | ErrorCode;

const NR = 'task-not-running';
const END = 'task-ended';
const STOP = 'task-stopping';
const PAUSED = 'task-paused';
const AWAKE = 'task-not-paused';
const LOST = 'exit-code-unknown';

type Row = readonly VerbAnswer[];

const phases = [
  'unplaced',
  'coming',
  'made',
  'running',
  'paused',
  'stopping',
  'ended',
  'replaced',
  'orphaned',
] as const;

const table: Readonly<Record<TaskVerbName, Row>> = {
  //       unplaced coming made  running paused  stopping ended replaced orphaned
  pause: [NR, NR, NR, 'do', PAUSED, STOP, END, END, END],
  unpause: [NR, NR, NR, AWAKE, 'do', STOP, END, END, END],
  stop: [NR, 'do', 'do', 'do', 'do', 'do', 'done', 'done', 'done'],
  kill: [NR, NR, NR, 'do', 'do', 'do', END, END, END],
  restart: [NR, 'do', 'do', 'do', 'do', STOP, 'do', END, END],
  wait: ['do', 'do', 'do', 'do', 'do', 'do', 'do', 'do', LOST],
  exec: [NR, NR, NR, 'do', PAUSED, 'do', END, END, END],
  attach: [NR, NR, NR, 'do', PAUSED, 'do', END, END, END],
  // Its root file system is there from the making of its containers to its end.
  copy: [NR, NR, 'do', 'do', 'do', 'do', END, END, END],
  logs: [NR, 'do', 'do', 'do', 'do', 'do', 'do', 'do', END],
  top: [NR, NR, NR, 'do', 'do', 'do', END, END, END],
};

/** While it is wanted, and once it is told to end. */
const phasesOf: Readonly<Record<TaskState, readonly [wanted: VerbPhase, unwanted: VerbPhase]>> = {
  new: ['unplaced', 'unplaced'],
  pending: ['unplaced', 'unplaced'],
  assigned: ['coming', 'stopping'],
  accepted: ['coming', 'stopping'],
  preparing: ['coming', 'stopping'],
  ready: ['made', 'stopping'],
  starting: ['running', 'stopping'],
  running: ['running', 'stopping'],
  complete: ['ended', 'replaced'],
  shutdown: ['ended', 'replaced'],
  failed: ['ended', 'replaced'],
  rejected: ['ended', 'replaced'],
  orphaned: ['orphaned', 'orphaned'],
};

function phaseOf({ state, desired, paused }: VerbView): VerbPhase {
  const [wanted, unwanted] = phasesOf[state];
  const phase = desired === 'ready' || desired === 'running' ? wanted : unwanted;
  return phase === 'running' && paused ? 'paused' : phase;
}

export function judgeVerb(verb: TaskVerbName, view: VerbView): VerbAnswer {
  return table[verb][phases.indexOf(phaseOf(view))] ?? 'bug';
}

const words: Readonly<Record<TaskVerbName, string>> = {
  pause: 'pause',
  unpause: 'unpause',
  stop: 'stop',
  kill: 'signal',
  restart: 'restart',
  wait: 'wait for the exit code of',
  exec: 'run a program in',
  attach: 'attach to',
  copy: 'copy from or to',
  logs: 'read the log of',
  top: 'list the processes of',
};

/** What to type next. A task of which only the id is known does not say its service. */
function hintOf(answer: ErrorCode, name: string): string | undefined {
  if (answer === 'task-paused') return `covey task unpause ${name}`;
  if (answer !== 'task-stopping' && answer !== 'task-ended' && answer !== 'task-not-running') return undefined;
  const dot = name.lastIndexOf('.');
  return dot < 0 ? 'covey task ls' : `covey service ps ${name.slice(0, dot)}`;
}

/** Throws what forbids the verb; false when there is nothing to do. */
export function checkVerb(
  verb: TaskVerbName,
  task: VerbView & { readonly name: string; readonly error?: string },
): boolean {
  const answer = judgeVerb(verb, task);
  if (answer === 'do') return true;
  if (answer === 'done') return false;
  const phase = phaseOf(task);
  const because = task.error === undefined || task.error === '' ? '' : `: ${task.error}`;
  const state =
    phase === 'paused' ? 'it is paused' : `it is ${task.state}${phase === 'stopping' ? ', told to end' : ''}${because}`;
  throw new CoveyError(answer, `Cannot ${words[verb]} task "${task.name}"`, { state, hint: hintOf(answer, task.name) });
}
