/**
 * The images of this node on disk, and the only writer of their index.
 *
 *     images/index.json            names -> manifests; replaced whole
 *     images/blobs/sha256/<hex>    manifests, configs and layers as they came
 *     images/layers/<hex>/fs       a layer unpacked, by its diffID; layer.json beside it
 *     images/l/<hex12>             short links to the above, for mount options
 *     images/tmp/<random>          imports under way; wiped at start
 *
 * An image is in the index only when all that it names is in place, so that a crash at any line leaves at most what nobody
 * names: the sweep at the next start removes it. Changes go one after another.
 *
 * Not here: reading archives (child.ts, unpack-child.ts), mount options (mount.ts), what names mean (image-index.ts).
 */
import { dirname, join } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { Image, ImportImageProgress, ImportImageStart, RemoveImageResponse } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import { runChild } from './child.js';
import {
  findImage,
  type IndexEntry,
  imageNotFound,
  parseIndexFile,
  planRemoval,
  renderIndex,
  type StoredImage,
  withImages,
} from './image-index.js';
import { baseLayer, linkOf, mountRoot, planRoot, unmountRoot } from './mount.js';
import { parseConfig } from './oci.js';
import { familiarName } from './reference.js';
import type { ImageStore, ImageStoreOptions } from './store-types.js';
import { hexOf, type LayerRecord, type UnpackMessage, type UnpackRequest } from './unpack-protocol.js';
import { resolveUser } from './user.js';

type Result = Extract<UnpackMessage, { kind: 'result' }>;

/** Imports at once; each is a process. */
const importsMax = 8;

interface State extends ImageStoreOptions {
  images: ReadonlyMap<string, StoredImage>;
  /** In the index, but with parts missing: kept, not used; an import of the same image mends it. */
  broken: readonly IndexEntry[];
  readonly layers: Map<string, LayerRecord>;
  readonly uses: Map<TaskId, Set<string>>;
  /** The change that is under way; the next one waits for it. */
  last: Promise<unknown>;
  importing: number;
  isSweepDue: boolean;
}

export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const { files } = options.host;
  const state: State = {
    ...options,
    images: new Map(),
    broken: [],
    layers: new Map(),
    uses: new Map(),
    last: Promise.resolve(),
    importing: 0,
    isSweepDue: false,
  };
  for (const folder of ['', 'blobs/sha256', 'layers', 'l', 'tmp'])
    await files.makeDirectory(join(options.directory, folder), { mode: 0o700 });
  await makeBaseLayer(options);
  for (const name of await files.list(join(options.directory, 'tmp')))
    await files.removeTree(join(options.directory, 'tmp', name));
  await loadIndex(state);
  await sweep(state);
  return storeOf(state);
}

function storeOf(state: State): ImageStore {
  const { host, directory } = state;
  const find = (reference: string): StoredImage | undefined => findImage(state.images.values(), reference);
  const get = (reference: string): StoredImage => {
    const image = find(reference);
    if (image === undefined) throw imageNotFound(reference, state.images.values());
    return image;
  };
  return {
    find: reference => {
      const image = find(reference);
      return image === undefined
        ? undefined
        : { digest: image.digest, config: image.parsed.run, layers: image.diffIds };
    },
    mountRoot: (image, target, map) =>
      mountRoot(
        planRoot(
          image.layers.map(id => getLayer(state, id)),
          { hasBase: (state.emptyFiles ?? []).length > 0 },
        ),
        { host, images: directory, directory: target, map },
      ),
    unmountRoot: target => unmountRoot(host, target),
    acquire: (taskId, digest) => {
      const digests = state.uses.get(taskId) ?? new Set<string>();
      state.uses.set(taskId, digests.add(digest));
    },
    release: taskId => void state.uses.delete(taskId),
    resolveUser: (rootPath, user, groups) => resolveUser(host.files, { rootPath, user, groups }),
    importImage: (start, data, signal) => importImage(state, start, { data, signal }),
    list: () => [...state.images.values()].map(image => describe(state, image)),
    inspect: async reference => {
      const image = get(reference);
      const [config, manifest] = await Promise.all(
        [image.config, image.digest].map(digest => host.files.readText(blobPath(state, digest))),
      );
      return { image: describe(state, image), config: config ?? '', manifest: manifest ?? '' };
    },
    remove: reference => inTurn(state, () => removeImage(state, reference)),
    sweep: () => inTurn(state, () => sweep(state)),
  };
}

/** One after another, whatever became of the one before. */
function inTurn<Value>(state: State, work: () => Promise<Value>): Promise<Value> {
  const turn = state.last.then(work, work);
  state.last = turn.catch(() => undefined); // told to its own caller
  return turn;
}

function blobPath(state: State, digest: string): string {
  return join(state.directory, 'blobs/sha256', hexOf(digest));
}

function layerPath(state: State, diffId: string): string {
  return join(state.directory, 'layers', hexOf(diffId));
}

