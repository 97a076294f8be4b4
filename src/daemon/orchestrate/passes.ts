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
import type { WaitsFor } from '../allocate/index.js';
import { openShared, type PassContext, type PassNotes, passPrincipal, takePass, writesOfShared } from './pass.js';

/** Services of one draft. */
const servicesMax = 64;
/**
 * The wait before the next group is this many times what the last one took to be stored: people who change one service after the
 * other would find the log busy with the one before each time.
 */
const pauseFactor = 2;
const pauseMaxMs = 20;
/** A draft that is so large takes no more of them: each look at a service walks what the draft has changed. */
const changesEnough = 128;

export interface Passes {
  /** What a pass over the service leaves to be done; all that there was to do now is stored. */
  readonly pass: (serviceId: string) => Promise<Passed>;
}

export interface Passed extends PassNotes {
  /** Time that its last look took. */
  readonly tookMs: number;
}

interface Asked {
  readonly serviceId: string;
  readonly resolve: (passed: Passed) => void;
  readonly reject: (error: unknown) => void;
}

export interface PassesOptions {
  readonly store: Pick<Store, 'update'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly waitsFor: WaitsFor;
}

export function openPasses(options: PassesOptions): Passes {
  const { clock } = options;
  let asked: Asked[] = [];
  let isWorking = false;
  let quietUntilMs = Number.NEGATIVE_INFINITY;
  const work = async (): Promise<void> => {
    await Promise.resolve(); // who asks in the same turn comes along
    while (asked.length > 0) {
      await untilQuiet(options, quietUntilMs);
      const group = asked.slice(0, servicesMax);
      asked = asked.slice(servicesMax);
      const startedAtMs = clock.monotonicMs();
      const left = await storeGroup(options, group);
      asked = [...left, ...asked];
      const endedAtMs = clock.monotonicMs();
      const pauseMs = Math.min(pauseMaxMs, (endedAtMs - startedAtMs) * pauseFactor);
      quietUntilMs = left.length > 0 ? endedAtMs : endedAtMs + pauseMs;
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

async function untilQuiet({ clock, signal }: PassesOptions, atMs: number): Promise<void> {
  const waitMs = atMs - clock.monotonicMs();
  if (waitMs <= 0) return;
  // When the leadership ends meanwhile, the store refuses what follows.
  await clock.sleep(waitMs, signal).catch(() => undefined);
}

/** Gives back those that there is more to do for. */
async function storeGroup(options: PassesOptions, group: readonly Asked[]): Promise<readonly Asked[]> {
  try {
    const { notes, tookMs } = await store(options, group);
    const left = group.filter(({ serviceId }) => notes.get(serviceId)?.isMore !== false);
    for (const { serviceId, resolve } of group) {
      const own = notes.get(serviceId);
      if (own !== undefined && !own.isMore) resolve({ ...own, tookMs: tookMs / notes.size });
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
  { store, clock, random, signal, waitsFor }: PassesOptions,
  group: readonly Asked[],
): Promise<{ readonly notes: ReadonlyMap<string, PassNotes>; readonly tookMs: number }> {
  let notes: ReadonlyMap<string, PassNotes> = new Map();
  let tookMs = 0;
  const ids = group.map(({ serviceId }) => serviceId);
  const decide = (view: View): readonly (readonly Write[])[] => {
    const startedAtMs = clock.monotonicMs();
    const planned = planPasses(view, ids, { nowMs: clock.wallMs(), random, waitsFor });
    notes = planned.notes;
    tookMs = clock.monotonicMs() - startedAtMs;
    return planned.writes.map(write => [write]);
  };
  await updateInPieces(store, decide, { principal: passPrincipal, signal });
  return { notes, tookMs };
}

/** Services without notes did not fit. */
export function planPasses(
  base: View,
  serviceIds: Iterable<string>,
  context: PassContext,
): { readonly writes: readonly Write[]; readonly notes: ReadonlyMap<string, PassNotes> } {
  const shared = openShared(base, context.waitsFor);
  const notes = new Map<string, PassNotes>();
  for (const serviceId of serviceIds) {
    if (shared.draft.changes() >= changesEnough) break;
    notes.set(serviceId, takePass(base, serviceId, { ...context, shared }));
  }
  return { writes: writesOfShared(shared, context.nowMs), notes };
}
