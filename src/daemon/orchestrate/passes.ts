/**
 * Passes over services that are due at the same time, decided on one draft and stored together: who has which address is read
 * once for all of them, and what they give back is noted once. While some are on their way to the log, the next ones gather.
 *
 * Keeps true: a pass that fails, or whose writes are refused, is tried apart from the others, so that it holds up nobody.
 *
 * Called by manager.ts. Not here: one pass (pass.ts), when to look (manager.ts).
 */
import type { Clock, Random } from '../../host.js';
import { type Store, updateInPieces, type View, type Write } from '../../raft/store.js';
import { openShared, type PassContext, type PassNotes, passPrincipal, takePass, writesOfShared } from './pass.js';

/** Services of one draft. */
const servicesMax = 64;
/** A draft that is so large takes no more of them: each look at a service walks what the draft has changed. */
const changesEnough = 128;

export interface Passes {
  /** What a pass over the service leaves to be done; all that there was to do now is stored. */
  readonly pass: (serviceId: string) => Promise<PassNotes>;
}

interface Asked {
  readonly serviceId: string;
  readonly resolve: (notes: PassNotes) => void;
  readonly reject: (error: unknown) => void;
}

export interface PassesOptions {
  readonly store: Pick<Store, 'update'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

export function openPasses(options: PassesOptions): Passes {
  let asked: Asked[] = [];
  let isWorking = false;
  const work = async (): Promise<void> => {
    await Promise.resolve(); // who asks in the same turn comes along
    while (asked.length > 0) {
      const group = asked.slice(0, servicesMax);
      asked = asked.slice(servicesMax);
      const left = await storeGroup(options, group);
      asked = [...left, ...asked];
    }
    isWorking = false;
  };
  return {
    pass: serviceId =>
      new Promise((resolve, reject) => {
        asked.push({ serviceId, resolve, reject });
        if (isWorking) return;
        isWorking = true;
        void work();
      }),
  };
}

/** Gives back those that there is more to do for. */
async function storeGroup(options: PassesOptions, group: readonly Asked[]): Promise<readonly Asked[]> {
  try {
    const notes = await store(options, group);
    const left = group.filter(({ serviceId }) => notes.get(serviceId)?.isMore !== false);
    for (const { serviceId, resolve } of group) {
      const own = notes.get(serviceId);
      if (own !== undefined && !own.isMore) resolve(own);
    }
    return left;
  } catch (error) {
    if (group.length === 1 || options.signal.aborted) {
      for (const { reject } of group) reject(error);
      return [];
    }
    const middle = Math.ceil(group.length / 2);
    const left = await storeGroup(options, group.slice(0, middle));
    return [...left, ...(await storeGroup(options, group.slice(middle)))];
  }
}

async function store(
  { store, clock, random, signal }: PassesOptions,
  group: readonly Asked[],
): Promise<ReadonlyMap<string, PassNotes>> {
  let notes: ReadonlyMap<string, PassNotes> = new Map();
  const ids = group.map(({ serviceId }) => serviceId);
  const decide = (view: View): readonly (readonly Write[])[] => {
    const planned = planPasses(view, ids, { nowMs: clock.wallMs(), random });
    notes = planned.notes;
    return planned.writes.map(write => [write]);
  };
  await updateInPieces(store, decide, { principal: passPrincipal, signal });
  return notes;
}

/** Services without notes did not fit. */
export function planPasses(
  base: View,
  serviceIds: Iterable<string>,
  context: PassContext,
): { readonly writes: readonly Write[]; readonly notes: ReadonlyMap<string, PassNotes> } {
  const shared = openShared(base);
  const notes = new Map<string, PassNotes>();
  for (const serviceId of serviceIds) {
    if (shared.draft.changes() >= changesEnough) break;
    notes.set(serviceId, takePass(base, serviceId, { ...context, shared }));
  }
  return { writes: writesOfShared(shared, context.nowMs), notes };
}
