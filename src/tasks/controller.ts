/**
 * Carries one task through its life: looks, asks `step` for the next action, does it, until there is nothing to do but wait.
 * `advance` may be called at any time and as often as one likes; one call at a time (worker.ts sees to that).
 *
 * Written down durably: the task as assigned (worker.ts), and how it ended, before anything is given back. The rest is seen anew.
 *
 * Not here: deciding (task.ts), making and releasing (prepare.ts), many tasks (worker.ts).
 */
import { CoveyError, codeOf, messageOf } from '../errors.js';
import type { LimitsSeen, Task, TaskReport, TaskState, TaskStatus } from '../gen/types.js';
import { isCancellation } from '../lifetime.js';
import {
  type ContainerSeen,
  createdContainer,
  type Failure,
  type Found,
  killHelpers,
  noContainers,
  writeTold,
} from './containers.js';
import type { ControllerParts, Wish } from './controller-parts.js';
import { Crew } from './crew.js';
import { describeEnd } from './ending.js';
import { obtainAndPrepare } from './obtain.js';
import { forgetTask, releaseTask } from './prepare.js';
import { isFinal, monitorLost, rankOf, step, type TaskAction, type TaskView } from './task.js';
import type { TaskFile } from './task-file.js';
import { openTaskWriter, type WriteTask } from './task-writer.js';
import { openTimers, type Timers } from './timers.js';
import { isSeenSame, sameOrder } from './usage/same-resources.js';
import { findStuck } from './usage/stuck.js';

/** How often a killed task is looked at that does not go away (a process in an uninterruptible call). */
const killedLookMs = 200;

export class TaskController {
  readonly #parts: ControllerParts;
  #task: Task;
  #status: TaskStatus;
  /** How it ended: written down, but not told before everything was given back. */
  #ending: TaskStatus | undefined;
  #unwanted: boolean;
  readonly #alone: TaskFile['alone'];
  readonly #crew: Crew;
  #failure: Failure | undefined;
  #stopping: TaskView['stopping'] = 'no';
  /** The main container lived when the first stop or kill was sent: its exit code is our doing. */
  #stoppedMain = false;
  #held = true;
  #gone = false;
  /** Asked to end by people, with that grace. */
  #asked: { readonly graceMs: number | undefined } | undefined;
  #monitorLost = false;
  #gaveUp = '';
  /** Processes of it that were killed for memory, as last seen while it ran. */
  oomKills = 0;
  #preparing: AbortController | undefined;
  readonly #timers: Timers;
  readonly #write: WriteTask;

