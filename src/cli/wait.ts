/**
 * Waits until what was changed is so, and shows it: live on a terminal, plain lines in a pipe. Ctrl-C ends the waiting, never
 * the change; a timeout is exit code 3.
 *
 * Called by every command that changes services, stacks or nodes.
 *
 * Not here: when it is so (converge.ts).
 */
import { CoveyError } from '../errors.js';
import type { Service, WatchRequest } from '../gen/types.js';
import { deadline } from '../lifetime.js';
import type { CliContext } from './context.js';
import { applyEvent, emptySeen, progressOf, type Seen, type ServiceProgress } from './converge.js';
import type { Flags } from './flags.js';
import { exitCodes } from './output/errors.js';
import { type Live, openLive } from './output/live.js';
import { plainProgress, renderDone, renderProgress, taskText } from './output/progress.js';
import { plural, renderDuration } from './output/values.js';
import { hostOf, isLive, portsOf } from './records.js';

/** Looks again without an event, for what no event tells (a global service whose number of nodes fell). */
const lookAgainMs = 1_000;

export interface WaitOptions {
  readonly request: WatchRequest;
  /** For messages: 'service "web"'. */
  readonly what: string;
  /** The command that shows how it goes on. */
  readonly look: string;
  readonly flags: Flags;
  readonly startedMs: number;
  /** What is drawn meanwhile: it stays as it is when the waiting is ended, above the word about that. */
  readonly live?: Live | undefined;
}

/** Calls `check` after every change that the watch tells, until it answers with something. */
export async function watchUntil<Result>(
  context: CliContext,
  options: WaitOptions,
  check: (seen: Seen) => Promise<Result | undefined>,
): Promise<Result | 'interrupted'> {
  const { control } = await context.connect();
  const timeoutMs = options.flags.durationMs('timeout');
  const { clock } = context.console;
  const reason = (): Error =>
    new CoveyError('timeout', `Cannot see ${options.what} as asked within ${renderDuration(timeoutMs ?? 0)}`, {
      state: seen.blind,
      hint: options.look,
    });
  const seen = emptySeen();
  const ended = new AbortController();
  using limit =
    timeoutMs === undefined
      ? openEnded(context.signal)
      : deadline(clock, { ms: timeoutMs, parent: context.signal, reason });
  const signal = AbortSignal.any([limit.signal, ended.signal]);
  const events = control.watch(options.request, { signal })[Symbol.asyncIterator]();
  const takeEvent = (): ReturnType<typeof events.next> => {
    const taken = events.next();
    taken.catch(() => undefined); // the one that is on its way when the waiting ends fails, and nobody looks at it
    return taken;
  };
  try {
    let next = takeEvent();
    for (;;) {
      const event = await raceTick(next, { clock, signal });
      if (event !== 'tick') {
        if (event.done) throw new CoveyError('no-connection', 'Cannot go on watching: the daemon ended the stream');
        const before = seen.blind;
        applyEvent(seen, event.value.event);
        if (!context.isInteractive && seen.blind !== before) await context.note(sightText(seen));
        next = takeEvent();
      }
      if (!seen.synced) continue;
      const result = await check(seen);
      if (result !== undefined) return result;
    }
  } catch (error) {
    if (context.signal.aborted) {
      await options.live?.end();
      await context.note(`Stopped waiting; the change goes on. ${options.look} shows it.`);
      return 'interrupted';
    }
    throw limit.signal.aborted ? limit.signal.reason : error;
  } finally {
    ended.abort(new CoveyError('cancelled', 'Cannot go on: nobody waits any more'));
    await events.return?.().catch(() => undefined);
  }
}

function sightText({ blind }: Seen): string {
  return blind === undefined
    ? 'A manager leads again; it goes on.'
    : `It goes on when a manager leads again (${blind}).`;
}

/** Why nothing moves, as a line below what is shown live. */
export function blindLines(seen: Seen): readonly string[] {
  return seen.blind === undefined ? [] : [sightText(seen)];
}

function openEnded(signal: AbortSignal): { readonly signal: AbortSignal } & Disposable {
  return { signal, [Symbol.dispose]: () => undefined };
}

