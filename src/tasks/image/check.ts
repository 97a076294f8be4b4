/**
 * Looks for damage in the whole store, and mends it when asked to: a layer from its blob, a blob from the registry that the
 * image came from. What is damaged is never used from the moment it is known.
 *
 *     damaged          with an origin        without
 *     layer only       unpacked from the blob (an export of ours, imported)
 *     blob             pulled                told: import it again
 *     index            images are found again by their manifests, without their names
 *
 * Not here: reading and comparing (unpack-check.ts), pulls (pull.ts).
 */
import { CoveyError, codeOf, messageOf } from '../../errors.js';
import type { CheckImagesResponse } from '../../gen/types.js';
import { runChild } from './child.js';
import { exportImages } from './export.js';
import type { IndexEntry, StoredImage } from './image-index.js';
import { parseConfig, parseManifest } from './oci.js';
import { familiarName } from './reference.js';
import { setAside } from './store-commit.js';
import { importImage, openWork } from './store-import.js';
import {
  allEntries,
  blobPath,
  forgetLoss,
  inTurn,
  readBlob,
  reload,
  type StoreState,
  usesOf,
  writeIndex,
} from './store-state.js';
import type { CheckRequest } from './unpack-protocol.js';

export interface CheckOptions {
  readonly repair: boolean;
  /** Pulls by "registry/name@sha256:…". */
  readonly pull: (reference: string, signal: AbortSignal) => Promise<StoredImage>;
}

interface Damage {
  /** Digest of a blob, or diffID of a layer. */
  readonly part: string;
  readonly kind: 'blob' | 'layer';
  readonly why: string;
}

export async function* checkStore(
  state: StoreState,
  options: CheckOptions,
  signal: AbortSignal,
): AsyncGenerator<CheckImagesResponse> {
  if (state.isIndexLost) yield await refind(state, options);
  const entries = allEntries(state);
  const damages: Damage[] = [];
  for await (const answer of findDamages(state, entries, signal)) {
    if ('why' in answer) damages.push(answer);
    else yield { ...nothing, ...answer };
  }
  const total = new Set(entries.flatMap(partsOf)).size;
  for (const entry of entries) {
    const own = damages.filter(damage => partsOf(entry).includes(damage.part));
    const broken = state.broken.includes(entry) && own.length === 0;
    if (own.length === 0 && !broken) continue;
    const outcome = options.repair
      ? await mend(state, { entry, damages: own, ...options }, signal)
      : advice(entry, own);
    const told = own.length > 0 ? own : [{ part: entry.digest, why: 'a part of it is missing or damaged' }];
    for (const { part, why } of told) {
      yield { ...nothing, ...outcome, damage: `${part}: ${why}`, image: titleOf(entry), checked: total, total };
    }
  }
}

const nothing = { damage: '', image: '', outcome: '', repaired: false, checked: 0, total: 0 };

function titleOf(entry: IndexEntry): string {
  const [name] = entry.names;
  return name === undefined ? entry.digest : familiarName(name);
}

function partsOf(entry: IndexEntry): readonly string[] {
  return [entry.digest, entry.config, ...entry.layerBlobs, ...entry.diffIds];
}

async function* findDamages(
  state: StoreState,
  entries: readonly IndexEntry[],
  signal: AbortSignal,
): AsyncGenerator<Damage | { readonly checked: number; readonly total: number }> {
  await using work = await openWork(state);
  const request: CheckRequest = {
    kind: 'check',
    work: work.path,
    directory: state.directory,
    blobs: [...new Set(entries.flatMap(({ digest, config, layerBlobs }) => [digest, config, ...layerBlobs]))],
    layers: [
      ...new Map(
        entries.flatMap(({ diffIds, layerBlobs }) =>
          diffIds.map((diffId, at) => [diffId, { diffId, blob: layerBlobs[at] ?? '' }] as const),
        ),
      ).values(),
    ],
  };
  const { processes } = state.host;
  await using child = runChild({ processes, command: state.unpackCommand, request, data: undefined, signal });
  for (let next = await child.next(); next.done !== true; next = await child.next()) {
    const { value } = next;
    if (value.kind !== 'checked') continue;
    yield { checked: value.checked, total: value.total };
    if (value.why !== '') yield { part: value.part, kind: value.of, why: value.why };
  }
}

