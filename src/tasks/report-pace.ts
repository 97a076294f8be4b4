/**
 * How long a change of status waits for company before it is reported: hardly at all while little happens, so that one task is
 * seen running at once; about 10 ms when many change together, so that a hundred are a handful of messages.
 *
 * Called by worker.ts. Not here: what is reported.
 */

/** Messages sent since the window began. */
export interface ReportPace {
  readonly windowStartMs: number;
  readonly sent: number;
}

export const freshPace: ReportPace = { windowStartMs: Number.NEGATIVE_INFINITY, sent: 0 };

const windowMs = 100;
/** Messages of a window that go out quickly: a task on its way to running changes five times. */
const quickMax = 6;
const quickMs = 1;
const companyMs = 10;

export function nextReport(pace: ReportPace, nowMs: number): { readonly pace: ReportPace; readonly waitMs: number } {
  const isNew = nowMs - pace.windowStartMs >= windowMs;
  const sent = isNew ? 0 : pace.sent;
  return {
    pace: { windowStartMs: isNew ? nowMs : pace.windowStartMs, sent: sent + 1 },
    waitMs: sent < quickMax ? quickMs : companyMs,
  };
}
