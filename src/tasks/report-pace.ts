/**
 * How long a change of status waits for company before it is reported: hardly at all while few tasks change, so that one is seen
 * running at once, however often it changes on the way; 30 ms when many change together, so that a hundred are a handful of
 * messages: each goes through the log of the managers.
 *
 * Called by worker.ts. Not here: what is reported.
 */

/** Tasks that changed in this window of time, and how many did in the one before. */
export interface ReportPace {
  readonly windowStartMs: number;
  readonly tasks: ReadonlySet<string>;
  readonly before: number;
}

export const freshPace: ReportPace = { windowStartMs: Number.NEGATIVE_INFINITY, tasks: new Set(), before: 0 };

const windowMs = 100;
const few = 3;
const quickMs = 1;
const companyMs = 30;

export function nextReport(
  pace: ReportPace,
  nowMs: number,
  taskId: string,
): { readonly pace: ReportPace; readonly waitMs: number } {
  const present = paceAt(pace, nowMs);
  const tasks = present.tasks.has(taskId) ? present.tasks : new Set([...present.tasks, taskId]);
  const isBusy = tasks.size > few || present.before > few;
  return { pace: { ...present, tasks }, waitMs: isBusy ? companyMs : quickMs };
}

function paceAt(pace: ReportPace, nowMs: number): ReportPace {
  const age = nowMs - pace.windowStartMs;
  if (age < windowMs) return pace;
  return { windowStartMs: nowMs, tasks: new Set(), before: age < 2 * windowMs ? pace.tasks.size : 0 };
}
