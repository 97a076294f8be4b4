/**
 * Pulls of this node: whoever wants the same image waits for the same child process, which ends with the last of them. A
 * finished pull is in the store, and in use by the tasks that waited for it, in one step: nothing can remove it in between.
 *
 *     ensure (a task) ──┐
 *     ensure (a task) ──┼─► flight ─► gate ─► child ─► commit, leases ─► all go on
 *     pullImage (CLI) ──┘
 *
 * Not here: what the child does (unpack-pull.ts), the store (store-state.ts, store-commit.ts), removal (prune.ts).
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { CoveyError, codeOf, deepest, messageOf } from '../../errors.js';
import type { PullImageProgress, PullImageRequest } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import { type Gate, openGate } from '../gate.js';
import type { ImageWanted } from '../images.js';
import { runChild } from './child.js';
import { findImage, imageNotFound, type StoredImage, withImages } from './image-index.js';
import { platformFits, platformOf } from './platform.js';
import { beginning, type PullStage, renderStage, stageOf } from './pull-progress.js';
import { familiarName, parseReference, renderName, withDefaultTag } from './reference.js';
import { patienceLimits } from './registry/index.js';
import { readRegistries } from './registry-files.js';
import { commit, keepParts } from './store-commit.js';
import { openWork } from './store-import.js';
import { acquire, allEntries, describe, inTurn, type StoreState, writeIndex } from './store-state.js';
import type { PullRequest } from './unpack-protocol.js';

export interface Pulls {
  readonly ensure: (wanted: ImageWanted, signal: AbortSignal) => Promise<StoredImage>;
  readonly pullImage: (request: PullImageRequest, signal: AbortSignal) => AsyncIterable<PullImageProgress>;
  /** Mends an image that is damaged, by the reference that it came from. */
  readonly again: (reference: string, signal: AbortSignal) => Promise<StoredImage>;
}

interface Flight {
  readonly reference: string;
  readonly stop: AbortController;
  readonly done: Promise<Landed>;
  readonly listeners: Set<(stage: PullStage) => void>;
  /** Tasks that will use the image as soon as it is there. */
  readonly leases: Set<TaskId>;
  stage: PullStage;
  waiting: number;
}

interface Landed {
  readonly digest: string;
  /** The name meant this image already. */
  readonly current: boolean;
}

interface Wanted {
  readonly reference: string;
  readonly platform: string;
  /** Those of the service, in the form of Docker's config.json. */
  readonly credentials?: string | undefined;
}

interface State {
  readonly store: StoreState;
  readonly flights: Map<string, Flight>;
  readonly gate: Gate;
}

/** Children at once: each pulls three layers side by side. */
const pullsMax = 4;

export function openPulls(store: StoreState): Pulls {
  const state: State = { store, flights: new Map(), gate: openGate(pullsMax) };
  return {
    ensure: (wanted, signal) => ensure(state, wanted, signal),
    pullImage: (request, signal) => pullImage(state, request, signal),
    again: async (reference, signal) => {
      const landed = await board(state, { reference, platform: '' }, { signal, listener: () => undefined });
      return getLanded(store, landed);
    },
  };
}

// ---- for tasks ----------------------------------------------------------------------------------------------------------

async function ensure(state: State, wanted: ImageWanted, signal: AbortSignal): Promise<StoredImage> {
  const { store } = state;
  const found = findImage(store.images.values(), wanted.image);
  const isFixed = found !== undefined && !isMovable(wanted.image);
  if (found !== undefined && (wanted.policy !== 'always' || isFixed)) {
    acquire(store, wanted.taskId, found.digest);
    return found;
  }
  if (wanted.policy === 'never' || wanted.image.startsWith('sha256:'))
    throw imageNotFound(wanted.image, store.images.values());
  const name = nameOf(wanted.image);
  const landed = await board(
    state,
    { reference: wanted.image, platform: '', credentials: wanted.credentials },
    { signal, taskId: wanted.taskId, listener: stage => wanted.onNote(renderStage(name, stage)) },
  );
  return getLanded(store, landed);
}

/** Whether a registry may give another image under the name tomorrow. */
function isMovable(reference: string): boolean {
  return !reference.includes('sha256:');
}

