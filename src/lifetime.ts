/**
 * A scope that owns background work: what is started in it is cancelled, awaited and reported when it ends. Nothing
 * runs outside of one, so that "stopped" means stopped.
 *
 * Ending: the signal aborts, all work is awaited, resources are disposed last-in first-out; failures are collected and
 * thrown together at the end.
 *
 * Not here: reconciling by key (loop.ts).
 */
import { asCoveyError, codeOf } from './errors.js';

export interface Lifetime extends AsyncDisposable {
  readonly name: string;
  readonly signal: AbortSignal;
  /** Runs work until it ends or the scope does. A failure goes to onFailure and, by default, ends nothing else. */
  readonly run: (name: string, work: (signal: AbortSignal) => Promise<void>) => void;
  /** Disposed when the scope ends, after all work; the last one first. */
  readonly own: <Resource extends AsyncDisposable | Disposable>(resource: Resource) => Resource;
  /** A function to call when the scope ends. */
  readonly defer: (name: string, cleanUp: () => Promise<void> | void) => void;
  /** A scope that ends with this one at the latest. */
  readonly child: (name: string) => Lifetime;
}

export interface LifetimeOptions {
  /** Called for each failure of work that was not caused by the end of the scope. */
  readonly onFailure: (name: string, error: unknown) => void;
}

export function openLifetime(name: string, options: LifetimeOptions): Lifetime {
  const controller = new AbortController();
  const working = new Set<Promise<void>>();
  const resources: { readonly name: string; readonly dispose: () => Promise<void> | void }[] = [];
  let ending: Promise<void> | undefined;

  const lifetime: Lifetime = {
    name,
    signal: controller.signal,
    run: (task, work) => {
      const started = (async () => {
        try {
          await work(controller.signal);
        } catch (error) {
          if (!(controller.signal.aborted && isCancellation(error))) options.onFailure(`${name}/${task}`, error);
        }
      })();
      working.add(started);
      void started.finally(() => working.delete(started));
    },
    own: resource => {
      const dispose = async (): Promise<void> => {
        if (Symbol.asyncDispose in resource) await resource[Symbol.asyncDispose]();
        else resource[Symbol.dispose]();
      };
      resources.push({ name: 'resource', dispose });
      return resource;
    },
    defer: (task, cleanUp) => resources.push({ name: task, dispose: cleanUp }),
    child: childName => {
      const child = openLifetime(`${name}/${childName}`, options);
      const entry = { name: childName, dispose: async (): Promise<void> => await child[Symbol.asyncDispose]() };
      const onAbort = (): void => void entry.dispose().catch(error => options.onFailure(child.name, error));
      controller.signal.addEventListener('abort', onAbort, { once: true });
      resources.push(entry);
      child.defer('parent', () => {
        controller.signal.removeEventListener('abort', onAbort);
        const at = resources.indexOf(entry);
        if (at >= 0) resources.splice(at, 1);
      });
      return child;
    },
    [Symbol.asyncDispose]: () => {
      ending ??= end(controller, working, resources);
      return ending;
    },
  };
  return lifetime;
}

async function end(
  controller: AbortController,
  working: ReadonlySet<Promise<void>>,
  resources: { readonly name: string; readonly dispose: () => Promise<void> | void }[],
): Promise<void> {
  controller.abort();
  while (working.size > 0) await Promise.all(working);
  const failures: unknown[] = [];
  for (let resource = resources.pop(); resource !== undefined; resource = resources.pop()) {
    try {
      await resource.dispose();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, `Cannot end everything: ${failures.length} parts failed`);
}

/** Whether the error only says that somebody gave up. */
export function isCancellation(error: unknown): boolean {
  return codeOf(asCoveyError(error)) === 'cancelled' || (error instanceof Error && error.name === 'AbortError');
}

/** A signal that aborts after ms or with its parent, whichever is first. Dispose it to free the timer. */
export function deadline(
  clock: { after(ms: number, call: () => void): { cancel(): void } },
  options: { readonly ms: number; readonly parent: AbortSignal; readonly reason: () => Error },
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const timer = clock.after(options.ms, () => controller.abort(options.reason()));
  const onParent = (): void => controller.abort(options.parent.reason);
  if (options.parent.aborted) onParent();
  options.parent.addEventListener('abort', onParent, { once: true });
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      timer.cancel();
      options.parent.removeEventListener('abort', onParent);
    },
  };
}

/** A deadline counts in pieces of so much. */
const pieceMs = 100;
/** However starved the process is, it ends within so many times its length. */
const starvedTimes = 2.5;

/**
 * A deadline for an answer of somebody else that counts only while this process gets to run: a late timer counts as if it had been
 * in time. On a starved machine the answer may lie in the socket already when the timer fires, and timers come before sockets; with
 * the time cut in pieces, sockets are looked at between any two of them.
 */
export function fairDeadline(
  clock: { monotonicMs(): number; after(ms: number, call: () => void): { cancel(): void } },
  options: { readonly ms: number; readonly parent: AbortSignal; readonly reason: () => Error },
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const lastMs = clock.monotonicMs() + options.ms * starvedTimes;
  let leftMs = options.ms;
  let isLast = false;
  let timer: { cancel(): void } | undefined;
  const wait = (): void => {
    const ms = Math.min(pieceMs, leftMs);
    timer = clock.after(ms, () => {
      leftMs = isLast ? 0 : leftMs - ms;
      isLast = clock.monotonicMs() >= lastMs;
      if (leftMs <= 0) controller.abort(options.reason());
      else wait();
    });
  };
  const onParent = (): void => controller.abort(options.parent.reason);
  if (options.parent.aborted) onParent();
  options.parent.addEventListener('abort', onParent, { once: true });
  wait();
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      timer?.cancel();
      options.parent.removeEventListener('abort', onParent);
    },
  };
}
