/**
 * The containers of one task at work: started in their order, checked, started again, stopped in their order. Holds what is
 * seen of each and what its checks and hooks say; the controller asks it what is so and tells it to go on.
 *
 * What must outlive the daemon lies in the bundles: how far the hooks came (hooks.ts), the last readiness, the restarts.
 *
 * Called by controller.ts. Not here: deciding (members.ts, task.ts), making containers (prepare.ts, remake.ts).
 */
import type { ContainerStatus, Task, TaskStatus } from '../gen/types.js';
import type { Timer } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import { type CheckStates, type Checks, noChecks, openChecks } from './checks.js';
import { type ContainerSeen, type Failure, refreshContainer } from './containers.js';
import type { Engine } from './engine.js';
import { hasHooks, postStartTimeoutMs, runHooks } from './hooks.js';
import { type Member, type NextStep, planAgain, planNext } from './members.js';
import type { Ready } from './readiness.js';
import { remakeContainer } from './remake.js';
import { startContainer } from './runtime/crun.js';
import { killContainer } from './stop.js';
import { openStopOrder, type StopOrder } from './stop-order.js';
import type { Health, TaskView } from './task.js';

export interface CrewParts {
  readonly engine: Engine;
  readonly lifetime: Lifetime;
  readonly task: Task;
  /** Something changed that is worth a look and a report. */
  readonly onChange: () => void;
}

/** What is known of one container besides what is seen of it. */
interface Post {
  checks: Checks | undefined;
  states: CheckStates;
  hooking: boolean;
  settled: boolean;
  restarts: number;
  startedMs: number;
  waitMs: number;
  againAtMs: number;
}

export class Crew {
  readonly #parts: CrewParts;
  readonly #posts: readonly Post[];
  readonly #hooking = new AbortController();
  #seen: readonly ContainerSeen[];
  #failure: Failure | undefined;
  #stop: StopOrder | undefined;
  #again: Timer | undefined;

