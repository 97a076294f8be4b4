/**
 * Ready checks: whether a running container takes work. Apart from health (health.ts), whose failure ends the task: one that
 * is not ready runs on, and is left out of the tables of resolver and VIP until it is ready again.
 *
 * The schedule is pure; `runReady` turns it, one question at a time, until its signal ends. Before the first success it asks
 * more often than the interval, so that a start is not held up by the clock.
 *
 * Not here: asking (probe.ts), publishing (daemon/dispatcher/tables.ts).
 */
import type { ReadyCheck } from '../gen/types.js';
import type { Clock } from '../host.js';
import type { ProbeAnswer } from './probe.js';

export type Ready = 'waiting' | 'ready' | 'unready';

export interface ReadyTimes {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly initialDelayMs: number;
  /** In a row, until it is not ready any more. */
  readonly failuresMax: number;
  /** In a row, until it is ready. */
  readonly successesMin: number;
}

export interface ReadyState {
  readonly ready: Ready;
  readonly checks: number;
  /** Of the same answer as the last one. */
  readonly inRow: number;
  readonly lastOk: boolean;
  /** What the last failure said. */
  readonly output: string;
}

const defaults = { intervalMs: 5_000, timeoutMs: 3_000, failures: 3, successes: 1 };
const earlyWaitsMs = [20, 50, 100, 200, 400, 800, 1_600];

export function readyTimes(check: ReadyCheck): ReadyTimes {
  return {
    intervalMs: check.intervalMs || defaults.intervalMs,
    timeoutMs: check.timeoutMs || defaults.timeoutMs,
    initialDelayMs: check.initialDelayMs,
    failuresMax: check.failures || defaults.failures,
    successesMin: check.successes || defaults.successes,
  };
}

export const firstReady: ReadyState = { ready: 'waiting', checks: 0, inRow: 0, lastOk: false, output: '' };

/** Time from the last answer (or the start) to the next question. */
export function nextReadyMs(times: ReadyTimes, state: ReadyState): number {
  if (state.ready !== 'waiting' && state.checks > 0) return times.intervalMs;
  const early = Math.min(earlyWaitsMs[state.checks] ?? times.intervalMs, times.intervalMs);
  return state.checks === 0 ? Math.max(early, times.initialDelayMs) : early;
}

export function afterReadyAnswer(times: ReadyTimes, state: ReadyState, answer: ProbeAnswer): ReadyState {
  const inRow = answer.ok === state.lastOk ? state.inRow + 1 : 1;
  const base = { ...state, checks: state.checks + 1, inRow, lastOk: answer.ok };
  if (answer.ok) return inRow >= times.successesMin ? { ...base, ready: 'ready', output: '' } : base;
  const isOver = state.ready === 'ready' && inRow >= times.failuresMax;
  return { ...base, ready: isOver ? 'unready' : state.ready, output: answer.output };
}

export interface ReadyRun {
  readonly times: ReadyTimes;
  readonly clock: Clock;
  readonly first: ReadyState;
  readonly ask: (timeoutMs: number, signal: AbortSignal) => Promise<ProbeAnswer>;
  /** Called when readiness changes, and while not ready when the words do. */
  readonly onChange: (state: ReadyState) => void;
  readonly signal: AbortSignal;
}

/** Asks until the signal ends, which is no failure. */
export async function runReady({ times, clock, first, ask, onChange, signal }: ReadyRun): Promise<void> {
  let state = first;
  for (;;) {
    await clock.sleep(nextReadyMs(times, state), signal);
    const answer = await ask(times.timeoutMs, signal);
    signal.throwIfAborted();
    const next = afterReadyAnswer(times, state, answer);
    const changed = next.ready !== state.ready || (next.ready !== 'ready' && next.output !== state.output);
    state = next;
    if (changed) onChange(state);
  }
}
