/**
 * The leader's half of a manager: the loops that turn services into placed tasks. Opened when this node becomes the leader,
 * and gone (awaited, not merely told) before it acts as a follower again.
 *
 * One loop over services, each look a pass (orchestrate/pass.ts), those of the same time stored together (passes.ts); another
 * tidies away what is marked as removed. Events of the store only say which service to look at again; at the start all are
 * looked at.
 *
 * Called by daemon/node.ts. Not here: what people ask for (control.ts), what agents say (dispatcher/).
 */
import type { Node, Task } from '../gen/types.js';
import type { Clock, Random, Timer } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import { type Loop, openLoop } from '../loop.js';
import { isEnded, type Store, type StoreEvent, updateInPieces, type View } from '../raft/store.js';
import { isServing } from '../serving.js';
import type { Logger } from '../telemetry.js';
import type { WaitsFor } from './allocate/index.js';
import { openPasses } from './orchestrate/passes.js';
import { planTidy } from './orchestrate/reap.js';
import { planDefaults } from './tables.js';

export interface ManagerParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The loops end with it at the latest. */
  readonly lifetime: Lifetime;
  /** Nodes that may still lead to what had the address before; undefined: none. */
  readonly waitsFor: WaitsFor;
}

/** Disposing ends all loops and resolves when the last of them has stopped writing. */
export interface Manager extends AsyncDisposable {
  /** Resolves when no loop has anything to do right now (keys that wait for a time do not count). */
  readonly idle: () => Promise<void>;
}

/** Services looked at side by side: their writes are stored together. */
const concurrency = 64;

/** The wait before a service is looked at again is this many times what the look took: large services must not fill the day. */
const pauseFactor = 4;
const pauseMaxMs = 200;

interface Loops {
  readonly services: Loop<string>;
  readonly tidy: Loop<'defaults' | 'removed'>;
  /** Services with tasks that wait for resources, addresses, nodes. */
  readonly waiting: Set<string>;
}

export function openManager(parts: ManagerParts): Manager {
  const { store, clock, log } = parts;
  const lifetime = parts.lifetime.child('manager');
  const onFailure = (key: string, error: unknown, retryInMs: number): void =>
    log.warn('cannot reconcile', { key, error, retryInMs });
  const waiting = new Set<string>();
  const wakes = new Map<string, Wake>();
  lifetime.defer('wakes', () => {
    for (const { timer } of wakes.values()) timer.cancel();
  });
  const passes = openPasses({ store, clock, random: parts.random, signal: lifetime.signal, waitsFor: parts.waitsFor });
  const services: Loop<string> = openLoop<string>({
    name: 'services',
    clock,
    lifetime,
    concurrency,
    onFailure,
    reconcile: async (serviceId, signal) => {
      const pass = await passes.pass(serviceId);
      if (pass.isWaiting) waiting.add(serviceId);
      else waiting.delete(serviceId);
      wakeAt({ services, wakes, clock }, serviceId, pass.wakeAtMs);
      const pauseMs = Math.min(pauseMaxMs, pass.tookMs * pauseFactor);
      if (pauseMs > pauseFactor) await clock.sleep(pauseMs, signal);
    },
  });
  const tidy = openLoop<'defaults' | 'removed'>({
    name: 'tidy',
    clock,
    lifetime,
    onFailure,
    reconcile: async (key, signal) => {
      const decide = key === 'defaults' ? (view: View) => planDefaults(view, parts.random) : planTidy;
      await updateInPieces(store, view => decide(view).map(write => [write]), { principal: 'system', signal });
    },
  });
  const loops = { services, tidy, waiting };
  lifetime.own(store.watch((events, view) => touchAll(loops, events, view)));
  lookAtAll(loops, store.view());
  return {
    idle: async () => {
      await services.idle();
      await tidy.idle();
    },
    [Symbol.asyncDispose]: () => lifetime[Symbol.asyncDispose](),
  };
}

