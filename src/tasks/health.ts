/**
 * Health checks: what is checked, when, and what the answers mean. The schedule is pure; `runHealth` turns it, one program
 * at a time, until its signal ends.
 *
 * Counts as Docker counts: a failure matters once the start period is over, `retries` of them in a row an interval apart make
 * a container unhealthy, one success makes it healthy. Until the first success it is asked more often than that, so that a
 * healthy one is known soon; those extra questions count for nothing when they fail.
 *
 * Not here: what follows (task.ts), running a program in a container (exec.ts).
 */

import type { ContainerSpec } from '../gen/types.js';
import type { Clock } from '../host.js';
import type { ImageRunConfig } from './images.js';
import type { Health } from './task.js';

export interface HealthCheck {
  readonly args: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
}

export interface HealthState {
  readonly health: Health;
  /** Counted failures in a row. */
  readonly failures: number;
  /** Checks made. */
  readonly checks: number;
  readonly startedMs: number;
  /** Of the last failure that counted, or the start of the counting. */
  readonly countedMs: number;
  /** What the last failing check said. */
  readonly output: string;
}

export interface HealthAnswer {
  readonly ok: boolean;
  readonly output: string;
  readonly atMs: number;
}

const defaults = { intervalMs: 30_000, timeoutMs: 30_000, startIntervalMs: 5_000, retries: 3 };
/** Waits before the first checks of a container that was not healthy yet. */
const earlyWaitsMs = [100, 400, 1_000, 2_000];
const outputMaxChars = 300;

/** The spec's, else the image's; undefined for none. */
export function findHealthcheck(container: ContainerSpec, image: ImageRunConfig): HealthCheck | undefined {
  const check = container.healthcheck ?? image.healthcheck;
  const [form, ...rest] = check?.test ?? [];
  if (check === undefined || (form !== 'CMD' && form !== 'CMD-SHELL') || rest.length === 0) return undefined;
  return {
    args: form === 'CMD' ? rest : ['/bin/sh', '-c', rest.join(' ')],
    intervalMs: check.intervalMs || defaults.intervalMs,
    timeoutMs: check.timeoutMs || defaults.timeoutMs,
    startPeriodMs: check.startPeriodMs,
    startIntervalMs: check.startIntervalMs || defaults.startIntervalMs,
    retries: check.retries || defaults.retries,
  };
}

export function startHealth(nowMs: number): HealthState {
  return { health: 'starting', failures: 0, checks: 0, startedMs: nowMs, countedMs: nowMs, output: '' };
}

/** Time from the last answer (or the start) to the next check. */
export function nextCheckMs(check: HealthCheck, state: HealthState): number {
  if (state.health !== 'starting') return check.intervalMs;
  const early = earlyWaitsMs[state.checks] ?? check.startIntervalMs;
  return Math.min(early, check.intervalMs, check.startIntervalMs);
}

export function afterCheck(check: HealthCheck, state: HealthState, answer: HealthAnswer): HealthState {
  const checks = state.checks + 1;
  if (answer.ok) return { ...state, checks, health: 'healthy', failures: 0, countedMs: answer.atMs, output: '' };
  const output = answer.output.trim().slice(-outputMaxChars);
  const countsFromMs = Math.max(state.countedMs, state.startedMs + check.startPeriodMs);
  const due = state.health === 'starting' ? answer.atMs >= countsFromMs + check.intervalMs : true;
  if (!due) return { ...state, checks, output };
  const failures = state.failures + 1;
  const health = failures >= check.retries ? 'unhealthy' : state.health;
  return { ...state, checks, failures, health, countedMs: answer.atMs, output };
}

export interface HealthRun {
  readonly check: HealthCheck;
  readonly clock: Clock;
  /** Runs the check's program once. */
  readonly ask: (check: HealthCheck, signal: AbortSignal) => Promise<{ readonly ok: boolean; readonly output: string }>;
  readonly onChange: (state: HealthState) => void;
  readonly signal: AbortSignal;
}

/** Asks until unhealthy or until the signal ends, which is no failure. */
export async function runHealth({ check, clock, ask, onChange, signal }: HealthRun): Promise<void> {
  let state = startHealth(clock.monotonicMs());
  while (state.health !== 'unhealthy') {
    await clock.sleep(nextCheckMs(check, state), signal);
    const answer = await ask(check, signal);
    signal.throwIfAborted();
    const next = afterCheck(check, state, { ...answer, atMs: clock.monotonicMs() });
    const changed = next.health !== state.health;
    state = next;
    if (changed) onChange(state);
  }
}
