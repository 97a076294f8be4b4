/**
 * Parts of images on their way into the store and out of it: what a child made is moved into place and named in the index;
 * what nothing names any more is removed. A crash at any line leaves at most parts that nobody names, and the sweep at the
 * next start takes those.
 *
 * Not here: memory and index (store-state.ts), running children (store-import.ts, pull.ts).
 */
import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { CoveyError } from '../../errors.js';
import { withImages } from './image-index.js';
import { linkOf } from './mount.js';
import { allEntries, blobPath, getLayer, layerPath, loadLayer, type StoreState, writeIndex } from './store-state.js';
import { hexOf, type UnpackMessage } from './unpack-protocol.js';

export type ChildResult = Extract<UnpackMessage, { kind: 'result' }>;

/** Parts of a pull that failed are kept so long for the next attempt. */
const keptMs = 3_600_000;

/** Layers and blobs first, durably; then the index: what it names is there. */
export async function commit(state: StoreState, result: ChildResult, work: string): Promise<void> {
  try {
    for (const diffId of result.layers) await commitLayer(state, diffId, join(work, 'layers', hexOf(diffId)));
    for (const digest of result.blobs) await commitBlob(state, digest, join(work, 'blobs', hexOf(digest)));
    await syncFolders(state);
    await writeIndex(state, withImages(allEntries(state), result.images));
    for (const path of keptPaths(state, result)) state.keptUntilMs.delete(path);
  } catch (error) {
    state.isSweepDue = true;
    throw error;
  }
}

function keptPaths(state: StoreState, parts: Pick<ChildResult, 'layers' | 'blobs'>): readonly string[] {
  return [
    ...parts.layers.map(diffId => layerPath(state, diffId)),
    ...parts.blobs.map(digest => blobPath(state, digest)),
  ];
}

async function syncFolders(state: StoreState): Promise<void> {
  for (const folder of ['layers', 'l', 'blobs/sha256'])
    await state.host.files.syncDirectory(join(state.directory, folder));
}

/**
 * A pull failed: layers and blobs that it had finished, and beginnings of others, are kept for a while. All of them were
 * checked, or will be when they are used.
 */
export async function keepParts(state: StoreState, work: string): Promise<void> {
  const { files, clock } = state.host;
  const untilMs = clock.monotonicMs() + keptMs;
  for (const hex of await files.list(join(work, 'layers'))) {
    if (state.layers.has(`sha256:${hex}`)) continue;
    await commitLayer(state, `sha256:${hex}`, join(work, 'layers', hex));
    state.keptUntilMs.set(layerPath(state, `sha256:${hex}`), untilMs);
  }
  for (const hex of await files.list(join(work, 'blobs'))) {
    const path = blobPath(state, `sha256:${hex}`);
    if ((await files.findStat(path)) !== undefined) continue;
    await files.rename(join(work, 'blobs', hex), path);
    state.keptUntilMs.set(path, untilMs);
  }
  for (const hex of await files.list(join(work, 'partial'))) {
    const path = join(state.directory, 'partial', hex);
    await files.rename(join(work, 'partial', hex), path);
    state.keptUntilMs.set(path, untilMs);
  }
  await syncFolders(state);
}

async function commitLayer(state: StoreState, diffId: string, from: string): Promise<void> {
  const { files } = state.host;
  const to = layerPath(state, diffId);
  // What is whole is the same: it has the same digest, and was checked as this was. What is damaged makes room.
  if (!state.layers.has(diffId) && (await files.findStat(from)) !== undefined) {
    if ((await files.findStat(to)) !== undefined) await files.rename(to, await replacedPath(state, diffId));
    await files.rename(from, to);
  }
  await loadLayer(state, diffId);
  const link = join(state.directory, linkOf(diffId));
  const target = join('..', 'layers', hexOf(diffId), 'fs');
  const found = await files.findLink(link);
  if (found === undefined) await files.symlink(target, link);
  else if (found !== target) throw new CoveyError('bug', `Cannot link layer ${diffId}: "${link}" is that of another`);
}

/** A blob that came anew was checked just now; the one that is there may be damaged. */
async function commitBlob(state: StoreState, digest: string, from: string): Promise<void> {
  const { files } = state.host;
  const to = blobPath(state, digest);
  if ((await files.findStat(from)) !== undefined) await files.rename(from, to);
  else if ((await files.findStat(to)) === undefined)
    throw new CoveyError('bug', `Cannot find the blob ${digest} that was to be stored`);
}

