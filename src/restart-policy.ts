/**
 * Whether, and when, a task that ended by itself gets a successor. All that decides is read from the task, so an election
 * neither forgets nor repeats: failures in a row (for the growing delay) and restarts of the slot with this spec (for
 * attempts_max) travel from task to task.
 *
 * Attempts that a node opened while no manager answered count among the restarts.
 *
 * Called by the managers (daemon/orchestrate/slot.ts) and by a node that is alone (tasks/alone.ts). Not here: tasks that we stopped ourselves, or that lost their node.
 */
import type { RestartHistory, RestartPolicy, Task } from './gen/types.js';

export type Restart =
  | { readonly kind: 'stay'; readonly because: string }
  | {
      readonly kind: 'restart';
      readonly startAfterMs: number;
      readonly failures: number;
      readonly restarts: RestartHistory | undefined;
    };

const delayDefaultMs = 1_000;
const delayMaxDefaultMs = 60_000;
/** A task that ran so many times its delay has proved itself: the delay starts anew. */
const provedFactor = 10;
/** More do not make the delay longer. */
const failuresMax = 30;

export function planRestart(task: Task): Restart {
  const policy = task.spec.restart;
  const { state } = task.status;
  const restarts = task.restarts;
  // Neither failed nor finished: its node was taken from it, or its agent stopped it.
  if (state === 'orphaned' || state === 'shutdown') return { kind: 'restart', startAfterMs: 0, failures: 0, restarts };
  if (policy.condition === 'none') return { kind: 'stay', because: 'its restart condition is none' };
  if (policy.condition === 'on-failure' && state === 'complete') return { kind: 'stay', because: 'it completed' };
  const endedAtMs = task.endedAtMs ?? task.meta.updatedAtMs;
  const used = attemptsUsed(restarts, policy, endedAtMs) + ownAttempts(task);
  if (policy.attemptsMax > 0 && used >= policy.attemptsMax) {
    return { kind: 'stay', because: `${used} of ${policy.attemptsMax} attempts are used up` };
  }
  const ranMs = endedAtMs - Math.max(task.meta.createdAtMs, task.startAfterMs);
  const proved = ranMs >= provedFactor * delayMs(policy, Math.max(1, task.failures));
  const failures = proved ? 1 : task.failures + 1;
  return {
    kind: 'restart',
    startAfterMs: endedAtMs + delayMs(policy, failures),
    failures,
    restarts: historyAfter(withOwn(restarts, ownAttempts(task)), policy, endedAtMs),
  };
}

/**
 * Whether the time until which a task waits has come. Waits are kept as times of day, so that an election does not begin them
 * anew; one that is longer than any delay shows that the clock was set back, and is over.
 */
export function isDue(policy: RestartPolicy, startAfterMs: number, nowMs: number): boolean {
  return startAfterMs <= nowMs || startAfterMs - nowMs > delayMs(policy, failuresMax);
}

/** The wait after so many failures in a row: it doubles with each. */
export function delayMs(policy: RestartPolicy, failures: number): number {
  const first = policy.delayMs ?? delayDefaultMs;
  const longest = Math.max(first, policy.delayMaxMs ?? delayMaxDefaultMs);
  return Math.min(longest, first * 2 ** Math.min(failures - 1, failuresMax));
}

function attemptsUsed(history: RestartHistory | undefined, policy: RestartPolicy, nowMs: number): number {
  if (history === undefined) return 0;
  if (policy.windowMs === 0) return history.count;
  return history.atMs.filter(atMs => Math.abs(nowMs - atMs) < policy.windowMs).length;
}

/** Those of its node. When they were is not known, so that they count only where all do. */
function ownAttempts({ spec, status }: Task): number {
  return spec.restart.windowMs === 0 ? status.attempt : 0;
}

function withOwn(history: RestartHistory | undefined, count: number): RestartHistory | undefined {
  return count === 0 ? history : { count: (history?.count ?? 0) + count, atMs: history?.atMs ?? [] };
}

function historyAfter(
  history: RestartHistory | undefined,
  policy: RestartPolicy,
  atMs: number,
): RestartHistory | undefined {
  if (policy.attemptsMax === 0) return undefined;
  const times = policy.windowMs === 0 ? [] : [...(history?.atMs ?? []), atMs].slice(-policy.attemptsMax);
  return { count: (history?.count ?? 0) + 1, atMs: times };
}