function getLayer(state: State, diffId: string): LayerRecord {
  const layer = state.layers.get(diffId);
  if (layer === undefined)
    throw new CoveyError('image-not-found', `Cannot find the layer ${diffId}: its image was removed`);
  return layer;
}

// ---- the index ----------------------------------------------------------------------------------------------------------

function indexPath(state: State): string {
  return join(state.directory, 'index.json');
}

async function loadIndex(state: State): Promise<void> {
  const text = await state.host.files.findText(indexPath(state));
  await use(state, text === undefined ? [] : parseIndexFile(indexPath(state), text));
}

/** Makes the entries those in memory. What an image needs and has not makes it broken. */
async function use(state: State, entries: readonly IndexEntry[]): Promise<void> {
  const images = new Map<string, StoredImage>();
  const broken: IndexEntry[] = [];
  for (const entry of entries) {
    const known = state.images.get(entry.digest);
    const image = known === undefined ? await load(state, entry) : { ...known, ...entry };
    if (image === undefined) broken.push(entry);
    else images.set(entry.digest, image);
  }
  for (const entry of broken)
    state.log.warn('image is damaged: import it again', { digest: entry.digest, names: entry.names });
  state.images = images;
  state.broken = broken;
}

async function load(state: State, entry: IndexEntry): Promise<StoredImage | undefined> {
  const { files } = state.host;
  const config = await files.findText(blobPath(state, entry.config));
  for (const digest of [entry.digest, ...entry.layerBlobs]) {
    if ((await files.findStat(blobPath(state, digest))) === undefined) return undefined;
  }
  for (const diffId of entry.diffIds) if (!(await loadLayer(state, diffId))) return undefined;
  if (config === undefined) return undefined;
  const sizeBytes = [...new Set(entry.diffIds)].reduce((sum, id) => sum + getLayer(state, id).bytes, 0);
  return { ...entry, parsed: parseConfig(`config ${entry.config}`, config), sizeBytes };
}

async function loadLayer(state: State, diffId: string): Promise<boolean> {
  if (state.layers.has(diffId)) return true;
  const text = await state.host.files.findText(join(layerPath(state, diffId), 'layer.json'));
  if (text === undefined) return false;
  state.layers.set(diffId, JSON.parse(text) as LayerRecord); // written by our own child, put in place whole
  return true;
}

async function writeIndex(state: State, entries: readonly IndexEntry[]): Promise<void> {
  await state.host.files.replace(indexPath(state), renderIndex(entries));
  await use(state, entries);
}

function allEntries(state: State): readonly IndexEntry[] {
  return [...state.images.values(), ...state.broken];
}

// ---- import -------------------------------------------------------------------------------------------------------------

async function* importImage(
  state: State,
  start: ImportImageStart,
  from: { readonly data: AsyncIterable<Uint8Array>; readonly signal: AbortSignal },
): AsyncGenerator<ImportImageProgress> {
  if (state.importing >= importsMax) {
    throw new CoveyError('too-many', `Cannot import now: ${importsMax} imports are under way`, {
      hint: 'repeat when one of them has ended',
    });
  }
  const work = join(state.directory, 'tmp', Buffer.from(state.host.random.bytes(8)).toString('hex'));
  state.importing += 1;
  try {
    await state.host.files.makeDirectory(work, { mode: 0o700 });
    const request = requestOf(state, start, work);
    const result = yield* runChild({ processes: state.host.processes, command: state.unpackCommand, request, ...from });
    const images = await inTurn(state, () => commit(state, result, work));
    state.log.info('image imported', { source: request.source, images: images.map(image => image.digest) });
    yield { step: 'done', bytes: images.reduce((sum, image) => sum + image.sizeBytes, 0), images };
  } finally {
    state.importing -= 1;
    await state.host.files.removeTree(work);
    if (state.isSweepDue) await inTurn(state, () => sweep(state));
  }
}

function requestOf(state: State, start: ImportImageStart, work: string): UnpackRequest {
  return {
    work,
    layers: join(state.directory, 'layers'),
    path: start.path,
    source: start.source,
    name: start.name,
    changes: start.changes,
    platform: start.platform,
  };
}

/** Layers and blobs first, durably; then the index: what it names is there. */
async function commit(state: State, result: Result, work: string): Promise<readonly Image[]> {
  const { files } = state.host;
  try {
    for (const diffId of result.layers) await commitLayer(state, diffId, join(work, 'layers', hexOf(diffId)));
    for (const digest of result.blobs) await moveIn(state, join(work, 'blobs', hexOf(digest)), blobPath(state, digest));
    for (const folder of ['layers', 'l', 'blobs/sha256']) await files.syncDirectory(join(state.directory, folder));
    await writeIndex(state, withImages(allEntries(state), result.images));
  } catch (error) {
    state.isSweepDue = true;
    throw error;
  }
  return result.images.flatMap(({ digest }) => {
    const image = state.images.get(digest);
    return image === undefined ? [] : [describe(state, image)];
  });
}

