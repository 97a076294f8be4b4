/**
 * All tasks of this node: one controller each, woken by what happens (an exit file, a monitor that died, an assignment), and
 * their reports gathered for a moment (report-pace.ts).
 *
 * Not here: one task (controller.ts), the front (agent.ts).
 */
import { CoveyError } from '../errors.js';
import type { Assignments, Task, TaskReport } from '../gen/types.js';
import type { Timer } from '../host.js';
import { asId, type TaskId } from '../ids.js';
import type { Lifetime } from '../lifetime.js';
import { type Loop, openLoop } from '../loop.js';
import { type AloneSince, openAlone, planAttempt } from './alone.js';
import { TaskController } from './controller.js';
import type { ControllerParts } from './controller-parts.js';
import type { Engine } from './engine.js';
import { type Forsaken, openForsaken } from './forsaken.js';
import { openGate } from './gate.js';
import { openLogTender, type TendLogs } from './log-rotation.js';
import { findTaskOf } from './paths.js';
import { recoverTasks } from './recover.js';
import { freshPace, nextReport, type ReportPace } from './report-pace.js';
import { sweepStrays } from './sweep.js';
import { isFinal, laterDesired, laterStatus, rankOf } from './task.js';
import { renderTaskFile } from './task-file.js';
import { type LimitsWatch, openLimitsWatch } from './usage/limits-watch.js';

/** Creations side by side: with more, each takes longer and none is done sooner. */
const creationsMax = 4;
/** Controllers at work at once. Those that wait for their turn to create must not keep others from stopping. */
const concurrencyMax = 10_000;
const tickMs = 1_000;
const rescanTicks = 5;
const sweepTicks = 300;

export interface Worker {
  readonly recover: () => Promise<void>;
  readonly assign: (update: Assignments) => Promise<void>;
  readonly find: (id: TaskId) => TaskController | undefined;
  readonly all: () => ReadonlyMap<TaskId, TaskController>;
  readonly reports: () => readonly TaskReport[];
  readonly onReport: (listener: (reports: readonly TaskReport[]) => void) => Disposable;
  readonly sweep: () => Promise<readonly string[]>;
  readonly connected: (isConnected: boolean) => void;
  /** Stops and removes all; resolves when none is left. */
  readonly clear: (signal: AbortSignal) => Promise<number>;
}

interface State {
  readonly engine: Engine;
  readonly lifetime: Lifetime;
  readonly bootId: string;
  readonly controllers: Map<TaskId, TaskController>;
  readonly loop: Loop<TaskId>;
  readonly parts: Omit<ControllerParts, 'touch' | 'onStatus'>;
  readonly changed: Set<TaskId>;
  readonly listeners: Set<(reports: readonly TaskReport[]) => void>;
  readonly tendLogs: TendLogs;
  readonly limits: LimitsWatch;
  readonly forsaken: Forsaken;
  readonly alone: AloneSince;
  reporting: Timer | undefined;
  pace: ReportPace;
  ticking: Timer | undefined;
  ticks: number;
}

export function openWorker(engine: Engine, lifetime: Lifetime): Worker {
  const bootId = engine.host.processes.bootId();
  const controllers = new Map<TaskId, TaskController>();
  const loop = openLoop<TaskId>({
    name: 'tasks',
    clock: engine.host.clock,
    lifetime,
    concurrency: concurrencyMax,
    reconcile: (id, signal) => reconcile(state, id, signal),
    onFailure: (id, error, retryInMs) => engine.log.warn('cannot go on with a task', { task: id, retryInMs, error }),
  });
  const state: State = {
    engine,
    lifetime,
    bootId,
    controllers,
    loop,
    parts: { engine, lifetime, creations: openGate(creationsMax), bootId },
    changed: new Set(),
    listeners: new Set(),
    tendLogs: openLogTender(engine),
    limits: openLimitsWatch(engine, { lifetime, tasks: () => controllers, everyMs: engine.limitsEveryMs }),
    alone: openAlone(engine.host.clock),
    forsaken: openForsaken({ clock: engine.host.clock, log: engine.log }),
    reporting: undefined,
    pace: freshPace,
    ticking: undefined,
    ticks: 0,
  };
  lifetime.defer('timers', () => {
    state.reporting?.cancel();
    state.ticking?.cancel();
  });
  return {
    recover: () => recover(state),
    assign: update => assign(state, update),
    find: id => controllers.get(id),
    all: () => controllers,
    reports: () => [...controllers.values()].map(controller => controller.report),
    onReport: listener => {
      state.listeners.add(listener);
      return { [Symbol.dispose]: () => void state.listeners.delete(listener) };
    },
    sweep: () => sweepStrays(engine, new Set(controllers.keys())),
    clear: signal => clear(state, signal),
    connected: isConnected => {
      state.forsaken.connected(isConnected);
      state.alone.connected(isConnected);
    },
  };
}

