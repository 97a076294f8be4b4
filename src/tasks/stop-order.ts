/**
 * The stop of a task, container by container: the main one first, then the sidecars, the last one first. Each gets its
 * pre-stop hooks, then its stop signal, all within its own grace; what does not end in time is killed before the next.
 *
 *   begin a group: clock of the grace -> pre-stop hooks -> stop signal -> all ended -> next group
 *                                   \-> grace over: SIGKILL; still there after that: `over`, and everything is killed
 *
 * Level-triggered: `look` may be called at any time with what is seen. Called by crew.ts. Not here: the order (members.ts).
 */
import type { Task } from '../gen/types.js';
import type { Timer } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { ContainerSeen } from './containers.js';
import type { Engine } from './engine.js';
import { hasHooks, runHooks } from './hooks.js';
import { planStopOrder } from './members.js';
import { graceOf, killContainer, stopContainer } from './stop.js';

export interface StopOrder {
  /** Goes on with what is seen now. */
  readonly look: (containers: readonly ContainerSeen[]) => void;
  /** The rest has to be killed: it had its time, and SIGKILL. */
  readonly isOver: () => boolean;
  readonly close: () => void;
}

export interface StopOrderOptions {
  readonly task: Task;
  /** In place of what the containers ask for. */
  readonly graceMs: number | undefined;
  readonly lifetime: Lifetime;
  /** Look again. */
  readonly touch: () => void;
}

/** How long a killed container may take to go before all of the task is killed. */
const killedMs = 200;

/** Who cannot be asked is killed: the clock of the grace must run whatever happens to a signal. */
function isAsked(
  engine: Engine,
  container: ContainerSeen,
  place: { readonly task: Task; readonly index: number },
): boolean {
  try {
    return stopContainer(engine, container, place);
  } catch (error) {
    engine.log.warn('cannot send a stop signal', { task: place.task.id, error });
    return false;
  }
}

export function openStopOrder(engine: Engine, options: StopOrderOptions): StopOrder {
  const { task, lifetime, touch } = options;
  const { clock } = engine.host;
  const graceMs = (index: number): number => options.graceMs ?? graceOf(task, index);
  const groups = [...planStopOrder(task.spec.containers)];
  const hooking = new AbortController();
  let seen: readonly ContainerSeen[] = [];
  let current: readonly number[] | undefined;
  let timer: Timer | undefined;
  let over = false;

  const after = (ms: number, call: () => void): void => {
    timer?.cancel();
    timer = clock.after(ms, () => {
      call();
      touch();
    });
  };
  const lives = (index: number): boolean => {
    const phase = seen[index]?.phase;
    return phase === 'created' || phase === 'running';
  };
  const kill = (): void => {
    after(killedMs, () => {
      over = true;
    });
    for (const index of current ?? []) if (seen[index] !== undefined) killContainer(engine, seen[index]);
  };
  const signal = (index: number): boolean => seen[index] !== undefined && isAsked(engine, seen[index], { task, index });
  const hookThenSignal = async (index: number, ending: AbortSignal): Promise<void> => {
    const either = AbortSignal.any([hooking.signal, ending]);
    const run = { task, index, kind: 'pre-stop', timeoutMs: graceMs(index), signal: either } as const;
    const failure = await runHooks(engine, run).catch(() => undefined); // only when the task or the daemon is over
    if (failure !== undefined) engine.log.warn('a pre-stop hook failed', { task: task.id, error: failure.message });
    if (!either.aborted) signal(index);
  };
  const begin = (group: readonly number[]): void => {
    current = group;
    const living = group.filter(lives);
    const hooked = living.filter(
      index => seen[index]?.phase === 'running' && hasHooks(engine, { task, index, kind: 'pre-stop' }),
    );
    const patient = living.filter(index => !hooked.includes(index)).filter(signal);
    engine.cgroups.freezer.thaw(task.id); // what stands still can neither act upon a signal nor run a hook
    const waits = [...hooked, ...patient].map(graceMs);
    if (waits.length === 0) after(killedMs, kill);
    else after(Math.max(...waits), kill);
    for (const index of hooked) lifetime.run(`pre-stop ${task.id}`, ending => hookThenSignal(index, ending));
  };
  return {
    look: containers => {
      seen = containers;
      if (current?.some(lives)) return;
      for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
        if (group.some(lives)) {
          begin(group);
          return;
        }
      }
    },
    isOver: () => over,
    close: () => {
      timer?.cancel();
      hooking.abort();
    },
  };
}