type Outcome = Pick<CheckImagesResponse, 'outcome' | 'repaired'>;

function advice(entry: IndexEntry, damages: readonly Damage[]): Outcome {
  const isPullable = entry.origins.length > 0;
  const isLocal = damages.length > 0 && damages.every(damage => damage.kind === 'layer');
  const outcome = isPullable || isLocal ? 'covey image fsck --repair mends it' : 'import it again';
  return { outcome, repaired: false };
}

async function mend(
  state: StoreState,
  job: CheckOptions & { readonly entry: IndexEntry; readonly damages: readonly Damage[] },
  signal: AbortSignal,
): Promise<Outcome> {
  const { entry, damages } = job;
  const users = usesOf(state, entry.digest);
  const layers = damages.filter(damage => damage.kind === 'layer');
  if (layers.length > 0 && users.length > 0) {
    return { outcome: `${users.length} running tasks use it (${users[0]}): stop them and repeat`, repaired: false };
  }
  try {
    await inTurn(state, () => putAway(state, damages));
    const [origin] = entry.origins;
    const isLocal = damages.length > 0 && layers.length === damages.length;
    if (isLocal) await unpackAgain(state, entry, signal);
    else if (origin !== undefined) await job.pull(origin, signal);
    else return { outcome: 'import it again: nothing says where it came from', repaired: false };
    return { outcome: 'repaired', repaired: true };
  } catch (error) {
    if (signal.aborted) throw error;
    return { outcome: `not repaired: ${messageOf(error)} (${codeOf(error)})`, repaired: false };
  }
}

/** From here on nothing uses it. */
async function putAway(state: StoreState, damages: readonly Damage[]): Promise<void> {
  for (const { kind, part } of damages) {
    if (kind === 'layer') await setAside(state, part);
    else await state.host.files.remove(blobPath(state, part));
  }
  await reload(state);
}

/** What an import of our own export brings: the same image, its missing layers unpacked, its names as they were. */
async function unpackAgain(state: StoreState, entry: IndexEntry, signal: AbortSignal): Promise<void> {
  const start = { name: '', changes: [], source: titleOf(entry), platform: '', path: '' };
  for await (const _progress of importImage(state, start, { data: exportImages(state, [entry], signal), signal }));
}

/** Every blob that is a manifest all parts of which are there is an image again. */
async function refind(state: StoreState, { repair }: CheckOptions): Promise<CheckImagesResponse> {
  const damage = 'the index of images is lost';
  if (!repair) return { ...nothing, damage, outcome: 'covey image fsck --repair finds the images again' };
  const found: IndexEntry[] = [];
  for (const hex of await state.host.files.list(blobPath(state, '').replace(/\/$/, ''))) {
    const entry = await findEntry(state, `sha256:${hex}`);
    if (entry !== undefined) found.push(entry);
  }
  await inTurn(state, async () => {
    const known = new Set(allEntries(state).map(entry => entry.digest));
    await writeIndex(state, [...allEntries(state), ...found.filter(entry => !known.has(entry.digest))]);
    await forgetLoss(state);
  });
  return { ...nothing, damage, outcome: `${found.length} images are found again, without their names`, repaired: true };
}

const manifestLikeMaxBytes = 4 * 2 ** 20;

async function findEntry(state: StoreState, digest: string): Promise<IndexEntry | undefined> {
  const stat = await state.host.files.findStat(blobPath(state, digest));
  if (stat === undefined || stat.sizeBytes > manifestLikeMaxBytes) return undefined;
  try {
    const manifest = parseManifest(digest, await readBlob(state, digest));
    const { diffIds } = parseConfig(digest, await readBlob(state, manifest.config.digest));
    const layerBlobs = manifest.layers.map(layer => layer.digest);
    return { names: [], digest, config: manifest.config.digest, diffIds, layerBlobs, origins: [] };
  } catch (error) {
    if (error instanceof CoveyError) return undefined; // some other blob
    throw error;
  }
}
