/**
 * Runs the health checks of a task's containers while they run. The check of each container is remembered in its bundle, so
 * that a restarted daemon goes on with the same.
 *
 * Not here: schedule and counting (health.ts), what follows (task.ts).
 */
import type { Task } from '../gen/types.js';
import type { Lifetime } from '../lifetime.js';
import { askAwake } from './cgroup/freezer.js';
import type { Engine } from './engine.js';
import { type ExecPlace, planExec, runInside } from './exec.js';
import { findHealthcheck, type HealthCheck, type HealthState, runHealth, startHealth } from './health.js';
import { renderConfig } from './runtime/oci.js';

export interface HealthWatch {
  /** Before the first answer. */
  readonly first: HealthState;
  readonly end: () => void;
}

export interface HealthWatchOptions {
  readonly task: Task;
  readonly lifetime: Lifetime;
  /** The worst of all checked containers. */
  readonly onChange: (state: HealthState) => void;
}

/** undefined when no container has a check. */
export function watchHealth(engine: Engine, options: HealthWatchOptions): HealthWatch | undefined {
  const { task, lifetime } = options;
  const { clock } = engine.host;
  const checks = task.spec.containers.map((_container, index) => findCheck(engine, task, index));
  const states = new Map<number, HealthState>();
  const ending = new AbortController();
  const onEnd = (): void => ending.abort();
  lifetime.signal.addEventListener('abort', onEnd, { once: true });
  for (const [index, check] of checks.entries()) {
    if (check === undefined) continue;
    states.set(index, startHealth(clock.monotonicMs()));
    const ask = makeAsk(engine, placeOf(engine, task, index));
    const onChange = (state: HealthState): void => {
      states.set(index, state);
      options.onChange(worstOf([...states.values()]));
    };
    lifetime.run(`health ${task.id}`, async () => {
      await runHealth({ check, clock, ask, onChange, signal: ending.signal }).catch((error: unknown) => {
        if (!ending.signal.aborted) throw error;
      });
    });
  }
  const end = (): void => {
    lifetime.signal.removeEventListener('abort', onEnd);
    ending.abort();
  };
  return states.size === 0 ? undefined : { first: worstOf([...states.values()]), end };
}

const ranks = { none: 0, healthy: 1, starting: 2, unhealthy: 3 } as const;

function worstOf(states: readonly HealthState[]): HealthState {
  return states.reduce((worst, state) => (ranks[state.health] > ranks[worst.health] ? state : worst));
}

function placeOf(engine: Engine, task: Task, index: number): ExecPlace {
  const { paths } = engine;
  return {
    taskId: task.id,
    containerId: paths.containerId(task.id, index),
    bundle: paths.bundle(task.id, index),
    rootPath: `${paths.root(task.id, index)}/merged`,
  };
}

/** From the spec and the image; the image may be gone after a restart of the daemon, the bundle is not. */
function findCheck(engine: Engine, task: Task, index: number): HealthCheck | undefined {
  const file = `${engine.paths.bundle(task.id, index)}/health.json`;
  const kept = engine.host.files.findTextSync(file);
  if (kept !== undefined) return JSON.parse(kept) as HealthCheck;
  const container = task.spec.containers[index];
  const image = container === undefined ? undefined : engine.images.find(container.image);
  if (container === undefined || image === undefined) return undefined;
  const check = findHealthcheck(container, image.config);
  if (check !== undefined) engine.host.files.writeSync(file, JSON.stringify(check));
  return check;
}

/** The process file is written at the first question and used for all. */
function makeAsk(
  engine: Engine,
  place: ExecPlace,
): (check: HealthCheck, signal: AbortSignal) => Promise<{ readonly ok: boolean; readonly output: string }> {
  const processFile = `${place.bundle}/health-process.json`;
  let written = false;
  return async (check, signal) => {
    if (!written) {
      const start = { args: check.args, env: [], workingDir: '', user: '', tty: false };
      engine.host.files.writeSync(processFile, renderConfig(await planExec(engine, place, start)));
      written = true;
    }
    const ask = (): ReturnType<typeof runInside> =>
      runInside(engine, place, { processFile, timeoutMs: check.timeoutMs, signal });
    const awake = { freezer: engine.cgroups.freezer, clock: engine.host.clock };
    const result = await askAwake(awake, place.taskId, { ask, signal });
    if (result.timedOut) return { ok: false, output: `no answer within ${check.timeoutMs} ms` };
    const output = result.output.trim() || `exit code ${result.exitCode ?? 'unknown'}`;
    return { ok: result.exitCode === 0, output };
  };
}
