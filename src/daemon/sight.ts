/**
 * What a manager can say of its store without asking the others: nothing is missing as far as a leader is heard of, and if none
 * is, how old it all is. An election takes a second or two; after `patienceMs` without a leader nobody is kept waiting for one.
 *
 *     leader known  ──lost──►  waits for another  ──patienceMs──►  blind: answers are as old as they are
 *          ▲                          │                                  │
 *          └────────────────────── somebody leads ───────────────────────┘
 *
 * Keeps true: the time it gives is never later than the truth.
 *
 * Opened by cluster-parts.ts, used by control-route.ts. Not here: who leads (group/), ReadIndex (raft/).
 */
import type { AsOf } from '../gen/types.js';
import type { CallContext } from '../grpc.js';
import type { Clock, Timer } from '../host.js';
import type { NodeReadOutcome } from '../raft/node/types.js';
import type { View } from '../raft/store.js';

export interface Sight {
  /** No manager has led for so long that nobody should be kept waiting. */
  readonly isBlind: () => boolean;
  /** Of the store as it is here, with the reason for looking at that alone. */
  readonly asOf: (why: string) => AsOf;
  /** Somebody may lead now who did not, or nobody may any more. */
  readonly look: () => void;
  /** Called when it becomes blind, and when it sees again. */
  readonly onChange: (listener: () => void) => Disposable;
}

export interface SightOptions {
  readonly clock: Clock;
  readonly knowsLeader: () => boolean;
  readonly view: () => View;
}

/** An election that is not disturbed is over by then. */
export const patienceMs = 3_000;
/** The first one of a daemon: others may be starting too. */
const firstPatienceMs = 5_000;
/** A member whose leader is silent for longer (two election timeouts) says that there is none. */
const heardWithinMs = 2_000;

export function openSight({ clock, knowsLeader, view }: SightOptions): Sight & Disposable {
  const listeners = new Set<() => void>();
  let lost: { readonly wallMs: number | undefined } | undefined = { wallMs: undefined };
  let blind = false;
  let timer: Timer | undefined;
  const set = (next: boolean): void => {
    if (blind === next) return;
    blind = next;
    for (const listener of listeners) listener();
  };
  const wait = (ms: number): void => {
    timer = clock.after(ms, () => set(true));
  };
  wait(firstPatienceMs);
  return {
    isBlind: () => blind,
    asOf: why => {
      if (lost === undefined) return { atMs: clock.wallMs() - heardWithinMs, why };
      return { atMs: lost.wallMs ?? newestChange(view()), why };
    },
    look: () => {
      if (knowsLeader()) {
        lost = undefined;
        timer?.cancel();
        set(false);
      } else if (lost === undefined) {
        lost = { wallMs: clock.wallMs() - heardWithinMs };
        wait(patienceMs);
      }
    },
    onChange: listener => {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
    [Symbol.dispose]: () => timer?.cancel(),
  };
}

/** A manager that has heard of no leader since its start knows no more than what its store says last. */
function newestChange(view: View): number {
  let newest = 0;
  for (const table of ['node', 'service', 'task', 'network'] as const) {
    for (const { meta } of view.list(table)) newest = Math.max(newest, meta.updatedAtMs);
  }
  return newest;
}

export type ReadWish = 'latest-or-stale' | 'consistent' | 'stale';

/** What the caller wants of a read; what is not known is read as nothing. */
export function wishOf({ metadata }: Pick<CallContext, 'metadata'>): ReadWish {
  const [said] = metadata.get('covey-read');
  return said === 'consistent' || said === 'stale' ? said : 'latest-or-stale';
}

/** The outcome of a read; one that is under way when the sight is lost is not waited for. */
export function readWhileSeeing(sight: Sight, read: () => Promise<NodeReadOutcome>): Promise<NodeReadOutcome> {
  if (sight.isBlind()) return Promise.resolve({ kind: 'no-leader' });
  return new Promise((resolve, reject) => {
    const lost = sight.onChange(() => resolve({ kind: 'no-leader' }));
    read()
      .then(resolve, reject)
      .finally(() => lost[Symbol.dispose]());
  });
}

/**
 * The events of a watch, with a word in between when nobody leads (nothing will change for now) and when somebody does again.
 * `first`: what is to be said of the objects that it begins with.
 */
export async function* withSight(
  events: AsyncIterable<unknown>,
  { sight, first, why }: { readonly sight: Sight; readonly first: AsOf | undefined; readonly why: () => string },
): AsyncGenerator<unknown> {
  const iterator = events[Symbol.asyncIterator]();
  let told = first !== undefined && sight.isBlind();
  if (first !== undefined) yield { event: { kind: 'asOf', ...first } };
  let next: Promise<IteratorResult<unknown>> | undefined;
  try {
    for (;;) {
      if (told !== sight.isBlind()) {
        told = !told;
        yield { event: { kind: 'asOf', ...(told ? sight.asOf(why()) : { atMs: 0, why: '' }) } };
      }
      next ??= iterator.next();
      const result = await nextOrChange(next, sight);
      if (result === 'changed') continue;
      next = undefined;
      if (result.done === true) return;
      yield result.value;
    }
  } finally {
    // Not waited for: a watch that has nothing to say ends with its caller's signal.
    void iterator.return?.()?.catch(() => undefined);
  }
}

function nextOrChange<Result>(next: Promise<Result>, sight: Sight): Promise<Result | 'changed'> {
  return new Promise((resolve, reject) => {
    const change = sight.onChange(() => resolve('changed'));
    next.then(resolve, reject).finally(() => change[Symbol.dispose]());
  });
}