interface TickOptions {
  readonly clock: CliContext['console']['clock'];
  readonly signal: AbortSignal;
}

function raceTick<Item>(next: Promise<Item>, options: TickOptions): Promise<Item | 'tick'> {
  return new Promise((resolve, reject) => {
    const timer = options.clock.after(lookAgainMs, () => resolve('tick'));
    const onAbort = (): void => reject(options.signal.reason);
    options.signal.addEventListener('abort', onAbort, { once: true });
    next.then(resolve, reject).finally(() => {
      timer.cancel();
      options.signal.removeEventListener('abort', onAbort);
    });
    if (options.signal.aborted) onAbort();
  });
}

export interface WaitForServices extends WaitOptions {
  /** As the change answered: an older version in the watch is not yet the change. */
  readonly services: readonly Service[];
}

/** Waits until the services have converged. The exit code. */
export async function waitForServices(context: CliContext, options: WaitForServices): Promise<number> {
  const { clock, stdout } = context.console;
  const live = context.isInteractive ? openLive(stdout, clock) : undefined;
  const said = new Map<string, string>();
  let latest: readonly ServiceProgress[] = [];
  let notes: readonly string[] = [];
  try {
    const result = await watchUntil(context, { ...options, live }, async seen => {
      latest = await progressOfAll(context, options.services, seen);
      notes = placeNotes(seen, options.services);
      const { rows, columns } = stdout.size();
      const lines = renderProgress(latest, { rows: rows - 2, columns: columns - 1, colours: context.colours });
      live?.show([...lines, ...blindLines(seen)]);
      if (live === undefined) for (const line of plainProgress(latest, said)) await context.print(line);
      const failed = latest.find(one => one.outcome.kind === 'failed' || one.outcome.kind === 'not-updated');
      if (failed !== undefined) throw startError(failed, options.look);
      return latest.length === options.services.length && latest.every(one => one.outcome.kind === 'done')
        ? latest
        : undefined;
    });
    await live?.end();
    if (result === 'interrupted') return exitCodes.interrupted;
    for (const one of result) {
      const url = await publishedUrl(
        context,
        options.services.find(service => service.id === one.id),
      );
      await context.print(renderDone(one, { tookMs: clock.monotonicMs() - options.startedMs, url }));
    }
    for (const text of notes) await context.note(text);
    return exitCodes.done;
  } catch (error) {
    await live?.end();
    throw error instanceof CoveyError && error.code === 'timeout' ? withState(error, latest) : error;
  }
}

/** What is to be known of where its tasks went, as of volumes that they did not find there. */
function placeNotes(seen: Seen, services: readonly Service[]): readonly string[] {
  const ids = new Set(services.map(service => service.id));
  const tasks = [...seen.tasks.values()].filter(task => ids.has(task.serviceId) && isLive(task));
  return tasks.flatMap(task =>
    task.placeNote === undefined
      ? []
      : [`Note: ${task.serviceName}.${task.slot || (seen.nodes[task.nodeId] ?? '')}: ${task.placeNote}`],
  );
}

function startError(progress: ServiceProgress, look: string): CoveyError {
  const { outcome } = progress;
  if (outcome.kind === 'not-updated') {
    return new CoveyError(outcome.code, `Cannot update "${progress.name}": ${outcome.why}`, {
      state: stateOf(progress),
      hint: look,
    });
  }
  if (outcome.kind !== 'failed') return new CoveyError('bug', 'Cannot make an error of a service that did not fail');
  return new CoveyError(outcome.code, `Cannot start ${outcome.task}: ${outcome.why}`, {
    state: stateOf(progress),
    hint: look,
  });
}

function stateOf({ name, running, wanted, isJob }: ServiceProgress): string {
  return `${running} of ${wanted} of "${name}" ${isJob ? 'completed' : 'running'}`;
}

