/**
 * Images as one tar archive that holds an OCI layout and a docker-archive of them at once: what this store, skopeo, podman and
 * docker read back to the same config. The bytes of each blob are checked on their way out.
 *
 * Not here: reading such archives (archive.ts).
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import { wrongDigest } from './archive.js';
import type { IndexEntry } from './image-index.js';
import { mediaTypes, parseManifest } from './oci.js';
import { familiarName, parseReference } from './reference.js';
import { blobPath, readBlob, type StoreState } from './store-state.js';
import { blockBytes, paddingBytes, renderEntry, type TarEntry } from './tar-header.js';
import { hexOf } from './unpack-protocol.js';

const pieceBytes = 2 ** 18;
/** The same images are the same archive, byte for byte. */
const modified = '0';

export async function* exportImages(
  state: StoreState,
  images: readonly IndexEntry[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (images.length === 0) throw new CoveyError('bad-argument', 'Cannot export: no image is named');
  const blobs = new Set<string>();
  const descriptors: object[] = [];
  const dockerImages: object[] = [];
  for (const image of images) {
    const text = await readBlob(state, image.digest);
    const manifest = parseManifest(`manifest ${image.digest}`, text);
    for (const digest of [image.digest, image.config, ...image.layerBlobs]) blobs.add(digest);
    descriptors.push(...describeImage(image, { text, sizeBytes: Buffer.byteLength(text) }));
    dockerImages.push({
      Config: pathOf(image.config),
      RepoTags: image.names.map(familiarName),
      Layers: manifest.layers.map(layer => pathOf(layer.digest)),
    });
  }
  const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: descriptors };
  yield* textFile('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  yield* textFile('index.json', JSON.stringify(index));
  yield* textFile('manifest.json', JSON.stringify(dockerImages));
  for (const folder of ['blobs', 'blobs/sha256'])
    yield renderEntry(entryOf(folder, { kind: 'directory', mode: 0o755 }));
  for (const digest of blobs) yield* blobFile(state, digest, signal);
  yield new Uint8Array(2 * blockBytes);
}

/** One for each name; an image without a name has one all the same. */
function describeImage(
  { digest, names }: IndexEntry,
  manifest: { readonly text: string; readonly sizeBytes: number },
): readonly object[] {
  const isDocker = manifest.text.includes(mediaTypes.dockerManifest);
  const plain = {
    mediaType: isDocker ? mediaTypes.dockerManifest : mediaTypes.manifest,
    digest,
    size: manifest.sizeBytes,
  };
  if (names.length === 0) return [plain];
  return names.map(name => ({
    ...plain,
    annotations: {
      'io.containerd.image.name': name,
      'org.opencontainers.image.ref.name': parseReference(name).tag ?? 'latest',
    },
  }));
}

function pathOf(digest: string): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function entryOf(path: string, own: Pick<TarEntry, 'kind' | 'mode'> & { readonly sizeBytes?: number }): TarEntry {
  const nothing = { target: '', uid: 0, gid: 0, modified, major: 0, minor: 0, xattrs: new Map() };
  return { ...nothing, path, sizeBytes: 0, ...own };
}

function* textFile(path: string, text: string): Generator<Uint8Array> {
  const bytes = Buffer.from(text);
  yield renderEntry(entryOf(path, { kind: 'file', mode: 0o644, sizeBytes: bytes.length }));
  yield bytes;
  yield new Uint8Array(paddingBytes(bytes.length));
}

async function* blobFile(state: StoreState, digest: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const path = blobPath(state, digest);
  await using reader = await state.host.files.openReader(path);
  if (reader === undefined) throw new CoveyError('image-not-found', `Cannot export: the blob ${digest} is gone`);
  const { sizeBytes } = await reader.stat();
  yield renderEntry(entryOf(pathOf(digest), { kind: 'file', mode: 0o644, sizeBytes }));
  const hash = createHash('sha256');
  for (let at = 0; at < sizeBytes; ) {
    signal.throwIfAborted();
    const piece = await reader.read(at, Math.min(pieceBytes, sizeBytes - at));
    if (piece.length === 0) throw new CoveyError('image-digest', `Cannot export: the blob ${digest} became shorter`);
    hash.update(piece);
    at += piece.length;
    yield piece;
  }
  const found = `sha256:${hash.digest('hex')}`;
  if (found !== digest) throw wrongDigest(`the blob ${digest} of this store`, digest, found);
  yield new Uint8Array(paddingBytes(sizeBytes));
}
