/**
 * What an image store holds in memory, and its index on disk. The index is written twice: a copy that turns out to be damaged
 * is replaced from the other, and with both damaged the store begins empty, removes nothing, and says so.
 *
 * Not here: bringing images in (store-commit.ts), what is offered to others (store.ts).
 */
import { join } from 'node:path';
import { CoveyError, codeOf, messageOf } from '../../errors.js';
import type { Image } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import { digestOf } from './archive.js';
import { type IndexEntry, parseIndexFile, renderIndex, type StoredImage } from './image-index.js';
import { countAt, objectAt, parseJson, textAt } from './json.js';
import { parseConfig } from './oci.js';
import { familiarName } from './reference.js';
import type { ImageStoreOptions, RegistrySettings } from './store-types.js';
import { hexOf, type LayerRecord } from './unpack-protocol.js';

export interface StoreState extends ImageStoreOptions {
  readonly registries: RegistrySettings;
  images: ReadonlyMap<string, StoredImage>;
  /** In the index, but with parts missing or damaged: kept, not used; an import or a pull of the same image mends it. */
  broken: readonly IndexEntry[];
  /** Layers that are whole. */
  readonly layers: Map<string, LayerRecord>;
  readonly uses: Map<TaskId, Set<string>>;
  /** When tasks last began or ceased to use an image (monotonic), by its digest. */
  readonly usedMs: Map<string, number>;
  /** Parts that no image names, kept for a pull that is tried again: by their path, until when (monotonic). */
  readonly keptUntilMs: Map<string, number>;
  /** The change that is under way; the next one waits for it. */
  last: Promise<unknown>;
  /** Imports and pulls under way. */
  working: number;
  isSweepDue: boolean;
  /** The index was lost: what it named may be in use, so nothing is removed before a person looked. */
  isIndexLost: boolean;
}

export function makeState(options: ImageStoreOptions): StoreState {
  return {
    ...options,
    registries: options.registries ?? plainRegistries(options.directory),
    images: new Map(),
    broken: [],
    layers: new Map(),
    uses: new Map(),
    usedMs: new Map(),
    keptUntilMs: new Map(),
    last: Promise.resolve(),
    working: 0,
    isSweepDue: false,
    isIndexLost: false,
  };
}

function plainRegistries(directory: string): RegistrySettings {
  return {
    rulesPath: join(directory, 'registries.yaml'),
    credentialsPath: join(directory, 'registry-auth.json'),
    proxy: {},
  };
}

/** One after another, whatever became of the one before. */
export function inTurn<Value>(state: StoreState, work: () => Promise<Value>): Promise<Value> {
  const turn = state.last.then(work, work);
  state.last = turn.catch(() => undefined); // told to its own caller
  return turn;
}

export function blobPath(state: StoreState, digest: string): string {
  return join(state.directory, 'blobs/sha256', hexOf(digest));
}

export function layerPath(state: StoreState, diffId: string): string {
  return join(state.directory, 'layers', hexOf(diffId));
}

export function getLayer(state: StoreState, diffId: string): LayerRecord {
  const layer = state.layers.get(diffId);
  if (layer === undefined)
    throw new CoveyError('image-not-found', `Cannot find the layer ${diffId}: its image was removed, or it is damaged`);
  return layer;
}

export function allEntries(state: StoreState): readonly IndexEntry[] {
  return [...state.images.values(), ...state.broken];
}

export function usesOf(state: StoreState, digest: string): readonly TaskId[] {
  return [...state.uses].flatMap(([taskId, digests]) => (digests.has(digest) ? [taskId] : []));
}

export function describe(state: StoreState, image: StoredImage): Image {
  return {
    names: image.names.map(familiarName),
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    createdAtMs: image.parsed.createdAtMs,
    architecture: image.parsed.platform.architecture,
    os: image.parsed.platform.os,
    layers: image.diffIds,
    uses: usesOf(state, image.digest).length,
    origins: image.origins.map(familiarName),
  };
}

/** The task uses the image: it stays until `release`. */
export function acquire(state: StoreState, taskId: TaskId, digest: string): void {
  state.uses.set(taskId, (state.uses.get(taskId) ?? new Set<string>()).add(digest));
  state.usedMs.set(digest, state.host.clock.monotonicMs());
}

export function release(state: StoreState, taskId: TaskId): void {
  const nowMs = state.host.clock.monotonicMs();
  for (const digest of state.uses.get(taskId) ?? []) state.usedMs.set(digest, nowMs);
  state.uses.delete(taskId);
}

// ---- the index ----------------------------------------------------------------------------------------------------------

function indexPaths(state: StoreState): readonly [string, string] {
  return [join(state.directory, 'index.json'), join(state.directory, 'index.copy.json')];
}

/** Beside a damaged index; while there is one, it is not known what may be removed. */
const damagedSuffix = '.damaged';

export async function loadIndex(state: StoreState): Promise<void> {
  const { files } = state.host;
  const [path] = indexPaths(state);
  let isDamaged = false;
  for (const place of indexPaths(state)) {
    const entries = await readIndex(state, place);
    if (entries === 'damaged') isDamaged = true;
    if (entries === 'damaged' || entries === undefined) continue;
    await use(state, entries);
    if (isDamaged) {
      state.log.warn('the index of images was damaged: its copy is used');
      await files.remove(`${path}${damagedSuffix}`);
      await writeIndex(state, allEntries(state));
    }
    break;
  }
  state.isIndexLost = (await files.findStat(`${path}${damagedSuffix}`)) !== undefined;
  if (!state.isIndexLost) return;
  state.log.error('the index of images was lost: images are pulled or imported anew; nothing is removed', {
    hint: 'covey image fsck --repair',
  });
}

