/**
 * One layer of a pull: from the store's own blob when that is there, else from the first place that gives the right bytes;
 * goes on where an earlier attempt was cut. Its progress is kept in the pull.
 *
 * Not here: the image (unpack-pull.ts), hashing and unpacking (unpack-layer.ts), one blob of one registry (registry/blob.ts).
 */
import type { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { codeOf } from '../../errors.js';
import type { ArchivePart } from './archive.js';
import type { Descriptor } from './oci.js';
import { type Registry, streamBlob } from './registry/index.js';
import { exists, findFilePart, isUncompressed, remove, rename, streamPart } from './unpack-io.js';
import { type LayerSource, partSource, unpackLayer } from './unpack-layer.js';
import { hexOf, type LayerProgress } from './unpack-protocol.js';
import type { Pull } from './unpack-pull.js';

interface LayerWanted {
  readonly descriptor: Descriptor;
  readonly diffId: string;
  readonly what: string;
}

/** Below this a beginning is not worth keeping. */
const partialMinBytes = 2 ** 20;

export async function pullLayer(pull: Pull, layer: LayerWanted, places: readonly Registry[]): Promise<void> {
  const { digest } = layer.descriptor;
  const own = pull.request.hasBlobs.includes(digest)
    ? findFilePart(join(pull.request.blobs, hexOf(digest)))
    : undefined;
  if (own !== undefined && (await tryOwn(pull, layer, own))) return;
  for (const [at, registry] of places.entries()) {
    const isLast = at === places.length - 1;
    if (await tryPlace(pull, layer, { registry, isLast })) return;
  }
}

/** The blob is here and the layer is not, or is damaged. False when the blob is damaged too. */
async function tryOwn(pull: Pull, layer: LayerWanted, part: ArchivePart): Promise<boolean> {
  try {
    await unpack(pull, layer, partSource(part));
    return true;
  } catch (error) {
    if (codeOf(error) === 'image-digest') return false;
    throw error;
  }
}

async function tryPlace(
  pull: Pull,
  layer: LayerWanted,
  place: { readonly registry: Registry; readonly isLast: boolean },
): Promise<boolean> {
  const prefix = findBeginning(pull, layer.descriptor);
  const source = openPulled(pull, layer, { ...place, prefix });
  try {
    await unpack(pull, layer, source);
    return true;
  } catch (error) {
    if (pull.signal.aborted) throw error;
    const isWrong = codeOf(error) === 'image-digest';
    // Perhaps it was the beginning that was wrong.
    if (isWrong && prefix !== undefined) {
      forgetBeginning(pull, layer.descriptor);
      return await tryPlace(pull, layer, place);
    }
    const mayDiffer = isWrong || codeOf(error) === 'image-not-found' || codeOf(error).startsWith('registry-');
    if (place.isLast || !mayDiffer) throw error;
    return false;
  } finally {
    await source.close();
  }
}

async function unpack(pull: Pull, layer: LayerWanted, source: LayerSource): Promise<void> {
  const { request, kernel, guard } = pull;
  const { descriptor, diffId, what } = layer;
  const building = `building-${hexOf(descriptor.digest)}`;
  note(pull, descriptor, { step: 'pulling', bytes: 0 });
  try {
    await unpackLayer({
      source,
      ownFile: undefined,
      building,
      what: `${what} (${descriptor.digest})`,
      work: request.work,
      guard,
      kernel,
      expected: { diffId, descriptor },
      isOnline: true,
      isWanted: !request.hasLayers.includes(diffId) && !exists(join(request.work, 'layers', hexOf(diffId))),
      onBytes: count => note(pull, descriptor, { count }),
    });
    note(pull, descriptor, { step: 'done' });
  } catch (error) {
    keepBeginning(pull, descriptor, { file: join(request.work, `${building}.blob`), error });
    throw error;
  } finally {
    remove(join(request.work, building));
  }
}

function note(
  pull: Pull,
  { digest, sizeBytes }: Descriptor,
  change: { readonly step?: LayerProgress['step']; readonly bytes?: number; readonly count?: number },
): void {
  const before = pull.layers.get(digest);
  pull.layers.set(digest, {
    digest,
    step: change.step ?? before?.step ?? 'pulling',
    bytes: (change.bytes ?? before?.bytes ?? 0) + (change.count ?? 0),
    totalBytes: sizeBytes,
  });
  pull.tell();
}

// ---- beginnings ---------------------------------------------------------------------------------------------------------

/** Of an earlier attempt of this pull, or of an earlier pull. */
function findBeginning(pull: Pull, { digest, sizeBytes }: Descriptor): ArchivePart | undefined {
  const found = [join(pull.request.work, 'partial'), pull.request.partial]
    .flatMap(folder => findFilePart(join(folder, hexOf(digest))) ?? [])
    .filter(part => part.sizeBytes > 0 && part.sizeBytes < sizeBytes && !pull.spoiled.has(digest));
  return found.sort((a, b) => b.sizeBytes - a.sizeBytes)[0];
}

function forgetBeginning(pull: Pull, { digest }: Descriptor): void {
  pull.spoiled.add(digest);
}

/** What was cut off is kept; what was wrong is not. */
function keepBeginning(
  pull: Pull,
  { digest }: Descriptor,
  { file, error }: { readonly file: string; readonly error: unknown },
): void {
  const part = findFilePart(file);
  const code = codeOf(error);
  const isCut = code === 'registry-unreachable' || code === 'cancelled';
  if (part !== undefined && isCut && part.sizeBytes >= partialMinBytes) {
    rename(file, join(pull.request.work, 'partial', hexOf(digest)));
  } else {
    remove(file);
  }
}

// ---- bytes --------------------------------------------------------------------------------------------------------------

interface PulledSource extends LayerSource {
  readonly close: () => Promise<void>;
}

function openPulled(
  pull: Pull,
  { descriptor }: LayerWanted,
  place: { readonly registry: Registry; readonly isLast: boolean; readonly prefix: ArchivePart | undefined },
): PulledSource {
  const hash = createHash('sha256');
  const pieces = piecesOf(pull, descriptor, place);
  let head: Buffer | undefined;
  const next = async (): Promise<Buffer | undefined> => {
    const found = await pieces.next();
    if (found.done === true) return undefined;
    head ??= found.value;
    hash.update(found.value);
    return found.value;
  };
  return {
    sizeBytes: descriptor.sizeBytes,
    // Whoever stops reading does not end the pieces: the digest may still be wanted.
    stream: async function* () {
      for (let piece = await next(); piece !== undefined; piece = await next()) yield piece;
    },
    digest: async () => {
      while ((await next()) !== undefined);
      return `sha256:${hash.copy().digest('hex')}`;
    },
    isUncompressed: () => head === undefined || isUncompressed(head),
    close: async () => void (await pieces.return(undefined)),
  };
}

async function* piecesOf(
  pull: Pull,
  { digest, sizeBytes }: Descriptor,
  place: { readonly registry: Registry; readonly isLast: boolean; readonly prefix: ArchivePart | undefined },
): AsyncGenerator<Buffer> {
  if (place.prefix !== undefined) yield* streamPart(place.prefix);
  const wanted = { digest, sizeBytes, from: place.prefix?.sizeBytes ?? 0 };
  yield* streamBlob(place.registry, wanted, { patience: pull.patience(place.isLast), signal: pull.signal });
}