/** A damaged layer goes out of its place. */
export async function setAside(state: StoreState, diffId: string): Promise<void> {
  const { files } = state.host;
  state.layers.delete(diffId);
  const path = layerPath(state, diffId);
  if ((await files.findStat(path)) !== undefined) await files.rename(path, await replacedPath(state, diffId));
}

/**
 * A damaged layer that made room: a container may have it mounted, so it stays until the machine was started anew
 * (`wipeWork`).
 */
async function replacedPath(state: StoreState, diffId: string): Promise<string> {
  const { random, processes } = state.host;
  const unique = Buffer.from(random.bytes(4)).toString('hex');
  return join(state.directory, 'tmp', `${replacedPrefix(processes.bootId())}${unique}-${hexOf(diffId)}`);
}

function replacedPrefix(bootId: string): string {
  return `replaced-${bootId}-`;
}

/** At the start: what was under way is gone. */
export async function wipeWork({ host, directory }: Pick<StoreState, 'host' | 'directory'>): Promise<void> {
  const folder = join(directory, 'tmp');
  const kept = replacedPrefix(host.processes.bootId());
  for (const name of await host.files.list(folder))
    if (!name.startsWith(kept)) await host.files.removeTree(join(folder, name));
}

async function awayPath(state: StoreState, diffId: string): Promise<string> {
  const path = join(state.directory, 'tmp', `removed-${hexOf(diffId)}`);
  await state.host.files.removeTree(path);
  return path;
}

export interface Swept {
  readonly freedBytes: number;
  readonly layers: readonly string[];
}

/** Removes what no image names. While something comes in it waits: the newcomer may count on a part that is there. */
export async function sweep(state: StoreState, options: { readonly all: boolean } = { all: false }): Promise<Swept> {
  state.isSweepDue = state.working > 0;
  if (state.isSweepDue || state.isIndexLost) return { freedBytes: 0, layers: [] };
  const nowMs = state.host.clock.monotonicMs();
  for (const [path, untilMs] of state.keptUntilMs) if (options.all || untilMs <= nowMs) state.keptUntilMs.delete(path);
  const blobBytes = await sweepFiles(state);
  const { layers, freedBytes: layerBytes } = await sweepLayers(state);
  const freedBytes = blobBytes + layerBytes;
  if (freedBytes > 0) state.log.info('unused image parts removed', { freedBytes, layers: layers.length });
  return { freedBytes, layers };
}

async function sweepFiles(state: StoreState): Promise<number> {
  const { files } = state.host;
  const named = new Set(allEntries(state).flatMap(entry => [entry.digest, entry.config, ...entry.layerBlobs]));
  const kept = new Set([...named].map(digest => blobPath(state, digest)));
  let freedBytes = 0;
  for (const folder of ['blobs/sha256', 'partial']) {
    for (const name of await files.list(join(state.directory, folder))) {
      const path = join(state.directory, folder, name);
      if (kept.has(path) || state.keptUntilMs.has(path)) continue;
      freedBytes += (await files.findStat(path))?.sizeBytes ?? 0;
      await files.remove(path);
    }
  }
  return freedBytes;
}

async function sweepLayers(state: StoreState): Promise<Swept> {
  const kept = new Set(allEntries(state).flatMap(entry => entry.diffIds));
  const layers: string[] = [];
  let freedBytes = 0;
  for (const hex of await state.host.files.list(join(state.directory, 'layers'))) {
    const diffId = `sha256:${hex}`;
    if (kept.has(diffId) || state.keptUntilMs.has(layerPath(state, diffId))) continue;
    freedBytes += await sizeOf(state, diffId);
    layers.push(diffId);
    await removeLayer(state, diffId);
  }
  return { freedBytes, layers };
}

async function sizeOf(state: StoreState, diffId: string): Promise<number> {
  try {
    await loadLayer(state, diffId);
    return getLayer(state, diffId).bytes;
  } catch {
    return 0; // damaged, and gone in a moment
  }
}

/** Out of its place at once, so that a half-removed tree is never taken for a layer. */
async function removeLayer(state: StoreState, diffId: string): Promise<void> {
  const { files } = state.host;
  const away = await awayPath(state, diffId);
  state.layers.delete(diffId);
  await files.remove(join(state.directory, linkOf(diffId)));
  await files.rename(layerPath(state, diffId), away);
  await files.removeTree(away);
}
