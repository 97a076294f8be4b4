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

import type { ContainerSpec, HealthProbe } from '../gen/types.js';
import type { Clock } from '../host.js';
import type { ImageRunConfig } from './images.js';
import type { Health } from './task.js';

export interface HealthCheck {
  /** Of the program; empty when it is asked over the network. */
  readonly args: readonly string[];
  readonly probe?: HealthProbe['ask'] | undefined;
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

/** The spec's; what it leaves open is as the image has it, as with Docker. Undefined for none. */
export function findHealthcheck(container: ContainerSpec, image: ImageRunConfig): HealthCheck | undefined {
  const { healthcheck: own } = container;
  const given = image.healthcheck;
  const probe = own?.probe?.ask;
  const test = own !== undefined && (own.test.length > 0 || probe !== undefined) ? own.test : (given?.test ?? []);
  const isProgram = (test[0] === 'CMD' || test[0] === 'CMD-SHELL') && test.length > 1;
  if (probe === undefined && !isProgram) return undefined;
  return {
    args: isProgram ? programOf(test) : [],
    probe,
    intervalMs: own?.intervalMs || given?.intervalMs || defaults.intervalMs,
    timeoutMs: own?.timeoutMs || given?.timeoutMs || defaults.timeoutMs,
    startPeriodMs: own?.startPeriodMs || given?.startPeriodMs || 0,
    startIntervalMs: own?.startIntervalMs || given?.startIntervalMs || defaults.startIntervalMs,
    retries: own?.retries || given?.retries || defaults.retries,
  };
}

/** What a test of a check runs. */
export function programOf([form, ...rest]: readonly string[]): readonly string[] {
  return form === 'CMD-SHELL' ? ['/bin/sh', '-c', rest.join(' ')] : rest;
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
  /** Puts the question once. */
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
