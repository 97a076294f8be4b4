/**
 * Runs the health and ready checks of one container while it runs. What is checked is remembered in its bundle, so that a
 * restarted daemon goes on with the same although the image may be gone.
 *
 * Not here: schedules and counting (health.ts, readiness.ts), what follows (task.ts), the questions themselves (probe.ts).
 */
import { messageOf } from '../errors.js';
import type { Task } from '../gen/types.js';
import type { Lifetime } from '../lifetime.js';
import { askAwake } from './cgroup/freezer.js';
import type { Engine } from './engine.js';
import { type ExecPlace, planExec, runInside } from './exec.js';
import { findHealthcheck, type HealthCheck, type HealthState, programOf, runHealth, startHealth } from './health.js';
import { askNetwork, type NetworkProbe, type ProbeAnswer } from './probe.js';
import { firstReady, type Ready, type ReadyState, readyTimes, runReady } from './readiness.js';
import { renderConfig } from './runtime/oci.js';

/** What the checks of a container say; undefined: it has no such check. */
export interface CheckStates {
  readonly health: HealthState | undefined;
  readonly ready: ReadyState | undefined;
}

export const noChecks: CheckStates = { health: undefined, ready: undefined };

export interface Checks {
  /** Before the first answers. */
  readonly first: CheckStates;
  readonly end: () => void;
}

export interface ChecksOptions {
  readonly task: Task;
  readonly index: number;
  /** Process 1 of the container. */
  readonly pid: number;
  readonly lifetime: Lifetime;
  readonly onChange: (states: CheckStates) => void;
}

/** Begins to check a container that was just started, or found running. */
export function openChecks(engine: Engine, options: ChecksOptions): Checks {
  const { task, index, lifetime } = options;
  const { clock } = engine.host;
  const ending = new AbortController();
  const { signal } = ending;
  const onEnd = (): void => ending.abort();
  lifetime.signal.addEventListener('abort', onEnd, { once: true });
  const place = placeOf(engine, task, index);
  const check = findCheck(engine, task, index);
  const readyCheck = task.spec.containers[index]?.readyCheck;
  let states: CheckStates = {
    health: check === undefined ? undefined : startHealth(clock.monotonicMs()),
    ready: readyCheck === undefined ? undefined : { ...firstReady, ready: readReady(engine, place) },
  };
  const { first } = { first: states };
  const tell = (change: Partial<CheckStates>): void => {
    states = { ...states, ...change };
    options.onChange(states);
  };
  const run = (name: string, work: () => Promise<void>): void =>
    lifetime.run(`${name} ${task.id}`, async () => {
      await work().catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    });
  if (check !== undefined) {
    const put = makeHealthAsk(engine, place, { ...options, check });
    const ask = (_check: HealthCheck, signal: AbortSignal): Promise<ProbeAnswer> => put(check.timeoutMs, signal);
    run('health', () => runHealth({ check, clock, ask, onChange: health => tell({ health }), signal }));
  }
  if (readyCheck !== undefined) {
    const ask = makeReadyAsk(engine, place, options);
    const times = readyTimes(readyCheck);
    const onChange = (ready: ReadyState): void => {
      engine.host.files.writeSync(`${place.bundle}/ready`, ready.ready);
      tell({ ready });
    };
    const first = states.ready ?? firstReady;
    run('ready', () => runReady({ times, clock, ask, first, onChange, signal }));
  }
  const end = (): void => {
    lifetime.signal.removeEventListener('abort', onEnd);
    ending.abort();
  };
  return { first, end };
}

/** As it was when an earlier daemon looked: a restart of the daemon takes nobody out of the tables. */
function readReady(engine: Engine, { bundle }: ExecPlace): Ready {
  const text = engine.host.files.findTextSync(`${bundle}/ready`);
  return text === 'ready' || text === 'unready' ? text : 'waiting';
}

export function placeOf(engine: Engine, task: Task, index: number): ExecPlace {
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

type Ask = (timeoutMs: number, signal: AbortSignal) => Promise<ProbeAnswer>;

function makeReadyAsk(engine: Engine, place: ExecPlace, options: ChecksOptions): Ask {
  const probe = options.task.spec.containers[options.index]?.readyCheck?.probe;
  return probe === undefined || probe.kind === 'exec'
    ? makeExec(engine, place, { name: 'ready', args: programOf(probe?.test ?? []) })
    : makeNetworkAsk(engine, options, probe);
}

/** A paused task is not asked, as it could not answer: it is not ready then, but it is not ill. */
function makeHealthAsk(
  engine: Engine,
  place: ExecPlace,
  { check, ...options }: ChecksOptions & { readonly check: HealthCheck },
): Ask {
  if (check.probe === undefined) return makeExec(engine, place, { name: 'health', args: check.args });
  const ask = makeNetworkAsk(engine, options, check.probe);
  return (timeoutMs, signal) => whileAwake(engine, place, { ask: () => ask(timeoutMs, signal), signal });
}

function makeNetworkAsk(engine: Engine, { task, pid }: ChecksOptions, probe: NetworkProbe): Ask {
  const address = task.endpoints[0]?.addresses[0]?.split('/')[0] ?? '127.0.0.1';
  return (timeoutMs, signal) => askNetwork(engine.host, { pid, address }, { probe, timeoutMs, signal });
}

function whileAwake<Answer>(
  { cgroups, host }: Engine,
  { taskId }: ExecPlace,
  question: { readonly ask: () => Promise<Answer>; readonly signal: AbortSignal },
): Promise<Answer> {
  return askAwake({ freezer: cgroups.freezer, clock: host.clock }, taskId, question);
}

/** The process file is written at the first question and used for all. */
function makeExec(
  engine: Engine,
  place: ExecPlace,
  { name, args }: { readonly name: 'health' | 'ready'; readonly args: readonly string[] },
): Ask {
  const processFile = `${place.bundle}/${name}-process.json`;
  let written = false;
  const ask: Ask = async (timeoutMs, signal) => {
    if (!written) {
      const start = { args, env: [], workingDir: '', user: '', tty: false };
      engine.host.files.writeSync(processFile, renderConfig(await planExec(engine, place, start)));
      written = true;
    }
    const run = (): ReturnType<typeof runInside> => runInside(engine, place, { processFile, timeoutMs, signal });
    const result = await whileAwake(engine, place, { ask: run, signal });
    if (result.timedOut) return { ok: false, output: `no answer within ${timeoutMs} ms` };
    const output = result.output.trim() || `exit code ${result.exitCode ?? 'unknown'}`;
    return { ok: result.exitCode === 0, output };
  };
  // A question that cannot be put (no processes left, a container that is ending) is a failed one, and the next is put again.
  return async (timeoutMs, signal) =>
    await ask(timeoutMs, signal).catch((error: unknown) => ({ ok: false, output: messageOf(error) }));
}