function nameOf(reference: string): string {
  return familiarName(renderName(withDefaultTag(parseReference(reference))));
}

function getLanded(store: StoreState, { digest }: Landed): StoredImage {
  const image = store.images.get(digest);
  if (image !== undefined) return image;
  throw new CoveyError('image-not-found', `Cannot find the image ${digest}: it was removed right after the pull`);
}

// ---- for people ---------------------------------------------------------------------------------------------------------

async function* pullImage(
  state: State,
  request: PullImageRequest,
  signal: AbortSignal,
): AsyncGenerator<PullImageProgress> {
  let stage: PullStage | undefined;
  let wake: (() => void) | undefined;
  let isDone = false;
  const listener = (next: PullStage): void => {
    stage = next;
    wake?.();
  };
  const { platform, image: reference } = request;
  const landing = board(state, { reference, platform }, { signal, listener }).finally(() => {
    isDone = true;
    wake?.();
  });
  landing.catch(() => undefined); // thrown below
  while (!isDone) {
    if (stage === undefined) {
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
    const now = stage;
    stage = undefined;
    if (now !== undefined) yield { ...now, image: undefined, current: false };
  }
  const landed = await landing;
  const image = describe(state.store, getLanded(state.store, landed));
  yield { ...beginning, image, current: landed.current };
}

// ---- flights ------------------------------------------------------------------------------------------------------------

interface Passenger {
  readonly signal: AbortSignal;
  readonly taskId?: TaskId;
  readonly listener: (stage: PullStage) => void;
}

async function board(state: State, wanted: Wanted, passenger: Passenger): Promise<Landed> {
  const { signal, taskId, listener } = passenger;
  signal.throwIfAborted();
  const reference = withDefaultTag(parseReference(wanted.reference));
  // Who has other credentials may be given what this one is refused.
  const proof = createHash('sha256')
    .update(wanted.credentials ?? '')
    .digest('hex');
  const key = `${renderName(reference)}@${reference.digest ?? ''} ${wanted.platform} ${proof}`;
  const flight = state.flights.get(key) ?? depart(state, key, wanted);
  flight.waiting += 1;
  flight.listeners.add(listener);
  if (taskId !== undefined) flight.leases.add(taskId);
  listener(flight.stage);
  let onAbort: (() => void) | undefined;
  const left = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([flight.done, left]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    flight.waiting -= 1;
    flight.listeners.delete(listener);
    if (signal.aborted && taskId !== undefined) flight.leases.delete(taskId);
    if (flight.waiting === 0) {
      if (state.flights.get(key) === flight) state.flights.delete(key);
      flight.stop.abort(new CoveyError('cancelled', 'Cannot go on with the pull: nobody waits for it any more'));
    }
  }
}

function depart(state: State, key: string, wanted: Wanted): Flight {
  const stop = new AbortController();
  const listeners = new Set<(stage: PullStage) => void>();
  const leases = new Set<TaskId>();
  const tell = (stage: PullStage): void => {
    flight.stage = stage;
    for (const listener of listeners) listener(stage);
  };
  const done = Promise.resolve()
    .then(() => state.gate.pass(stop.signal, () => fly(state.store, { wanted, leases, tell, signal: stop.signal })))
    .finally(() => {
      if (state.flights.get(key) === flight) state.flights.delete(key);
    });
  done.catch(() => undefined); // told to everybody who waits
  const note = `waits for ${pullsMax} other pulls`;
  const stage = state.flights.size >= pullsMax ? { ...beginning, note } : beginning;
  const flight: Flight = { reference: wanted.reference, stop, done, listeners, leases, stage, waiting: 0 };
  state.flights.set(key, flight);
  return flight;
}

interface FlightPlan {
  readonly wanted: Wanted;
  readonly leases: ReadonlySet<TaskId>;
  readonly tell: (stage: PullStage) => void;
  readonly signal: AbortSignal;
}

async function fly(store: StoreState, plan: FlightPlan): Promise<Landed> {
  await using work = await openWork(store);
  try {
    const result = await runPull(store, plan, work.path);
    const digest = await inTurn(store, async () => {
      const landed = await land(store, plan.wanted, { result, work: work.path });
      for (const taskId of plan.leases) acquire(store, taskId, landed);
      return landed;
    });
    store.log.info('image pulled', { image: plan.wanted.reference, digest, current: result.kind === 'current' });
    return { digest, current: result.kind === 'current' };
  } catch (error) {
    // What does not fit must not stay; all else is a start for the next attempt.
    if (!plan.signal.aborted && codeOf(error) !== 'no-space') await keep(store, work.path);
    throw explained(error, plan.wanted.reference);
  }
}

async function keep(store: StoreState, work: string): Promise<void> {
  try {
    await inTurn(store, () => keepParts(store, work));
  } catch (error) {
    store.log.warn('what a pull had finished cannot be kept', { error });
  }
}

/** A short name that nobody knows was perhaps never meant for a registry. */
function explained(error: unknown, reference: string): unknown {
  if (codeOf(error) !== 'registry-unknown') return error;
  return new CoveyError('image-not-found', `Cannot find image "${reference}" on this node, nor ask its registry`, {
    state: `${messageOf(error)} (${deepest(error, 'state') ?? ''})`,
    hint: 'covey image ls lists what is here; covey image import FILE brings one',
  });
}

async function runPull(store: StoreState, { wanted, tell, signal }: FlightPlan, work: string) {
  const request = await requestOf(store, wanted, work);
  const { processes } = store.host;
  await using child = runChild({ processes, command: store.unpackCommand, request, data: undefined, signal });
  let next = await child.next();
  for (; next.done !== true; next = await child.next()) if (next.value.kind === 'pulling') tell(stageOf(next.value));
  return next.value;
}

type Answer = Awaited<ReturnType<typeof runPull>>;

async function land(
  store: StoreState,
  wanted: Wanted,
  { result, work }: { readonly result: Answer; readonly work: string },
): Promise<string> {
  if (result.kind === 'current') return await rename(store, wanted, result.digest);
  const [image] = result.kind === 'result' ? result.images : [];
  if (result.kind !== 'result' || image === undefined)
    throw new CoveyError('bug', `Cannot pull "${wanted.reference}": the child made no image`);
  await commit(store, result, work);
  return image.digest;
}

/** The name means an image that is here: it gets the name, if it has not got it. */
async function rename(store: StoreState, { reference }: Wanted, named: string): Promise<string> {
  const image = [...store.images.values()].find(one => means(one, named));
  if (image === undefined) throw new CoveyError('image-not-found', `Cannot find ${named}: it was removed meanwhile`);
  const parsed = withDefaultTag(parseReference(reference));
  const names = parsed.digest === undefined ? [renderName(parsed)] : [];
  const origins = [`${parsed.registry}/${parsed.repository}@${named}`];
  if ([...names, ...origins].some(text => !image.names.includes(text) && !image.origins.includes(text)))
    await writeIndex(store, withImages(allEntries(store), [{ ...image, names, origins }]));
  return image.digest;
}

function means(image: StoredImage, digest: string): boolean {
  return digestsOf(image).includes(digest);
}

async function requestOf(
  store: StoreState,
  { reference, platform, credentials }: Wanted,
  work: string,
): Promise<PullRequest> {
  const { directory, registries } = store;
  const parsed = withDefaultTag(parseReference(reference));
  const blobs = join(directory, 'blobs/sha256');
  return {
    kind: 'pull',
    work,
    layers: join(directory, 'layers'),
    blobs,
    partial: join(directory, 'partial'),
    reference,
    platform,
    endpoints: await readRegistries(store, parsed, { own: credentials }),
    hasLayers: [...store.layers.keys()],
    hasBlobs: (await store.host.files.list(blobs)).map(hex => `sha256:${hex}`),
    // With a platform asked for, the index alone does not tell that the right image is here.
    current: platform === '' ? [...store.images.values()].flatMap(digestsOf) : [],
    proxy: registries.proxy,
    limits: { ...patienceLimits, ...registries.patience },
  };
}

/** That of an index counts only where this is what the node would choose from it. */
function digestsOf({ digest, origins, parsed }: StoredImage): readonly string[] {
  if (!platformFits(platformOf(process.arch), parsed.platform)) return [digest];
  return [digest, ...origins.map(origin => origin.slice(origin.indexOf('@') + 1))];
}