async function reconcile(state: State, id: TaskId, signal: AbortSignal): Promise<void> {
  const controller = state.controllers.get(id);
  if (controller === undefined) return;
  await controller.advance(signal);
  if (controller.isOver && state.alone.isAlone()) await beginAgain(state, controller);
  if (!controller.gone) return;
  state.controllers.delete(id);
  state.engine.secrets.forgetFor(controller.task, () => [...state.controllers.values()].map(other => other.task));
}

/** Without managers: the next attempt of a task that ended by itself, written down before it is begun. */
async function beginAgain(state: State, ended: TaskController): Promise<void> {
  const { engine } = state;
  const { file } = ended;
  const { id } = file.task;
  const known = { ...file, asked: file.asked === true, alone: file.alone, silentMs: state.alone.silentMs() };
  const next = planAttempt(known, engine.host.clock.wallMs());
  if (next.kind !== 'begin') return;
  const begun = { ...file, status: next.status, alone: next.alone };
  await engine.host.files.replace(engine.paths.taskFile(id), renderTaskFile(begun));
  engine.log.warn('starts a task again by itself: no manager answers', {
    task: id,
    attempt: next.status.attempt,
    before: file.status.errorCode || file.status.state,
  });
  const controller = makeController(state, begun);
  state.controllers.set(id, controller);
  reportSoon(state, id);
  state.loop.touch(id);
  // What a manager has said meanwhile was said to the one that ended.
  await controller.want({ task: ended.task, unwanted: ended.unwanted });
}

async function recover(state: State): Promise<void> {
  const { engine, lifetime } = state;
  const { files } = engine.host;
  await files.makeDirectory(engine.paths.tasks, { mode: 0o700 });
  await files.makeDirectory(engine.paths.bundles, { mode: 0o700 });
  await files.makeDirectory(engine.paths.exits, { mode: 0o700 });
  await files.makeDirectory(engine.place.root, { mode: 0o700 });
  for (const { file, found } of await recoverTasks(engine, state.bootId)) {
    state.controllers.set(file.task.id, makeController(state, file, found));
  }
  await sweepStrays(engine, new Set(state.controllers.keys()));
  lifetime.own(files.watch(engine.paths.exits, name => onExitFile(state, name)));
  tick(state);
  for (const id of state.controllers.keys()) state.loop.touch(id);
}

function makeController(
  state: State,
  file: ConstructorParameters<typeof TaskController>[1],
  found?: ConstructorParameters<typeof TaskController>[2],
): TaskController {
  const { id } = file.task;
  const parts = { ...state.parts, touch: () => state.loop.touch(id), onStatus: () => reportSoon(state, id) };
  return new TaskController(parts, file, found);
}

/** The monitor writes "<container id>.<letters>" first, and gives it its name then. */
function onExitFile(state: State, name: string | undefined): void {
  const [containerId] = name?.split('.') ?? [];
  const owner = containerId === undefined ? undefined : findTaskOf(containerId, state.engine.prefix);
  if (owner !== undefined) state.loop.touch(asId<TaskId>(owner.taskId));
  else if (name === undefined) rescanExits(state);
}

function rescanExits(state: State): void {
  for (const name of state.engine.host.files.listSync(state.engine.paths.exits)) {
    const owner = findTaskOf(name, state.engine.prefix);
    if (owner !== undefined) state.loop.touch(asId<TaskId>(owner.taskId));
  }
}