  constructor(parts: CrewParts, seen: readonly ContainerSeen[]) {
    this.#parts = parts;
    this.#seen = seen;
    this.#posts = parts.task.spec.containers.map((_container, index) => ({
      checks: undefined,
      states: noChecks,
      hooking: false,
      settled: false,
      restarts: readCount(parts.engine, parts.task, index),
      startedMs: parts.engine.host.clock.monotonicMs(),
      waitMs: 0,
      againAtMs: 0,
    }));
    for (const [index, { phase }] of seen.entries()) if (phase === 'running') this.#begin(index);
  }

  get seen(): readonly ContainerSeen[] {
    return this.#seen;
  }

  get main(): ContainerSeen | undefined {
    return this.#seen[0];
  }

  /** Why the task has to end although nothing is wrong with the machinery. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Just made by prepare. */
  set(seen: readonly ContainerSeen[]): void {
    this.#seen = seen;
  }

  /** Looks at each container, and goes on with a stop that is under way. */
  refresh(): void {
    const { engine, task } = this.#parts;
    const before = this.#seen;
    this.#seen = before.map((container, index) => refreshContainer(engine, container, { task, index }));
    for (const [index, container] of this.#seen.entries()) {
      if (container.phase === 'ended' && before[index]?.phase !== 'ended') this.#onEnded(index);
    }
    this.#stop?.look(this.#seen);
    const step = this.#next();
    if (step.kind === 'fail' && this.#stop === undefined) this.#failure ??= step.failure;
  }

  get view(): Pick<TaskView, 'main' | 'alive' | 'begun' | 'health' | 'others' | 'graceOver'> {
    const step = this.#next();
    const mends = step.kind === 'again' || (step.kind === 'start' && step.index > 0);
    return {
      main: this.main?.phase ?? 'none',
      alive: this.#seen.some(({ phase }) => phase === 'created' || phase === 'running'),
      begun: this.#seen.some(({ phase }) => phase === 'running'),
      health: this.#health,
      others: mends ? { kind: 'mend' } : step.kind === 'wait' ? step : { kind: 'none' },
      graceOver: this.#stop?.isOver() ?? false,
    };
  }

  /** The next container in order: started, or made and started again. */
  async advance(signal: AbortSignal): Promise<void> {
    const { engine, task } = this.#parts;
    const step = this.#next();
    if (step.kind !== 'start' && step.kind !== 'again') return;
    const { index } = step;
    if (step.kind === 'again') {
      const post = this.#posts[index]!;
      post.restarts += 1;
      writeCount(engine, task, { index, count: post.restarts });
      this.#seen = this.#seen.with(index, await remakeContainer(engine, { task, index, signal }));
    }
    const container = this.#seen[index]!;
    const { containerId } = container;
    await startContainer(engine.host, engine.placeOf(containerId), { containerId, signal });
    this.#seen = this.#seen.with(index, { ...container, phase: 'running' });
    this.#begin(index);
  }

  /** What is to be told of them. */
  get told(): Pick<TaskStatus, 'health' | 'ready' | 'containers'> & { readonly unready: string } {
    const states = this.#posts.map(post => post.states);
    const health = this.#health;
    const checked = this.#parts.task.spec.containers.flatMap((container, index) =>
      container.readyCheck === undefined ? [] : [states[index]?.ready ?? { ready: 'waiting' as const, output: '' }],
    );
    const ready = worst(checked.map(state => state.ready));
    const unready = checked.find(state => state.ready === ready && ready !== 'ready')?.output ?? '';
    return { health: health === 'none' ? '' : health, ready, unready, containers: this.#statuses() };
  }

  /** Why it is not healthy, in the check's own words. */
  get unhealthy(): string | undefined {
    if (this.#health !== 'unhealthy') return undefined;
    const sick = this.#posts.find(post => post.states.health?.health === 'unhealthy');
    return sick?.states.health?.output || 'its check failed';
  }

  /** `graceMs`: in place of what the containers ask for. */
  stop(graceMs: number | undefined): void {
    const { engine, task, lifetime, onChange } = this.#parts;
    this.endChecks();
    this.#stop ??= openStopOrder(engine, { task, graceMs, lifetime, touch: onChange });
    this.#stop.look(this.#seen);
  }

  /** Nobody asks a task that is to end whether it is well. */
  endChecks(): void {
    this.#hooking.abort();
    this.#again?.cancel();
    for (const post of this.#posts) post.checks?.end();
  }

  close(): void {
    this.endChecks();
    this.#stop?.close();
  }

  #next(): NextStep {
    return planNext(this.#members(), this.#parts.engine.host.clock.monotonicMs());
  }

  #members(): readonly Member[] {
    return this.#parts.task.spec.containers.map((container, index): Member => {
      const post = this.#posts[index]!;
      return {
        name: container.name,
        role: index === 0 ? 'main' : container.role === 'init' ? 'init' : 'sidecar',
        restart: container.restart,
        phase: this.#seen[index]?.phase ?? 'none',
        exitCode: this.#seen[index]?.exitCode,
        settled: post.settled,
        againAtMs: post.againAtMs,
      };
    });
  }

  /** Hooks and checks of a container that runs. */
  #begin(index: number): void {
    const { engine, lifetime, task, onChange } = this.#parts;
    const post = this.#posts[index]!;
    post.startedMs = engine.host.clock.monotonicMs();
    post.checks = openChecks(engine, {
      task,
      index,
      pid: this.#seen[index]?.pid ?? 0,
      lifetime,
      onChange: states => {
        post.states = states;
        this.#onChecked(index);
        onChange();
      },
    });
    post.states = post.checks.first;
    post.settled = !hasHooks(engine, { task, index, kind: 'post-start' });
    if (post.settled || post.hooking) return;
    post.hooking = true;
    lifetime.run(`post-start ${task.id}`, async ending => {
      const signal = AbortSignal.any([this.#hooking.signal, ending]);
      const run = { task, index, kind: 'post-start', timeoutMs: postStartTimeoutMs, signal } as const;
      const failure = await runHooks(engine, run).catch((error: unknown) => {
        if (!signal.aborted) throw error;
        return undefined;
      });
      post.hooking = false;
      if (signal.aborted) return;
      if (failure === undefined) post.settled = true;
      else this.#failure ??= failure;
      onChange();
    });
  }

  /** A sidecar that is started again whatever happens is ended by its own failing check, and nothing else is. */
  #onChecked(index: number): void {
    const container = this.#seen[index];
    const sick = this.#posts[index]?.states.health?.health === 'unhealthy';
    if (sick && container !== undefined && this.#isReplaceable(index)) killContainer(this.#parts.engine, container);
  }

  #isReplaceable(index: number): boolean {
    const { role, restart } = this.#parts.task.spec.containers[index] ?? {};
    return index > 0 && role === 'sidecar' && restart !== 'never';
  }

  #onEnded(index: number): void {
    const { engine, onChange } = this.#parts;
    const { clock } = engine.host;
    const post = this.#posts[index]!;
    post.checks?.end();
    post.checks = undefined;
    if (this.#isReplaceable(index)) post.states = noChecks;
    if (this.#stop === undefined && this.#isReplaceable(index)) {
      post.waitMs = planAgain({ waitMs: post.waitMs, ranMs: clock.monotonicMs() - post.startedMs });
      post.againAtMs = clock.monotonicMs() + post.waitMs;
      this.#again = clock.after(post.waitMs, onChange);
    }
    if (this.#posts.length > 1) onChange();
  }

  get #health(): Health {
    const healths = this.#posts.flatMap((post, index) =>
      post.states.health === undefined || (this.#isReplaceable(index) && post.states.health.health === 'unhealthy')
        ? []
        : [post.states.health.health],
    );
    return healths.reduce((worse, health) => (ranks[health] > ranks[worse] ? health : worse), 'none');
  }

  #statuses(): readonly ContainerStatus[] {
    if (this.#posts.length === 1) return [];
    const step = this.#next();
    return this.#members().map((member, index): ContainerStatus => {
      const post = this.#posts[index]!;
      const { health, ready } = post.states;
      return {
        name: member.name,
        role: member.role,
        state: member.phase,
        exitCode: member.exitCode,
        restarts: post.restarts,
        health: health?.health ?? '',
        ready: ready?.ready ?? '',
        message: ready?.output || health?.output || (step.kind === 'wait' && index === 0 ? step.because : ''),
      };
    });
  }
}

const ranks = { none: 0, healthy: 1, starting: 2, unhealthy: 3 } as const;

function worst(states: readonly Ready[]): '' | Ready {
  return states.length === 0 ? '' : ((['unready', 'waiting'] as const).find(one => states.includes(one)) ?? 'ready');
}

function countFile(engine: Engine, task: Task, index: number): string {
  return `${engine.paths.bundle(task.id, index)}/restarts`;
}

function readCount(engine: Engine, task: Task, index: number): number {
  return index === 0 ? 0 : Number(engine.host.files.findTextSync(countFile(engine, task, index)) ?? 0);
}

function writeCount(engine: Engine, task: Task, { index, count }: { readonly index: number; readonly count: number }) {
  engine.host.files.writeSync(countFile(engine, task, index), String(count));
}
