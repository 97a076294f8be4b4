/**
 * The Watch stream: what is there, the word that this was all, then every change in order.
 *
 * The stream is a view of the store, not a queue of it: a reader that is too slow for the changes is cut off with an error
 * (too-many) instead of being remembered without limit; it calls again and begins with the present state.
 *
 * Called by control.ts. Not here: fan-out within the daemon (raft/store).
 */
import { openChannel } from '../../channel.js';
import { CoveyError } from '../../errors.js';
import type { Network, Node, Service, Task, WatchEvent, WatchRequest } from '../../gen/types.js';
import type { Store, StoreEvent, View } from '../../raft/store.js';
import { refuseAt } from './check.js';
import { getObject } from './find.js';

const tables = ['node', 'network', 'service', 'task'] as const;
type WatchedTable = (typeof tables)[number];

/** Changes that may wait for one reader. */
const watchQueueMax = 10_000;

type Watched =
  | { readonly table: 'node'; readonly object: Node }
  | { readonly table: 'network'; readonly object: Network }
  | { readonly table: 'service'; readonly object: Service }
  | { readonly table: 'task'; readonly object: Task };

export async function* watchStore(
  store: Pick<Store, 'view' | 'watch'>,
  request: WatchRequest,
  { signal, queueMax = watchQueueMax }: { readonly signal: AbortSignal; readonly queueMax?: number },
): AsyncGenerator<WatchEvent> {
  const matches = filterOf(store.view(), request);
  const channel = openChannel<WatchEvent>(queueMax);
  // No await between the two: nothing is missed and nothing told twice.
  const initial = presentObjects(store.view()).filter(matches);
  using _ = store.watch(events => {
    for (const event of events) {
      const told = eventFor(event, matches);
      if (told === undefined || channel.push(told) || channel.ended()) continue;
      channel.fail(
        new CoveyError('too-many', 'Cannot go on with the watch: the reader is too slow', {
          state: `${queueMax} changes wait to be read`,
          hint: 'call again: it begins with the present state',
        }),
      );
    }
  });
  signal.addEventListener('abort', channel.close, { once: true });
  try {
    for (const watched of initial) {
      if (signal.aborted) return;
      yield told(watched);
    }
    yield { event: { kind: 'synced' } };
    yield* channel;
  } finally {
    signal.removeEventListener('abort', channel.close);
    channel.close();
  }
}

function filterOf(view: View, request: WatchRequest): (watched: Watched) => boolean {
  const unknown = request.tables.find(name => !tables.some(table => table === name));
  if (unknown !== undefined) refuseAt('tables')(`"${unknown}" is none of ${tables.join(', ')}`);
  const chosen = new Set<string>(request.tables.length === 0 ? tables : request.tables);
  const serviceId = request.service === '' ? undefined : getObject(view, 'service', request.service).id;
  const { stack } = request;
  return ({ table, object }) => {
    if (!chosen.has(table)) return false;
    switch (table) {
      case 'task':
        return (serviceId === undefined || object.serviceId === serviceId) && (stack === '' || object.stack === stack);
      case 'service':
        return (serviceId === undefined || object.id === serviceId) && (stack === '' || object.spec.stack === stack);
      case 'network':
        return stack === '' || object.spec.stack === stack;
      case 'node':
        return true;
    }
  };
}

function presentObjects(view: View): readonly Watched[] {
  return [
    ...[...view.list('node')].map(object => ({ table: 'node', object }) as const),
    ...[...view.list('network')].map(object => ({ table: 'network', object }) as const),
    ...[...view.list('service')].map(object => ({ table: 'service', object }) as const),
    ...[...view.list('task')].map(object => ({ table: 'task', object }) as const),
  ];
}

function eventFor(event: StoreEvent, matches: (watched: Watched) => boolean): WatchEvent | undefined {
  const watched = watchedOf(event);
  if (watched === undefined || !matches(watched)) return undefined;
  if (event.kind === 'put') return told(watched);
  return { event: { kind: 'deletion', table: watched.table satisfies WatchedTable, id: watched.object.id } };
}

function watchedOf(event: StoreEvent): Watched | undefined {
  switch (event.table) {
    case 'node':
      return { table: 'node', object: event.kind === 'put' ? event.object : event.old };
    case 'network':
      return { table: 'network', object: event.kind === 'put' ? event.object : event.old };
    case 'service':
      return { table: 'service', object: event.kind === 'put' ? event.object : event.old };
    case 'task':
      return { table: 'task', object: event.kind === 'put' ? event.object : event.old };
    default:
      return undefined;
  }
}

function told(watched: Watched): WatchEvent {
  switch (watched.table) {
    case 'node':
      return { event: { ...watched.object, kind: 'node' } };
    case 'network':
      return { event: { ...watched.object, kind: 'network' } };
    case 'service':
      return { event: { ...watched.object, kind: 'service' } };
    case 'task':
      return { event: { ...watched.object, kind: 'task' } };
  }
}