async function commitLayer(state: State, diffId: string, from: string): Promise<void> {
  const to = layerPath(state, diffId);
  await moveIn(state, from, to);
  const link = join(state.directory, linkOf(diffId));
  const target = join('..', 'layers', hexOf(diffId), 'fs');
  const found = await state.host.files.findLink(link);
  if (found === undefined) await state.host.files.symlink(target, link);
  else if (found !== target) throw new CoveyError('bug', `Cannot link layer ${diffId}: "${link}" is that of another`);
}

/** What is there already is the same: it has the same digest, and was checked as this was. */
async function moveIn(state: State, from: string, to: string): Promise<void> {
  const { files } = state.host;
  if ((await files.findStat(to)) !== undefined) return;
  await files.rename(from, to);
}

// ---- list and remove ----------------------------------------------------------------------------------------------------

function usesOf(state: State, digest: string): readonly TaskId[] {
  return [...state.uses].flatMap(([taskId, digests]) => (digests.has(digest) ? [taskId] : []));
}

function describe(state: State, image: StoredImage): Image {
  return {
    names: image.names.map(familiarName),
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    createdAtMs: image.parsed.createdAtMs,
    architecture: image.parsed.platform.architecture,
    os: image.parsed.platform.os,
    layers: image.diffIds,
    uses: usesOf(state, image.digest).length,
  };
}

async function removeImage(state: State, reference: string): Promise<RemoveImageResponse> {
  const image = findImage(allEntries(state), reference);
  if (image === undefined) throw imageNotFound(reference, state.images.values());
  const removal = planRemoval(allEntries(state), image, reference);
  const untagged = removal.untagged.map(familiarName);
  if (removal.kind === 'untag') {
    await writeIndex(state, removal.entries);
    return { untagged, deleted: [], freedBytes: 0 };
  }
  const users = usesOf(state, image.digest);
  if (users.length > 0) {
    throw new CoveyError('image-in-use', `Cannot remove image "${reference}"`, {
      state: `${users.length} ${users.length === 1 ? 'task uses' : 'tasks use'} it, one of them ${users[0]}`,
      hint: 'remove or update their services first',
    });
  }
  await writeIndex(state, removal.entries);
  const { freedBytes, layers } = await sweep(state);
  return { untagged, deleted: [image.digest, ...layers], freedBytes };
}

/** Removes what no image names. While something is imported it waits: the import may count on a layer that is there. */
async function sweep(state: State): Promise<{ readonly freedBytes: number; readonly layers: readonly string[] }> {
  state.isSweepDue = state.importing > 0;
  if (state.isSweepDue) return { freedBytes: 0, layers: [] };
  const { files } = state.host;
  const entries = allEntries(state);
  const layersKept = new Set(entries.flatMap(entry => entry.diffIds.map(hexOf)));
  const blobsKept = new Set(entries.flatMap(entry => [entry.digest, entry.config, ...entry.layerBlobs].map(hexOf)));
  let freedBytes = 0;
  const layers: string[] = [];
  for (const hex of await files.list(join(state.directory, 'blobs/sha256'))) {
    if (blobsKept.has(hex)) continue;
    const path = join(state.directory, 'blobs/sha256', hex);
    freedBytes += (await files.findStat(path))?.sizeBytes ?? 0;
    await files.remove(path);
  }
  for (const hex of await files.list(join(state.directory, 'layers'))) {
    if (layersKept.has(hex)) continue;
    const diffId = `sha256:${hex}`;
    if (await loadLayer(state, diffId)) freedBytes += getLayer(state, diffId).bytes;
    layers.push(diffId);
    await removeLayer(state, diffId);
  }
  if (freedBytes > 0) state.log.info('unused image parts removed', { freedBytes, layers: layers.length });
  return { freedBytes, layers };
}

/** Out of its place at once, so that a half-removed tree is never taken for a layer. */
async function removeLayer(state: State, diffId: string): Promise<void> {
  const { files } = state.host;
  const away = join(state.directory, 'tmp', `removed-${hexOf(diffId)}`);
  state.layers.delete(diffId);
  await files.remove(join(state.directory, linkOf(diffId)));
  await files.rename(layerPath(state, diffId), away);
  await files.removeTree(away);
}

/** Its own mode is that of a scratch image's root: everyone may enter. */
async function makeBaseLayer({ host, directory, emptyFiles }: ImageStoreOptions): Promise<void> {
  await host.files.makeDirectory(join(directory, baseLayer), { mode: 0o755 });
  for (const name of emptyFiles ?? []) {
    const path = join(directory, baseLayer, name);
    await host.files.makeDirectory(dirname(path), { mode: 0o755 });
    await host.files.write(path, '', { mode: 0o644 });
  }
}
