/**
 * Which images go when room is made: those without a name, or all that no task uses; and when a disk fills, those that can be
 * pulled again, the longest unused first. What a task uses, or is being made from, never goes.
 *
 * Not here: removing parts (store-commit.ts), removing one image (store.ts).
 */
import type { PruneImagesRequest, PruneImagesResponse } from '../../gen/types.js';
import type { IndexEntry } from './image-index.js';
import { familiarName } from './reference.js';
import { sweep } from './store-commit.js';
import { allEntries, type StoreState, usesOf, writeIndex } from './store-state.js';

export interface PruneCandidate {
  readonly digest: string;
  readonly names: readonly string[];
  readonly createdAtMs: number;
  readonly inUse: boolean;
}

/** Digests to remove. */
export function planPrune(
  candidates: readonly PruneCandidate[],
  { all, untilMs }: PruneImagesRequest,
): readonly string[] {
  return candidates
    .filter(({ inUse }) => !inUse)
    .filter(({ names }) => all || names.length === 0)
    .filter(({ createdAtMs }) => untilMs === 0 || createdAtMs < untilMs)
    .map(({ digest }) => digest);
}

export async function pruneImages(state: StoreState, request: PruneImagesRequest): Promise<PruneImagesResponse> {
  const candidates = allEntries(state).map(entry => ({
    digest: entry.digest,
    names: entry.names,
    createdAtMs: state.images.get(entry.digest)?.parsed.createdAtMs ?? 0,
    inUse: usesOf(state, entry.digest).length > 0,
  }));
  return await removeEntries(state, new Set(planPrune(candidates, request)));
}

async function removeEntries(state: StoreState, gone: ReadonlySet<string>): Promise<PruneImagesResponse> {
  const entries = allEntries(state);
  const removed = entries.filter(entry => gone.has(entry.digest));
  if (removed.length > 0)
    await writeIndex(
      state,
      entries.filter(entry => !gone.has(entry.digest)),
    );
  const { freedBytes, layers } = await sweep(state, { all: true });
  return {
    untagged: removed.flatMap(entry => entry.names.map(familiarName)),
    deleted: [...removed.map(entry => entry.digest), ...layers],
    freedBytes,
  };
}

// ---- a disk that fills --------------------------------------------------------------------------------------------------

/** Room is made until the disk is this much less full than what began it. */
const roomPercent = 5;

export interface DiskCandidate extends Pick<IndexEntry, 'digest' | 'origins'> {
  readonly sizeBytes: number;
  readonly inUse: boolean;
  /** Monotonic; -1: not since the daemon started. */
  readonly usedMs: number;
}

/** Images that came from a registry, longest unused first, until enough would be free. */
export function planRoom(
  candidates: readonly DiskCandidate[],
  disk: { readonly totalBytes: number; readonly freeBytes: number },
  highPercent: number,
): readonly string[] {
  const usedBytes = disk.totalBytes - disk.freeBytes;
  if (highPercent === 0 || usedBytes * 100 <= disk.totalBytes * highPercent) return [];
  let wanted = usedBytes - (disk.totalBytes * Math.max(0, highPercent - roomPercent)) / 100;
  const gone: string[] = [];
  const free = candidates.filter(({ inUse, origins }) => !inUse && origins.length > 0);
  for (const { digest, sizeBytes } of free.toSorted((a, b) => a.usedMs - b.usedMs || b.sizeBytes - a.sizeBytes)) {
    if (wanted <= 0) break;
    gone.push(digest);
    wanted -= sizeBytes;
  }
  return gone;
}

/** Called now and then, in turn with other changes. */
export async function makeRoom(state: StoreState, highPercent: number): Promise<PruneImagesResponse | undefined> {
  const space = await state.host.files.space(state.directory);
  const candidates = [...state.images.values()].map(image => ({
    digest: image.digest,
    origins: image.origins,
    sizeBytes: image.sizeBytes,
    inUse: usesOf(state, image.digest).length > 0,
    usedMs: state.usedMs.get(image.digest) ?? -1,
  }));
  const gone = planRoom(candidates, space, highPercent);
  if (gone.length === 0) return undefined;
  const removed = await removeEntries(state, new Set(gone));
  state.log.warn('the disk fills: images that can be pulled again were removed', {
    images: removed.untagged,
    freedBytes: removed.freedBytes,
  });
  return removed;
}