function withState(error: CoveyError, progress: readonly ServiceProgress[]): CoveyError {
  const parts = progress
    .filter(one => one.outcome.kind !== 'done')
    .map(one => {
      const open = one.lines.find(line => line.state !== 'running');
      return `${one.name}: ${one.running} of ${one.wanted} ${one.isJob ? 'completed' : 'running'}${open === undefined ? '' : `; ${open.name} ${taskText(open)}`}`;
    });
  const state = [...parts, ...(error.state === undefined ? [] : [error.state])].join(' · ');
  return new CoveyError(error.code, error.message, { state: state || undefined, hint: error.hint });
}

/** Progress of the services that the watch shows in the changed version already. */
async function progressOfAll(
  context: CliContext,
  services: readonly Service[],
  seen: Seen,
): Promise<readonly ServiceProgress[]> {
  const all: ServiceProgress[] = [];
  for (const asked of services) {
    const service = seen.services.get(asked.id);
    if (service === undefined || service.meta.version < asked.meta.version) continue;
    const tasks = [...seen.tasks.values()].filter(task => task.serviceId === service.id);
    const wanted = await wantedOf(context, service, tasks.filter(isLive).length);
    all.push(progressOf({ service, tasks, nodes: seen.nodes, wanted, asked }));
  }
  return all;
}

/** Only the managers know on how many nodes a global service should run. */
async function wantedOf(context: CliContext, service: Service, seen: number): Promise<number> {
  if (service.spec.mode.kind === 'replicated') return service.spec.mode.replicas;
  if (service.spec.mode.kind === 'replicatedJob') return service.spec.mode.completions;
  const { control } = await context.connect();
  const answer = await control.listServices({ objects: [service.id], stack: '' }, { signal: context.signal });
  return answer.wanted[service.id] ?? seen;
}

/** Where a published port answers: this node's address, and how it is with the others. */
async function publishedUrl(context: CliContext, service: Service | undefined): Promise<string | undefined> {
  if (service === undefined || service.spec.ports.length === 0) return undefined;
  const { control, local } = await context.connect();
  const answer = await control.listServices({ objects: [service.id], stack: '' }, { signal: context.signal });
  const [current] = answer.services;
  const port = portsOf(current ?? service).find(one => one.published > 0);
  if (port === undefined) return undefined;
  const info = await local.info({}, { signal: context.signal });
  const host = hostOf(info.description.addresses[0] ?? '') || '127.0.0.1';
  const shown = host.includes(':') ? `[${host}]` : host;
  const url =
    port.protocol === 'tcp' ? `http://${shown}:${port.published}` : `${shown}:${port.published}/${port.protocol}`;
  if (port.mode !== 'ingress') return `port ${port.published} of the nodes that run it`;
  return (info.counts?.nodes ?? 1) > 1 ? `${url} and every other node` : url;
}

export interface WaitForRemoval extends WaitOptions {
  readonly serviceIds: readonly string[];
}

/** Waits until the services and all of their tasks are gone. */
export async function waitForRemoval(context: CliContext, options: WaitForRemoval): Promise<number> {
  const live = context.isInteractive ? openLive(context.console.stdout, context.console.clock) : undefined;
  let left = 0;
  try {
    const result = await watchUntil(context, { ...options, live }, async seen => {
      const tasks = [...seen.tasks.values()].filter(
        task => options.serviceIds.includes(task.serviceId) && isLive(task),
      );
      const services = options.serviceIds.filter(id => seen.services.has(id));
      left = tasks.length;
      const line = `stopping ${options.what}: ${plural(left, 'task')} left`;
      live?.show(services.length === 0 && left === 0 ? [] : [line, ...blindLines(seen)]);
      return services.length === 0 && left === 0 ? true : undefined;
    });
    await live?.end([]);
    return result === 'interrupted' ? exitCodes.interrupted : exitCodes.done;
  } catch (error) {
    await live?.end();
    // Gone before the watch began.
    if (error instanceof CoveyError && error.code === 'not-found') return exitCodes.done;
    if (error instanceof CoveyError && error.code === 'timeout') {
      throw new CoveyError('timeout', error.message, {
        state: `${plural(left, 'task')} still running`,
        hint: error.hint,
      });
    }
    throw error;
  }
}
