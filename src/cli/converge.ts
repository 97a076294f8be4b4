/**
 * Whether what was asked is so: a pure look at a service, its tasks and the nodes, as the watch has shown them.
 *
 * A job has converged when all of it has completed. Any other service has when as many tasks of its present spec run (and are ready) as are wanted, nothing else of it is alive,
 * and its update is over. It has failed when that was paused or rolled back, or when waiting cannot help: a slot ended and its
 * policy starts no other, or a slot was refused twice in a row for
 * something that only a person can mend (no such image, no such command …).
 *
 * Not here: the watch and the clock (wait.ts), how it looks (output/progress.ts).
 */
import type { ErrorCode } from '../errors.js';
import type { Service, Task, WatchEvent } from '../gen/types.js';
import { isServing } from '../serving.js';
import { compareNames } from './output/list.js';
import { isLive, type NodeNames, taskName } from './records.js';

/** Everything that the watch has told so far. */
export interface Seen {
  readonly services: Map<string, Service>;
  readonly tasks: Map<string, Task>;
  readonly nodes: Record<string, string>;
  synced: boolean;
  /** Why nothing changes for now; undefined while a manager leads. */
  blind: string | undefined;
}

export function emptySeen(): Seen {
  return { services: new Map(), tasks: new Map(), nodes: {}, synced: false, blind: undefined };
}

export function applyEvent(seen: Seen, event: WatchEvent['event']): void {
  switch (event.kind) {
    case 'task':
      seen.tasks.set(event.id, event);
      break;
    case 'service':
      seen.services.set(event.id, event);
      break;
    case 'node':
      seen.nodes[event.id] = event.spec.name;
      break;
    case 'deletion':
      if (event.table === 'task') seen.tasks.delete(event.id);
      if (event.table === 'service') seen.services.delete(event.id);
      break;
    case 'synced':
      seen.synced = true;
      break;
    case 'asOf':
      seen.blind = event.why === '' ? undefined : event.why;
      break;
    default:
  }
}

export interface TaskLine {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly state: string;
  /** What it waits for or why it ended. */
  readonly why: string;
}

export interface ServiceProgress {
  readonly id: string;
  readonly name: string;
  /** `running` is then how many have completed. */
  readonly isJob: boolean;
  readonly running: number;
  readonly wanted: number;
  readonly lines: readonly TaskLine[];
  /** How far its update is; empty when none is under way. */
  readonly note: string;
  readonly outcome:
    | { readonly kind: 'waiting' }
    | { readonly kind: 'done' }
    | { readonly kind: 'failed'; readonly task: string; readonly why: string; readonly code: ErrorCode }
    | { readonly kind: 'not-updated'; readonly why: string; readonly code: ErrorCode };
}

export interface ProgressInput {
  readonly service: Service;
  readonly tasks: readonly Task[];
  readonly nodes: NodeNames;
  /** How many tasks there should be; for a global service as the managers count it. */
  readonly wanted: number;
  /** As the change answered. */
  readonly asked?: Service;
}

/** What nobody but a person mends. */
const lastingCodes: ReadonlySet<string> = new Set([
  'image-not-found',
  'image-bad-name',
  'image-digest',
  'image-layer',
  'image-platform',
  'registry-answer',
  'registry-blocked',
  'registry-denied',
  'registry-tls',
  'registry-unknown',
  'command-not-found',
  'user-not-found',
  'mount-source',
  'bad-bundle',
  'secret-not-found',
  'config-not-found',
  'network-not-found',
  'bad-argument',
  'no-runtime',
]);

export function progressOf(input: ProgressInput): ServiceProgress {
  const { service, tasks, nodes, wanted, asked } = input;
  const slots = slotsOf(tasks, service);
  const alive = tasks.filter(isLive);
  // A paused update stays as it is: what somebody asks for meanwhile is so without it.
  const isOld = isPaused(asked) && isPaused(service);
  const isCounted = (task: Task): boolean => (isOld ? isWanted(task) : isCurrent(task, service));
  const isDone = (task: Task): boolean => isCounted(task) && isServing(task.status) && hasLimits(task, service);
  const running = alive.filter(isDone).length;
  const finished = slots.filter(slot => isFinished(slot, service)).length;
  const failure = slots.flatMap(slot => findFailure(slot, service, asked?.meta.updatedAtMs ?? 0) ?? [])[0];
  const others = alive.filter(task => !isDone(task)).length;
  const isWork = isJob(service);
  const base = {
    id: service.id,
    name: service.spec.name,
    isJob: isWork,
    running: isWork ? finished : running,
    wanted,
    note: isWork ? `${running} running` : noteOf(service),
  };
  const lines = slots
    .map(slot => lineOf(slot[0] as Task, nodes))
    .concat(alive.filter(task => !slots.some(slot => slot[0] === task)).map(task => lineOf(task, nodes)))
    .sort((a, b) => compareNames(a.name, b.name));
  const isThere = isWork
    ? finished >= wanted && alive.length === 0
    : running + finished >= wanted && running <= wanted && others === 0;
  const update = isOld ? undefined : outcomeOfUpdate(service, asked, isThere);
  if (update !== undefined) return { ...base, lines, outcome: update };
  if (isThere) return { ...base, lines, outcome: { kind: 'done' } };
  if (failure === undefined) return { ...base, lines, outcome: { kind: 'waiting' } };
  const { status } = failure;
  const why = status.error || status.message || `the task is ${status.state}`;
  return {
    ...base,
    lines,
    outcome: {
      kind: 'failed',
      task: taskName(failure, nodes),
      why,
      code: (status.errorCode || 'container-exit') as ErrorCode,
    },
  };
}

