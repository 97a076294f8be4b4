/**
 * Tasks that their node starts again by itself while no manager answers, also after a reboot: by the restart policy of their
 * service, as another attempt of the same task, which is reported when a manager answers again.
 *
 *     ended by itself, still wanted ──no manager for aloneAfterMs──► policy: when? ──due──► attempt n+1, written down first
 *
 * Keeps true: while a manager answers nothing is started here that it has not asked for; what was told to end, by managers or
 * by people, and what ended because no manager answered (forsaken.ts), is not started again; the counts of the policy go on
 * from those of the managers and outlive the daemon.
 *
 * `planAttempt` is the rule; `openAlone` keeps since when there is no manager. Called by worker.ts. Not here: the policy
 * (restart-policy.ts), carrying a task out (controller.ts).
 */
import type { RestartHistory, Task, TaskStatus } from '../gen/types.js';
import type { Clock } from '../host.js';
import { isDue, planRestart } from '../restart-policy.js';

/** What the node has counted by itself, in place of what the managers wrote into the task. */
export interface Alone {
  readonly failures: number;
  readonly restarts: RestartHistory | undefined;
  /** When its last attempt began. */
  readonly begunMs: number;
}

export interface Ended {
  readonly task: Task;
  readonly status: TaskStatus;
  /** The managers do not name it any more. */
  readonly unwanted: boolean;
  /** It was told to end, by people here. */
  readonly asked: boolean;
  readonly alone: Alone | undefined;
  /** Since the last manager was heard; undefined: none was since the daemon started. */
  readonly silentMs: number | undefined;
}

export type Attempt =
  | { readonly kind: 'none' }
  /** Not before that time. */
  | { readonly kind: 'later'; readonly atMs: number }
  | { readonly kind: 'begin'; readonly status: TaskStatus; readonly alone: Alone };

/** A leader that dies is followed by the next within a few seconds, and that one decides. */
export const aloneAfterMs = 10_000;

/** The states in which a task ended by itself. */
const byItself: ReadonlySet<string> = new Set(['complete', 'failed', 'rejected']);

/** The next attempt of a task that has ended, as its node may open it while no manager answers. */
export function planAttempt(ended: Ended, nowMs: number): Attempt {
  const { task, status, unwanted, asked, alone } = ended;
  if (unwanted || asked || task.desired !== 'running' || !byItself.has(status.state) || mayRunElsewhere(ended)) {
    return { kind: 'none' };
  }
  const begunMs = alone?.begunMs ?? Math.max(task.meta.createdAtMs, task.startAfterMs);
  const restart = planRestart({
    ...task,
    ...(alone === undefined ? {} : { failures: alone.failures, restarts: alone.restarts }),
    // What was begun here is counted in `restarts`.
    status: { ...status, attempt: 0 },
    startAfterMs: begunMs,
    endedAtMs: status.sinceMs,
  });
  if (restart.kind === 'stay') return { kind: 'none' };
  if (!isDue(task.spec.restart, restart.startAfterMs, nowMs)) return { kind: 'later', atMs: restart.startAfterMs };
  return {
    kind: 'begin',
    status: nextStatus(status, nowMs),
    alone: { failures: restart.failures, restarts: restart.restarts, begunMs: nowMs },
  };
}

/** Another one runs in its place already, or may by now, as far as its service puts up with silence. */
function mayRunElsewhere({ task, silentMs }: Ended): boolean {
  if (task.superseded) return true;
  const { stopAfterDisconnectMs } = task;
  return stopAfterDisconnectMs !== undefined && (silentMs ?? stopAfterDisconnectMs) >= stopAfterDisconnectMs;
}

function nextStatus({ attempt, state, errorCode }: TaskStatus, nowMs: number): TaskStatus {
  const why = errorCode === '' ? state : errorCode;
  return {
    state: 'accepted',
    sinceMs: nowMs,
    message: `started again by its node, which hears no manager (before: ${why})`,
    error: '',
    errorCode: '',
    outOfMemory: false,
    attempt: attempt + 1,
    health: '',
    ready: '',
    containers: [],
  };
}

export interface AloneSince {
  readonly connected: (isConnected: boolean) => void;
  /** No manager has answered for so long that this node decides for itself. */
  readonly isAlone: () => boolean;
  /** Since the last manager was heard; undefined: none was since the daemon started. */
  readonly silentMs: () => number | undefined;
}

/** Until somebody has tried to reach a manager nobody can say that none answers. */
export function openAlone(clock: Pick<Clock, 'monotonicMs'>): AloneSince {
  let sinceMs: number | undefined;
  let hasHeard = false;
  return {
    connected: isConnected => {
      hasHeard ||= isConnected;
      if (isConnected) sinceMs = undefined;
      else sinceMs ??= clock.monotonicMs();
    },
    silentMs: () => (hasHeard ? clock.monotonicMs() - (sinceMs ?? clock.monotonicMs()) : undefined),
    isAlone: () => sinceMs !== undefined && clock.monotonicMs() - sinceMs >= aloneAfterMs,
  };
}