async function readIndex(state: StoreState, path: string): Promise<readonly IndexEntry[] | 'damaged' | undefined> {
  const { files } = state.host;
  const text = await files.findText(path);
  if (text === undefined) return undefined;
  try {
    return parseIndexFile(path, text);
  } catch (error) {
    if (codeOf(error) === 'newer-schema') throw error; // not damaged: of a newer covey
    state.log.error('the index of images cannot be read', { error });
    await files.rename(path, `${path}${damagedSuffix}`);
    return 'damaged';
  }
}

/** A person had the images found again, so what nothing names may go. */
export async function forgetLoss(state: StoreState): Promise<void> {
  for (const path of indexPaths(state)) await state.host.files.remove(`${path}${damagedSuffix}`);
  state.isIndexLost = false;
}

/** Makes the entries those in memory. What an image needs and has not, or has damaged, makes it broken. */
async function use(state: StoreState, entries: readonly IndexEntry[]): Promise<void> {
  const images = new Map<string, StoredImage>();
  const broken: IndexEntry[] = [];
  for (const entry of entries) {
    const known = state.images.get(entry.digest);
    const image = known === undefined ? await load(state, entry) : { ...known, ...entry };
    if (image === undefined) broken.push(entry);
    else images.set(entry.digest, image);
  }
  state.images = images;
  state.broken = broken;
}

/** Looks at an image anew: after its parts came in, or were found damaged. */
export async function reload(state: StoreState): Promise<void> {
  const entries = allEntries(state);
  state.images = new Map();
  state.layers.clear();
  await use(state, entries);
}

async function load(state: StoreState, entry: IndexEntry): Promise<StoredImage | undefined> {
  try {
    const { files } = state.host;
    await readBlob(state, entry.digest);
    const config = await readBlob(state, entry.config);
    for (const digest of entry.layerBlobs) {
      if ((await files.findStat(blobPath(state, digest))) === undefined)
        throw new CoveyError('image-not-found', `Cannot find the blob ${digest}`);
    }
    for (const diffId of entry.diffIds) await loadLayer(state, diffId);
    const sizeBytes = [...new Set(entry.diffIds)].reduce((sum, id) => sum + getLayer(state, id).bytes, 0);
    return { ...entry, parsed: parseConfig(`config ${entry.config}`, config), sizeBytes };
  } catch (error) {
    state.log.warn('an image is damaged: it is pulled anew when it is needed; else import it again', {
      digest: entry.digest,
      names: entry.names,
      error: messageOf(error),
    });
    return undefined;
  }
}

/** A manifest or a config: small, so its digest is looked at each time. */
export async function readBlob(state: StoreState, digest: string): Promise<string> {
  const bytes = await state.host.files.read(blobPath(state, digest));
  const found = digestOf(bytes);
  if (found === digest) return new TextDecoder().decode(bytes);
  throw new CoveyError('image-digest', `Cannot use the blob ${digest}: its content has another digest`, {
    state: `it is ${found}`,
    hint: 'covey image fsck --repair',
  });
}

/** Throws when the layer is not there, or its record is not what was written. */
export async function loadLayer(state: StoreState, diffId: string): Promise<void> {
  if (state.layers.has(diffId)) return;
  const { files } = state.host;
  const path = join(layerPath(state, diffId), 'layer.json');
  const record = parseLayerRecord(path, await files.readText(path));
  if (record.diffId !== diffId) throw new CoveyError('image-digest', `Cannot use "${path}": it is of ${record.diffId}`);
  if ((await files.findStat(join(layerPath(state, diffId), 'fs')))?.kind !== 'directory')
    throw new CoveyError('image-not-found', `Cannot find the tree of layer ${diffId}`);
  state.layers.set(diffId, record);
}

function parseLayerRecord(path: string, text: string): LayerRecord {
  const place = parseJson(path, text);
  const root = objectAt(place, 'root');
  const isOpaque = place.value['isOpaque'];
  if (typeof isOpaque !== 'boolean') throw new CoveyError('image-archive', `Cannot read "${path}": it is damaged`);
  return {
    diffId: textAt(place, 'diffId') ?? '',
    entries: countAt(place, 'entries'),
    bytes: countAt(place, 'bytes'),
    root: root && { mode: countAt(root, 'mode'), uid: countAt(root, 'uid'), gid: countAt(root, 'gid') },
    isOpaque,
  };
}

export async function writeIndex(state: StoreState, entries: readonly IndexEntry[]): Promise<void> {
  const text = renderIndex(entries);
  const [path, copy] = indexPaths(state);
  await state.host.files.replace(path, text);
  await use(state, entries);
  try {
    await state.host.files.replace(copy, text);
  } catch (error) {
    // The first is good; an older copy would bring back what is gone, so it goes.
    state.log.warn('the copy of the index of images cannot be written', { error });
    await state.host.files.remove(copy);
  }
}