interface Wake {
  readonly atMs: number;
  readonly timer: Timer;
}

/** One timer a service, at the earliest time that a pass asked for. */
function wakeAt(
  {
    services,
    wakes,
    clock,
  }: { readonly services: Loop<string>; readonly wakes: Map<string, Wake>; readonly clock: Clock },
  serviceId: string,
  atMs: number | undefined,
): void {
  const present = wakes.get(serviceId);
  if (atMs === undefined || (present !== undefined && present.atMs <= atMs)) return;
  present?.timer.cancel();
  const timer = clock.after(Math.max(1, atMs - clock.wallMs()), () => {
    wakes.delete(serviceId);
    services.touch(serviceId);
  });
  wakes.set(serviceId, { atMs, timer });
}

function lookAtAll({ services, tidy }: Loops, view: View): void {
  tidy.touch('defaults');
  tidy.touch('removed');
  for (const service of view.list('service')) services.touch(service.id);
  for (const task of view.list('task')) {
    if (view.find('service', task.serviceId) === undefined) services.touch(task.serviceId);
  }
}

function touchAll(loops: Loops, events: readonly StoreEvent[], view: View): void {
  for (const event of events) touchFor(loops, event, view);
}

/** What to look at again because of a change. Too much is harmless, too little is not. */
function touchFor(loops: Loops, event: StoreEvent, view: View): void {
  const { services, tidy } = loops;
  switch (event.table) {
    case 'service':
      services.touch((event.kind === 'put' ? event.object : event.old).id);
      if (event.kind === 'delete' || event.old !== undefined) freed(loops);
      return;
    case 'task':
      if (event.kind === 'delete' || isNews(event.object, event.old))
        services.touch((event.kind === 'put' ? event.object : event.old).serviceId);
      if (event.kind === 'delete' || isEnded(event.object.status.state)) freed(loops);
      return;
    case 'node':
      if (event.kind === 'put' && event.old !== undefined && !isOther(event.object, event.old)) return;
      for (const task of view.tasksOfNode((event.kind === 'put' ? event.object : event.old).id))
        services.touch(task.serviceId);
      for (const { id, spec } of view.list('service'))
        if (spec.mode.kind === 'global' || spec.mode.kind === 'globalJob') services.touch(id);
      freed(loops);
      return;
    case 'network':
      freed(loops);
      return;
    case 'secret':
    case 'config':
      if (event.kind === 'put' && event.object.removing === true) tidy.touch('removed');
      return;
    default:
      return;
  }
}

/** Something may be had now that could not be had before. */
function freed({ services, tidy, waiting }: Loops): void {
  for (const serviceId of waiting) services.touch(serviceId);
  tidy.touch('removed');
}

/** What an agent reports on its way to running decides nothing; what a pass wrote it knows. */
function isNews(task: Task, old: Task | undefined): boolean {
  if (old === undefined) return false;
  const { state, attempt } = task.status;
  if (attempt !== old.status.attempt || task.move?.nodeId !== old.move?.nodeId) return true;
  // One that is prepared and held: the old task of its slot may stop now.
  if (isServing(task.status) !== isServing(old.status)) return true;
  const decides = state === 'running' || isEnded(state) || (state === 'ready' && task.desired === 'ready');
  return state !== old.status.state && decides;
}

function isOther(node: Node, old: Node): boolean {
  return (
    node.status.state !== old.status.state ||
    node.status.silentSinceMs !== old.status.silentSinceMs ||
    node.spec.availability !== old.spec.availability ||
    node.spec.drainUntilMs !== old.spec.drainUntilMs ||
    node.role !== old.role ||
    node.description.cpuNanos !== old.description.cpuNanos ||
    node.description.memoryBytes !== old.description.memoryBytes ||
    JSON.stringify(node.spec.labels) !== JSON.stringify(old.spec.labels) ||
    JSON.stringify(node.description.labels) !== JSON.stringify(old.description.labels)
  );
}