/** What the update alone decides; undefined: the tasks do. */
function outcomeOfUpdate(
  { rollout, specVersion, spec }: Service,
  asked: Service | undefined,
  isThere: boolean,
): ServiceProgress['outcome'] | undefined {
  if (rollout === undefined || rollout.specVersion < specVersion) return undefined;
  const ended = (code: ErrorCode, why: string) => ({ kind: 'not-updated', code, why }) as const;
  const isUndone = rollout.because !== '' && asked !== undefined && rollout.specVersion > asked.specVersion;
  switch (rollout.state) {
    case 'updating':
    case 'rolling-back':
      return { kind: 'waiting' };
    case 'paused':
    case 'rollback-paused':
      return ended(
        'update-paused',
        `the ${rollout.state === 'paused' ? 'update' : 'rollback'} of "${spec.name}" has stopped: ${rollout.message}`,
      );
    case 'completed':
    case 'rolled-back':
      if (isUndone) return isThere ? ended('update-rolled-back', rollout.because) : { kind: 'waiting' };
      return isThere || rollout.failed.length === 0 ? undefined : ended('update-incomplete', rollout.message);
  }
}

function isPaused(service: Service | undefined): boolean {
  const state = service?.rollout?.state;
  return state === 'paused' || state === 'rollback-paused';
}

function noteOf({ rollout }: Service): string {
  if (rollout === undefined || rollout.startedAtMs === 0) return '';
  if (rollout.state !== 'updating' && rollout.state !== 'rolling-back') return '';
  const failed = rollout.failed.length === 0 ? '' : `, ${rollout.failed.length} failed`;
  const verb = rollout.state === 'updating' ? 'replaced' : 'taken back';
  const watched = rollout.done + rollout.failed.length >= rollout.total ? ', watching' : '';
  return `${rollout.done} of ${rollout.total} ${verb}${failed}${watched}`;
}

function isWanted({ desired }: Task): boolean {
  return desired === 'running' || desired === 'ready';
}

function isMade({ specVersion }: Task, service: Service): boolean {
  return specVersion >= service.specVersion || service.rollout?.sameVersions.includes(specVersion) === true;
}

function isCurrent(task: Task, service: Service): boolean {
  return isMade(task, service) && isWanted(task);
}

/** Within the limits that it should have by now. */
function hasLimits({ status }: Task, { spec }: Service): boolean {
  const { limits } = status;
  return limits === undefined || JSON.stringify(limits.inEffect) === JSON.stringify(spec.task.limits);
}

/** Tasks of the present spec by slot (or node), the newest of each first. */
function slotsOf(tasks: readonly Task[], service: Service): readonly (readonly Task[])[] {
  const slots = new Map<string, Task[]>();
  for (const task of tasks) {
    if (!isMade(task, service)) continue;
    const key = task.slot > 0 ? String(task.slot) : task.nodeId;
    slots.set(key, [...(slots.get(key) ?? []), task]);
  }
  const { mode } = service.spec;
  const limit =
    mode.kind === 'replicated'
      ? mode.replicas
      : mode.kind === 'replicatedJob'
        ? mode.completions
        : Number.POSITIVE_INFINITY;
  return [...slots.entries()]
    .filter(([key]) => limit === Number.POSITIVE_INFINITY || Number(key) <= limit)
    .map(([, slot]) => slot.sort(newestFirst));
}

function newestFirst(a: Task, b: Task): number {
  return (
    Number(isLive(b)) - Number(isLive(a)) || b.meta.createdAtMs - a.meta.createdAtMs || b.meta.version - a.meta.version
  );
}

function isJob({ spec }: Service): boolean {
  return spec.mode.kind === 'replicatedJob' || spec.mode.kind === 'globalJob';
}

/** Ended as it should, and nothing starts it again. */
function isFinished(slot: readonly Task[], service: Service): boolean {
  if (isJob(service)) return slot.some(task => task.status.state === 'complete');
  return slot[0]?.status.state === 'complete' && service.spec.task.restart.condition !== 'any';
}

/** What was refused before the change says nothing of what comes after it: new credentials, a node that was mended. */
function findFailure(slot: readonly Task[], service: Service, changedAtMs: number): Task | undefined {
  const { condition, attemptsMax } = service.spec.task.restart;
  const failed = slot.filter(task => task.status.state === 'failed' || task.status.state === 'rejected');
  const [newest] = slot;
  const [last, before] = failed;
  if (newest === undefined || last === undefined) return undefined;
  const noMore = condition === 'none' || (attemptsMax > 0 && failed.length > attemptsMax);
  if (newest === last && noMore) return last;
  if (newest.status.state === 'running') return undefined;
  const isNews = before !== undefined && (before.endedAtMs ?? before.meta.updatedAtMs) >= changedAtMs;
  const lasting =
    isNews && lastingCodes.has(last.status.errorCode) && before.status.errorCode === last.status.errorCode;
  return lasting ? last : undefined;
}

function lineOf(task: Task, nodes: NodeNames): TaskLine {
  const { status } = task;
  return {
    id: task.id,
    name: taskName(task, nodes),
    node: nodes[task.nodeId] ?? '',
    // What is to end is not shown as something that was waited for.
    state: isLive(task) && (task.desired === 'shutdown' || task.desired === 'remove') ? 'stopping' : stateOf(status),
    why: status.error || status.message || (status.limits?.warnings[0]?.message ?? ''),
  };
}

function stateOf({ state, ready }: Task['status']): string {
  return state === 'running' && ready !== '' && ready !== 'ready' ? 'running, not ready' : state;
}