function reportSoon(state: State, id: TaskId): void {
  const { clock } = state.engine.host;
  state.changed.add(id);
  const { pace, waitMs } = nextReport(state.pace, clock.monotonicMs(), id);
  state.pace = pace;
  if (state.reporting !== undefined) return;
  state.reporting = clock.after(waitMs, () => {
    state.reporting = undefined;
    const reports = [...state.changed].flatMap(changed => state.controllers.get(changed)?.report ?? []);
    state.changed.clear();
    if (reports.length > 0) for (const listener of state.listeners) listener(reports);
  });
}

async function assign(state: State, update: Assignments): Promise<void> {
  const { engine } = state;
  engine.secrets.take(update.secrets, update.configs);
  const named = new Set(update.tasks.map(task => task.id));
  const dropped = new Set(update.removedTasks);
  if (update.full) for (const id of state.controllers.keys()) if (!named.has(id)) dropped.add(id);
  await Promise.all([
    ...update.tasks.map(task => takeTask(state, task)),
    ...[...dropped].map(async id => {
      const controller = state.controllers.get(id);
      if (controller !== undefined) await controller.want({ task: controller.task, unwanted: true });
    }),
  ]);
  await engine.host.files.syncDirectory(engine.paths.tasks);
  for (const id of [...named, ...dropped]) state.loop.touch(id);
}

async function takeTask(state: State, task: Task): Promise<void> {
  const known = state.controllers.get(task.id);
  if (known !== undefined) {
    const desired = laterDesired(known.task.desired, task.desired);
    await known.want({ task: { ...task, desired }, unwanted: false });
    state.limits.look(task.id);
    return;
  }
  if (isFinal(task.status.state)) return;
  const status = {
    ...task.status,
    state: rankOf(task.status.state) < rankOf('accepted') ? ('accepted' as const) : task.status.state,
    sinceMs: state.engine.host.clock.wallMs(),
    message: '',
  };
  const file = { task, status: laterStatus(task.status, status), bootId: state.bootId, unwanted: false };
  const { files } = state.engine.host;
  let failure: CoveyError | undefined;
  try {
    await files.makeDirectory(state.engine.paths.task(task.id), { mode: 0o700 });
    await files.replace(state.engine.paths.taskFile(task.id), renderTaskFile(file));
  } catch (error) {
    // Not written down, so nothing may be done about it: it is rejected, and the reason says why.
    failure =
      error instanceof CoveyError ? error : new CoveyError('internal', 'Cannot accept the task', { cause: error });
  }
  const found =
    failure === undefined
      ? undefined
      : { containers: [], failure: { code: failure.code, message: failure.message }, told: undefined };
  state.controllers.set(task.id, makeController(state, file, found));
  reportSoon(state, task.id);
}

async function clear(state: State, signal: AbortSignal): Promise<number> {
  const running = [...state.controllers.values()].filter(controller => !controller.ended).length;
  await Promise.all(
    [...state.controllers.values()].map(controller => controller.want({ task: controller.task, unwanted: true })),
  );
  while (state.controllers.size > 0) {
    signal.throwIfAborted();
    for (const id of state.controllers.keys()) state.loop.touch(id);
    await state.engine.host.clock.sleep(20, signal);
  }
  return running;
}

/** Once a second: monitors that died, logs that grew; now and then exit files that no notice came for, and strays. */
function tick(state: State): void {
  const { engine, lifetime } = state;
  state.ticks += 1;
  const running = [...state.controllers.values()].filter(controller => !controller.ended);
  if (running.length > 0) {
    const monitors = engine.cgroups.monitors();
    for (const controller of running) controller.checkMonitors(monitors);
    lifetime.run('forsaken', () => state.forsaken.look(running));
    lifetime.run('rotate logs', () => state.tendLogs(running));
  }
  if (state.alone.isAlone()) {
    for (const [id, controller] of state.controllers) if (controller.isOver) state.loop.touch(id);
  }
  if (state.ticks % rescanTicks === 0) {
    rescanExits(state);
    lifetime.run('trash', () => engine.trash.empty());
  }
  if (state.ticks % sweepTicks === 0) lifetime.run('sweep', async () => void (await sweepAndTell(state)));
  state.ticking = engine.host.clock.after(tickMs, () => {
    if (!lifetime.signal.aborted) tick(state);
  });
}

async function sweepAndTell(state: State): Promise<void> {
  const removed = await sweepStrays(state.engine, new Set(state.controllers.keys()));
  if (removed.length > 0) state.engine.log.warn('took away what belonged to no task', { removed });
}
