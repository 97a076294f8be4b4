/**
 * Hooks: programs run inside a container after its start and before its stop, one after the other, each bounded in time.
 *
 * How far they came lies in the bundle, so that a restarted daemon goes on rightly: of the post-start hooks the number that
 * are done (one that was interrupted is run again), of the pre-stop hooks the number that were begun, written before (none is
 * ever run twice).
 *
 * Not here: when (crew.ts, stop-order.ts).
 */
import { messageOf } from '../errors.js';
import type { Hook, Task } from '../gen/types.js';
import { placeOf } from './checks.js';
import type { Failure } from './containers.js';
import type { Engine } from './engine.js';
import { planExec, runInside } from './exec.js';
import { renderConfig } from './runtime/oci.js';

export type HookKind = 'post-start' | 'pre-stop';

export interface HooksRun {
  readonly task: Task;
  readonly index: number;
  readonly kind: HookKind;
  /** Longest time of one hook that names none. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export const postStartTimeoutMs = 60_000;
const outputMaxChars = 300;

/** Whether there is a hook left to run. */
export function hasHooks(engine: Engine, run: Pick<HooksRun, 'task' | 'index' | 'kind'>): boolean {
  return readProgress(engine, run) < hooksOf(run).length;
}

/** Runs those that are left. Of post-start hooks the first failure is the last thing done; pre-stop hooks go on past one. */
export async function runHooks(engine: Engine, run: HooksRun): Promise<Failure | undefined> {
  let first: Failure | undefined;
  const hooks = hooksOf(run);
  for (let at = readProgress(engine, run); at < hooks.length && !run.signal.aborted; at += 1) {
    if (run.kind === 'pre-stop') writeProgress(engine, run, at + 1);
    const failure = await runHook(engine, run, at);
    run.signal.throwIfAborted();
    if (run.kind === 'post-start' && failure === undefined) writeProgress(engine, run, at + 1);
    first ??= failure;
    if (failure !== undefined && run.kind === 'post-start') return failure;
  }
  return first;
}

async function runHook(engine: Engine, run: HooksRun, at: number): Promise<Failure | undefined> {
  const hook = hooksOf(run)[at];
  if (hook === undefined) return undefined;
  const place = placeOf(engine, run.task, run.index);
  const processFile = `${place.bundle}/hook-${run.kind}-${at}.json`;
  const { name } = run.task.spec.containers[run.index] ?? { name: '' };
  const what = `Cannot run ${run.kind} hook ${at + 1}${name === '' ? '' : ` of "${name}"`}`;
  try {
    const start = { args: hook.command, env: hook.env, workingDir: hook.workingDir, user: hook.user, tty: false };
    engine.host.files.writeSync(processFile, renderConfig(await planExec(engine, place, start)), { mode: 0o600 });
    const timeoutMs = Math.min(hook.timeoutMs || run.timeoutMs, run.kind === 'pre-stop' ? run.timeoutMs : Infinity);
    const result = await runInside(engine, place, { processFile, timeoutMs, signal: run.signal });
    if (result.timedOut) return failed(`${what}: it took more than ${timeoutMs} ms`);
    if (result.exitCode === 0) return undefined;
    const output = result.output.trim().slice(-outputMaxChars);
    return failed(`${what}: exit code ${result.exitCode ?? 'unknown'}${output === '' ? '' : `: ${output}`}`);
  } catch (error) {
    if (run.signal.aborted) throw error;
    return failed(`${what}: ${messageOf(error)}`);
  } finally {
    engine.host.files.removeFileSync(processFile);
  }
}

function failed(message: string): Failure {
  return { code: 'hook-failed', message };
}

function hooksOf({ task, index, kind }: Pick<HooksRun, 'task' | 'index' | 'kind'>): readonly Hook[] {
  const container = task.spec.containers[index];
  return (kind === 'post-start' ? container?.postStart : container?.preStop) ?? [];
}

function progressFile(engine: Engine, { task, index, kind }: Pick<HooksRun, 'task' | 'index' | 'kind'>): string {
  return `${engine.paths.bundle(task.id, index)}/${kind}-hooks`;
}

function readProgress(engine: Engine, run: Pick<HooksRun, 'task' | 'index' | 'kind'>): number {
  if (hooksOf(run).length === 0) return 0;
  return Number(engine.host.files.findTextSync(progressFile(engine, run)) ?? 0);
}

function writeProgress(engine: Engine, run: HooksRun, count: number): void {
  engine.host.files.writeSync(progressFile(engine, run), String(count));
}