  constructor(parts: ControllerParts, file: TaskFile, found: Found | undefined) {
    this.#parts = parts;
    this.#write = openTaskWriter(parts.engine, file.task.id);
    this.#timers = openTimers(parts.engine.host.clock, parts.touch);
    this.#task = file.task;
    this.#unwanted = file.unwanted;
    this.#alone = file.alone;
    if (file.asked === true) this.#asked = { graceMs: undefined };
    this.#failure = found?.failure;
    this.#status = found?.told === undefined ? file.status : { ...file.status, state: found.told };
    const onChange = (): void => {
      this.#tellChecks();
      parts.touch();
    };
    const containers = found?.containers ?? noContainers(parts.engine, file.task);
    this.#crew = new Crew({ ...parts, task: file.task, onChange }, containers);
    const { main } = this.#crew;
    if (main?.phase === 'running') {
      this.oomKills = parts.engine.cgroups.countOomKills(file.task.id);
      this.#status = {
        ...this.#status,
        ...this.#checked(this.#status.state, this.#status.message),
        pid: main.pid,
        paused: parts.engine.cgroups.freezer.isFrozen(file.task.id),
      };
    }
  }

  get task(): Task {
    return this.#task;
  }

  get unwanted(): boolean {
    return this.#unwanted;
  }

  /** Nothing is left of it: the worker forgets it. */
  get gone(): boolean {
    return this.#gone;
  }

  get report(): TaskReport {
    return { taskId: this.#task.id, status: this.#status };
  }

  get file(): TaskFile {
    const status = this.#ending ?? this.#status;
    const asked = this.#asked !== undefined;
    return {
      task: this.#task,
      status,
      bootId: this.#parts.bootId,
      unwanted: this.#unwanted,
      asked,
      alone: this.#alone,
    };
  }

  get containers(): readonly ContainerSeen[] {
    return this.#crew.seen;
  }

  get ended(): boolean {
    return isFinal(this.#status.state);
  }

  /** It ended and holds nothing any more: another attempt may begin. */
  get isOver(): boolean {
    return this.ended && !this.#held;
  }

  get stopping(): boolean {
    return this.#stopping !== 'no' || this.#asked !== undefined;
  }

  /** Its processes run and are not being stopped. */
  get isWatched(): boolean {
    return this.#crew.main?.phase === 'running' && this.#stopping === 'no' && !this.ended;
  }

  get limits(): LimitsSeen | undefined {
    return this.#status.limits;
  }

  tellLimits(limits: LimitsSeen, oomKills: number): void {
    this.oomKills = oomKills;
    if (this.#status.limits !== undefined && isSeenSame(this.#status.limits, limits)) return;
    this.#status = { ...this.#status, limits };
    this.#parts.onStatus();
  }

  /** People want it to end; its restart policy says what comes after. */
  askStop(graceMs: number | undefined): void {
    this.#asked ??= { graceMs };
    this.#preparing?.abort(new CoveyError('cancelled', 'Cannot go on: not wanted any more'));
    this.#parts.touch();
  }

  /** Its processes stand still now, or go on. */
  notePaused(paused: boolean): void {
    if ((this.#status.paused ?? false) === paused) return;
    this.#status = { ...this.#status, paused };
    this.#parts.onStatus();
  }

  /** Its node stops it by itself. */
  async giveUp(because: string): Promise<void> {
    await this.want({ task: { ...this.#task, desired: 'shutdown' }, unwanted: this.#unwanted });
    this.#gaveUp = because;
  }

  /** A newer wish for the same task: written down, then acted upon. Of a task that ended nothing more is written. */
  async want(wish: Wish): Promise<void> {
    const same = sameOrder(this.#task, wish.task);
    if ((!same || this.#unwanted !== wish.unwanted) && !this.ended)
      await this.#write(() => ({ ...this.file, ...wish }));
    this.#task = wish.task;
    this.#unwanted = wish.unwanted;
    if (wish.unwanted || wish.task.desired === 'shutdown' || wish.task.desired === 'remove') {
      this.#preparing?.abort(new CoveyError('cancelled', 'Cannot go on: not wanted any more'));
    }
    this.#parts.touch();
  }

  /** Looks at the monitors; `alive` are the processes in their group. */
  checkMonitors(alive: ReadonlySet<number>): void {
    const lost = this.#crew.seen.some(
      ({ phase, monitorPid }) => (phase === 'created' || phase === 'running') && !alive.has(monitorPid),
    );
    if (!lost || this.ended) return;
    this.#monitorLost = true;
    this.#parts.touch();
  }

  async advance(signal: AbortSignal): Promise<void> {
    for (;;) {
      this.#refresh();
      const action = step(this.#view());
      if (action.kind === 'wait') {
        this.#note(action.because);
        return;
      }
      await this.#perform(action, signal);
      if (this.#gone) return;
    }
  }

  #refresh(): void {
    this.#crew.refresh();
    const containers = this.#crew.seen;
    // A monitor that ends because its container did has left the exit code: only then is it lost when there is none.
    const orphaned = containers.some(({ phase }) => phase === 'created' || phase === 'running');
    const unseen = containers.some(({ phase, exitCode }) => phase === 'ended' && exitCode === undefined);
    if (((this.#monitorLost && orphaned) || unseen) && this.#stopping === 'no') {
      this.#failure ??= monitorLost;
    }
    this.#monitorLost = false;
  }

  #view(): TaskView {
    const { engine } = this.#parts;
    const missing = engine.secrets.findMissing(this.#task);
    return {
      desired: this.#task.desired,
      unwanted: this.#unwanted,
      asked: this.#asked !== undefined,
      state: this.#status.state,
      ...this.#crew.view,
      failed: this.#failure !== undefined || this.#crew.failure !== undefined,
      gentle: this.#failure === undefined,
      stopping: this.#stopping,
      held: this.#held,
      waitsFor: missing === undefined ? undefined : `waits for secret or config ${missing} from the managers`,
    };
  }

  /** What it waits for, for people; no state changes by it. */
  #note(because: string): void {
    if (isFinal(this.#status.state) || this.#status.state === 'running' || this.#status.message === because) return;
    this.#status = { ...this.#status, message: because };
    this.#parts.onStatus();
  }

  async #perform(action: Exclude<TaskAction, { kind: 'wait' }>, signal: AbortSignal): Promise<void> {
    switch (action.kind) {
      case 'tell':
        return this.#tell(action.state);
      case 'prepare':
        return await this.#prepare(signal);
      case 'start':
      case 'mend':
        return await this.#start(signal);
      case 'stop':
        return this.#stop();
      case 'kill':
        return this.#kill();
      case 'finish':
        return await this.#finish();
      case 'release':
        return await this.#release();
      case 'forget':
        return await this.#forget();
    }
  }

  #tell(state: TaskState): void {
    const { engine } = this.#parts;
    const { main } = this.#crew;
    this.#status = {
      ...this.#status,
      state,
      sinceMs: engine.host.clock.wallMs(),
      ...this.#checked(state, ''),
      pid: main === undefined || main.phase === 'none' ? undefined : main.pid,
      limits:
        this.#status.limits ?? (state === 'running' ? { inEffect: this.#task.spec.limits, warnings: [] } : undefined),
    };
    if (rankOf(state) >= rankOf('ready')) writeTold(engine, this.#task.id, state);
    this.#parts.onStatus();
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    const { engine } = this.#parts;
    const preparing = new AbortController();
    this.#preparing = preparing;
    const options = {
      onNote: this.#note.bind(this),
      isAgain: this.#status.attempt > 0,
      signal: AbortSignal.any([signal, preparing.signal]),
    };
    try {
      const monitored = await obtainAndPrepare(this.#parts, this.#task, options);
      this.#crew.set(
        monitored.map((one, index) => createdContainer(engine, engine.paths.containerId(this.#task.id, index), one)),
      );
    } catch (error) {
      if (signal.aborted) throw error; // the daemon ends: the next one finds what is there
      for (const { containerId } of this.#crew.seen) await killHelpers(engine, containerId);
      engine.cgroups.killAll(this.#task.id);
      if (!(preparing.signal.aborted && isCancellation(error))) this.#fail(error);
    } finally {
      this.#preparing = undefined;
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    try {
      await this.#crew.advance(signal);
      this.#tellChecks();
    } catch (error) {
      if (signal.aborted) throw error;
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { code: codeOf(error), message: messageOf(error) };
    this.#parts.engine.log.warn('a task failed', { task: this.#task.id, error });
  }

  /** What the checks and the other containers say; `message` stands unless a task that runs is not ready. */
  #checked(state: TaskState, message: string): Pick<TaskStatus, 'health' | 'ready' | 'containers' | 'message'> {
    const { unready, ...told } = this.#crew.told;
    if (state !== 'running') return { ...told, message };
    return { ...told, message: unready === '' ? '' : `not ready: ${unready}` };
  }

  #tellChecks(): void {
    if (isFinal(this.#status.state)) return;
    this.#status = { ...this.#status, ...this.#checked(this.#status.state, this.#status.message) };
    this.#parts.onStatus();
  }

  #stop(): void {
    this.#stopping = 'asked';
    this.#stoppedMain = this.#crew.main?.phase !== 'ended';
    this.notePaused(false);
    this.#crew.stop(this.#asked?.graceMs);
  }

  #kill(): void {
    const { engine } = this.#parts;
    this.#crew.close();
    this.#stoppedMain ||= this.#stopping === 'no' && this.#crew.main?.phase !== 'ended';
    this.#stopping = 'killed';
    engine.cgroups.killAll(this.#task.id);
    this.#lookAgain(engine.host.clock.monotonicMs());
  }

  /** Until the killed are gone. Mostly the exit files tell first. */
  #lookAgain(killedAtMs: number): void {
    this.#timers.after(killedLookMs, () => {
      if (this.ended || this.#stopping !== 'killed') return;
      const { engine, onStatus } = this.#parts;
      engine.cgroups.killAll(this.#task.id);
      this.#lookAgain(killedAtMs);
      const stuck = findStuck(engine, { taskId: this.#task.id, status: this.#status, killedAtMs });
      if (stuck === undefined) return;
      this.#status = stuck;
      onStatus();
    });
  }

  async #finish(): Promise<void> {
    const { engine } = this.#parts;
    this.#crew.close();
    const ended = describeEnd(engine, {
      task: this.#task,
      status: this.#status,
      main: this.#crew.main,
      failure: this.#failure ?? this.#crew.failure,
      unhealthy: this.#crew.unhealthy,
      stopped: this.#stoppedMain,
      asked: this.#asked !== undefined,
      oomKills: this.oomKills,
    });
    const error = ended.error || this.#gaveUp;
    const ending: TaskStatus = { ...ended, error, ...this.#checked(ended.state, '') };
    this.#ending = ending;
    this.#timers.clear();
    await this.#write(() => this.file);
    await this.#release().catch((error: unknown) => {
      engine.log.warn('cannot give back all of a task yet', { task: this.#task.id, error });
    });
    this.#status = ending;
    this.#parts.onStatus();
  }

  async #release(): Promise<void> {
    await releaseTask(this.#parts.engine, this.#task);
    this.#held = false;
  }

  async #forget(): Promise<void> {
    const { engine } = this.#parts;
    this.#timers.clear();
    await forgetTask(engine, this.#task.id);
    this.#gone = true;
  }
}
