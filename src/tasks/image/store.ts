/**
 * The images of this node on disk, and the only writer of their index.
 *
 *     images/index.json            names -> manifests; replaced whole; index.copy.json is the same
 *     images/blobs/sha256/<hex>    manifests, configs and layers as they came
 *     images/layers/<hex>/fs       a layer unpacked, by its diffID; layer.json beside it
 *     images/l/<hex12>             short links to the above, for mount options
 *     images/partial/<hex>         beginnings of blobs, from pulls that were cut
 *     images/tmp/<random>          imports and pulls under way; wiped at start
 *
 * An image is in the index only when all that it names is in place, so that a crash at any line leaves at most what nobody
 * names: the sweep at the next start removes it. Changes go one after another.
 *
 * Not here: memory and index (store-state.ts), parts that come and go (store-commit.ts), archives (store-import.ts), pulls
 * (pull.ts), mount options (mount.ts), what names mean (image-index.ts).
 */
import { dirname, join } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { RemoveImageResponse } from '../../gen/types.js';
import type { ImageRecord } from '../images.js';
import { quickFiles } from '../quick-files.js';
import { checkStore } from './check.js';
import { exportImages } from './export.js';
import { findImage, imageNotFound, planRemoval, type StoredImage, withImages } from './image-index.js';
import { login, logout } from './login.js';
import { baseLayer, mountRoot, planRoot, unmountRoot } from './mount.js';
import { makeRoom, pruneImages } from './prune.js';
import { openPulls } from './pull.js';
import { familiarName, fullName } from './reference.js';
import { pickFor } from './registry-files.js';
import { sweep, wipeWork } from './store-commit.js';
import { importImage } from './store-import.js';
import {
  acquire,
  allEntries,
  describe,
  getLayer,
  inTurn,
  loadIndex,
  makeState,
  readBlob,
  release,
  type StoreState,
  usesOf,
  writeIndex,
} from './store-state.js';
import type { ImageStore, ImageStoreOptions } from './store-types.js';
import { resolveUser } from './user.js';

export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const { files } = options.host;
  const state = makeState(options);
  for (const folder of ['', 'blobs/sha256', 'layers', 'l', 'partial', 'tmp'])
    await files.makeDirectory(join(options.directory, folder), { mode: 0o700 });
  await makeBaseLayer(options);
  await wipeWork(state);
  await loadIndex(state);
  await sweep(state);
  return storeOf(state);
}

function storeOf(state: StoreState): ImageStore {
  const { host, directory } = state;
  const find = (reference: string): StoredImage | undefined => findImage(state.images.values(), reference);
  const get = (reference: string): StoredImage => {
    const image = find(reference);
    if (image === undefined) throw imageNotFound(reference, state.images.values());
    return image;
  };
  const pulls = openPulls(state);
  return {
    find: reference => {
      const image = find(reference);
      return image === undefined ? undefined : recordOf(image);
    },
    ensure: async (wanted, signal) => recordOf(await pulls.ensure(wanted, signal)),
    pullImage: pulls.pullImage,
    mountRoot: (image, target, look) =>
      mountRoot(
        planRoot(
          image.layers.map(id => getLayer(state, id)),
          { hasBase: (state.emptyFiles ?? []).length > 0 },
        ),
        { host, images: directory, directory: target, ...look },
      ),
    unmountRoot: target => unmountRoot(host, target),
    acquire: (taskId, digest) => acquire(state, taskId, digest),
    release: taskId => release(state, taskId),
    resolveUser: (rootPath, user, groups) => resolveUser(quickFiles(host.files), { rootPath, user, groups }),
    importImage: (start, data, signal) => importImage(state, start, { data, signal }),
    list: () => [...state.images.values()].map(image => describe(state, image)),
    inspect: async reference => {
      const image = get(reference);
      const [config, manifest] = await Promise.all([readBlob(state, image.config), readBlob(state, image.digest)]);
      return { image: describe(state, image), config, manifest };
    },
    remove: reference => inTurn(state, () => removeImage(state, reference)),
    tag: (reference, name) => inTurn(state, () => tagImage(state, get(reference), name)),
    prune: request => inTurn(state, () => pruneImages(state, request)),
    makeRoom: highPercent => inTurn(state, async () => void (await makeRoom(state, highPercent))),
    exportImages: (references, signal) => exportImages(state, references.map(get), signal),
    check: (request, signal) => checkStore(state, { ...request, pull: pulls.again }, signal),
    login: (request, signal) => login(state, request, signal),
    pickCredentials: async request => {
      const { text, missing } = await pickFor(state, request);
      return { registryAuth: text, missing };
    },
    logout: registry => logout(state, registry),
    sweep: () => inTurn(state, () => sweep(state)),
  };
}

function recordOf(image: StoredImage): ImageRecord {
  return { digest: image.digest, config: image.parsed.run, layers: image.diffIds };
}

async function tagImage(state: StoreState, image: StoredImage, name: string): Promise<void> {
  await writeIndex(state, withImages(allEntries(state), [{ ...image, names: [fullName(name)] }]));
}

async function removeImage(state: StoreState, reference: string): Promise<RemoveImageResponse> {
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

/** Its own mode is that of a scratch image's root: everyone may enter. */
async function makeBaseLayer({ host, directory, emptyFiles }: ImageStoreOptions): Promise<void> {
  await host.files.makeDirectory(join(directory, baseLayer), { mode: 0o755 });
  for (const name of emptyFiles ?? []) {
    const path = join(directory, baseLayer, name);
    await host.files.makeDirectory(dirname(path), { mode: 0o755 });
    await host.files.write(path, '', { mode: 0o644 });
  }
}
