/**
 * The process that imports one archive: it takes it in, finds the images, unpacks their layers, and leaves everything in its
 * work folder for the daemon to move into place. It may be killed at any line; the daemon throws the folder away.
 *
 * Its own process because reading, hashing and decompressing would block the daemon, and the memory is gone with it.
 *
 * Not here: the daemon's end (import.ts), documents (archive.ts), one layer (unpack-layer.ts).
 */
import { Buffer } from 'node:buffer';
import { basename, join } from 'node:path';
import { CoveyError, codeOf, toProblem } from '../../errors.js';
import { type ArchivePart, type ArchiveSource, digestOf, type PlannedImage, planArchive } from './archive.js';
import { openMembers } from './archive-members.js';
import { applyChanges, type RunDocument } from './changes.js';
import { type Descriptor, mediaTypes, type Platform, renderConfig, renderManifest } from './oci.js';
import { parsePlatform, platformOf } from './platform.js';
import { fullName } from './reference.js';
import { openTarReader } from './tar-reader.js';
import {
  decompress,
  exists,
  findFilePart,
  isNoSpace,
  kindOf,
  makeDirectory,
  noSpace,
  openSpaceGuard,
  openWriter,
  readPart,
  readRequest,
  remove,
  type SpaceGuard,
  sendLine,
  standardInput,
  streamPart,
  writeFile,
} from './unpack-io.js';
import { type LayerJob, partSource, type UnpackedLayer, unpackLayer } from './unpack-layer.js';
import {
  type ChildRequest,
  hexOf,
  type UnpackedImage,
  type UnpackKernel,
  type UnpackMessage,
  type UnpackRequest,
} from './unpack-protocol.js';

type Result = Extract<UnpackMessage, { kind: 'result' }>;

/** In the work folder: the archive as it came, uncompressed. */
const archiveName = 'archive.tar';

interface Work {
  readonly request: UnpackRequest;
  readonly kernel: UnpackKernel;
  readonly guard: SpaceGuard;
  readonly platform: Platform;
  readonly progress: (step: 'reading' | 'unpacking', bytes: number) => void;
  /** Layers done, by the place of their bytes in the archive. */
  readonly done: Map<string, UnpackedLayer>;
}

/** Serves one request and ends the process. */
export async function runUnpackChild(kernel: UnpackKernel): Promise<void> {
  let message: UnpackMessage;
  try {
    // The line comes from our own daemon, which wrote it from this type.
    const request = JSON.parse(await readRequest()) as ChildRequest;
    message = await serveRequest(request, kernel);
  } catch (error) {
    message = { kind: 'failure', problem: toProblem(error) };
  }
  await sendLine(message);
  process.exit(0);
}

/** What imports do not need is loaded where it is needed: a child costs its start. */
async function serveRequest(request: ChildRequest, kernel: UnpackKernel): Promise<UnpackMessage> {
  switch (request.kind) {
    case 'import':
      return await importArchive(request, kernel);
    case 'pull':
      return await (await import('./unpack-pull.js')).pullImage(request, kernel);
    case 'check':
      return await (await import('./unpack-check.js')).checkParts(request, kernel);
  }
}

async function importArchive(request: UnpackRequest, kernel: UnpackKernel): Promise<Result> {
  const run = applyChanges(request.changes);
  const name = request.name === '' ? undefined : fullName(request.name);
  const platform = request.platform === '' ? platformOf(process.arch) : parsePlatform(request.platform);
  process.umask(0o022);
  for (const folder of ['blobs', 'layers']) makeDirectory(join(request.work, folder), 0o700);
  kernel.enterJail(request.work, [request.layers, ...(request.path === '' ? [] : [request.path])]);
  const guard = openSpaceGuard(request.work);
  const work: Work = { request, kernel, guard, platform, progress: throttledProgress(), done: new Map() };
  try {
    const opened = await openSource(work);
    const plan = planArchive(opened.source, { name, platform, hasPlatform: request.platform !== '' });
    if (plan.kind === 'images') {
      if (request.changes.length > 0) throw noChanges(opened.source);
      const images: UnpackedImage[] = [];
      for (const image of plan.images) images.push(await unpackImage(work, opened.source, image));
      return finish(work, images);
    }
    return finish(work, [await unpackRootFileSystem(work, opened, { name, run })]);
  } catch (cause) {
    throw isNoSpace(cause) ? noSpace(request.work, cause) : cause;
  }
}

function noChanges(source: ArchiveSource): CoveyError {
  return new CoveyError(
    'bad-argument',
    `Cannot apply changes to ${source.what}: it holds an image with a config of its own`,
    {
      hint: '--change works on root file systems',
    },
  );
}

const progressEveryBytes = 8 * 2 ** 20;

function throttledProgress(): Work['progress'] {
  let total = 0;
  let stepNow = '';
  let toldAt = 0;
  return (step, bytes) => {
    const isNew = step !== stepNow;
    total = isNew ? bytes : total + bytes;
    stepNow = step;
    if (!isNew && total - toldAt < progressEveryBytes) return;
    toldAt = total;
    void sendLine({ kind: 'progress', step, bytes: total } satisfies UnpackMessage);
  };
}

async function finish(work: Work, images: readonly UnpackedImage[]): Promise<Result> {
  await sendLine({ kind: 'progress', step: 'storing', bytes: 0 } satisfies UnpackMessage);
  remove(join(work.request.work, archiveName));
  work.kernel.syncFileSystem(work.request.work);
  const blobs = images.flatMap(image => [image.digest, image.config, ...image.layerBlobs]);
  const layers = images.flatMap(image => image.diffIds);
  return { kind: 'result', images, blobs: [...new Set(blobs)], layers: [...new Set(layers)] };
}

// ---- taking the archive in ----------------------------------------------------------------------------------------------

interface Opened {
  readonly source: ArchiveSource;
  /** All of it, uncompressed, when it is a tar archive. */
  readonly whole: ArchivePart | undefined;
  readonly latestMs: number;
}

async function openSource(work: Work): Promise<Opened> {
  const { path } = work.request;
  const what = `"${work.request.source === '' ? basename(path) || 'the archive' : work.request.source}"`;
  if (path === '') return await takeIn(work, standardInput(), { what, file: undefined });
  const kind = kindOf(path);
  if (kind === 'directory') return openLayout(path, what);
  if (kind !== 'file') {
    throw new CoveyError(
      'image-archive',
      `Cannot read "${path}": ${kind === undefined ? 'there is no such file' : 'it is no file and no directory'}`,
    );
  }
  return await takeIn(work, streamFile(path), { what, file: path });
}

async function* streamFile(path: string): AsyncGenerator<Buffer> {
  const part = findFilePart(path);
  if (part === undefined) throw new CoveyError('image-archive', `Cannot read "${path}": it is no regular file`);
  yield* streamPart(part);
}

function openLayout(path: string, what: string): Opened {
  const find = (name: string): ArchivePart | undefined =>
    name.startsWith('..') ? undefined : findFilePart(join(path, name));
  if (find('index.json') === undefined && find('manifest.json') === undefined) {
    throw new CoveyError(
      'image-archive',
      `Cannot read "${path}": it holds no OCI layout (index.json, oci-layout, blobs)`,
    );
  }
  return { source: { what, find, read: readPart }, whole: undefined, latestMs: 0 };
}

/** Reads to the end, notes where everything lies, and keeps the bytes uncompressed unless they lie so in a file already. */
async function takeIn(
  work: Work,
  bytes: AsyncIterable<Buffer>,
  from: { readonly what: string; readonly file: string | undefined },
): Promise<Opened> {
  const { what } = from;
  const { compression, chunks } = await decompress(counted(work, bytes), what);
  const isKept = from.file === undefined || compression !== 'none';
  const file = isKept ? join(work.request.work, archiveName) : (from.file ?? '');
  const members = openMembers(file, what);
  const reader = openTarReader({ entry: members.add, data: () => undefined }, { what, code: 'image-archive' });
  using writer = isKept ? openWriter(file) : undefined;
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    if (isKept) work.guard.take(chunk.length);
    writer?.write(chunk);
    sizeBytes += chunk.length;
    pushTar(reader, chunk, { what, isFirst: members.count() === 0 });
  }
  if (sizeBytes === 0) throw new CoveyError('image-archive', `Cannot read ${what}: it is empty`);
  if (!reader.finish().isMarked) {
    throw new CoveyError('image-archive', `Cannot read ${what}: it is cut short, its end mark is missing`, {
      state: `${sizeBytes} bytes were read`,
    });
  }
  if (members.count() === 0) throw new CoveyError('image-archive', `Cannot read ${what}: it is an archive of nothing`);
  const source = { what, find: members.find, read: readPart };
  return { source, whole: { file, offset: 0, sizeBytes }, latestMs: members.latestMs() };
}

function pushTar(
  reader: { push(chunk: Buffer): void },
  chunk: Buffer,
  context: { readonly what: string; readonly isFirst: boolean },
): void {
  try {
    reader.push(chunk);
  } catch (cause) {
    if (!context.isFirst || codeOf(cause) !== 'image-archive') throw cause;
    throw new CoveyError(
      'image-archive',
      `Cannot read ${context.what}: it is no tar archive, plain or compressed with gzip or zstd`,
      { cause },
    );
  }
}

async function* counted(work: Work, bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of bytes) {
    work.progress('reading', chunk.length);
    yield chunk;
  }
}

// ---- unpacking ----------------------------------------------------------------------------------------------------------

async function unpackImage(work: Work, source: ArchiveSource, image: PlannedImage): Promise<UnpackedImage> {
  const layers: UnpackedLayer[] = [];
  for (const [at, planned] of image.layers.entries()) {
    const what = `layer ${at + 1} of ${source.what}`;
    layers.push(await unpackOnce(work, { part: planned.part, what, expected: planned }));
  }
  keepBlob(work, image.config);
  const manifest = image.manifest ?? makeManifest(image.config, layers);
  keepBlob(work, manifest);
  return {
    names: image.names,
    digest: manifest.digest,
    config: image.config.digest,
    diffIds: layers.map(layer => layer.diffId),
    layerBlobs: layers.map(layer => layer.blob.digest),
    origins: [],
  };
}

interface LayerWanted extends Pick<LayerJob, 'what' | 'expected'> {
  readonly part: ArchivePart;
}

async function unpackOnce(work: Work, wanted: LayerWanted): Promise<UnpackedLayer> {
  const key = `${wanted.part.file}:${wanted.part.offset}:${wanted.expected?.diffId ?? ''}`;
  const known = work.done.get(key);
  if (known !== undefined) return known;
  const diffId = wanted.expected?.diffId;
  const isThere =
    diffId !== undefined &&
    (work.request.hasLayers.includes(diffId) || exists(join(work.request.work, 'layers', hexOf(diffId))));
  const archive = join(work.request.work, archiveName);
  const layer = await unpackLayer({
    source: partSource(wanted.part),
    what: wanted.what,
    expected: wanted.expected,
    work: work.request.work,
    building: 'building',
    guard: work.guard,
    kernel: work.kernel,
    ownFile: wanted.part.file === archive && wanted.part.offset === 0 ? archive : undefined,
    isOnline: false,
    isWanted: !isThere,
    onBytes: bytes => work.progress('unpacking', bytes),
  });
  work.done.set(key, layer);
  return layer;
}

const layerSuffix = { none: '', gzip: '+gzip', zstd: '+zstd' } as const;

function makeManifest(
  config: { readonly digest: string; readonly bytes: Buffer },
  layers: readonly UnpackedLayer[],
): { digest: string; bytes: string } {
  const bytes = renderManifest({
    config: plainDescriptor(mediaTypes.config, config.digest, config.bytes.length),
    layers: layers.map(({ blob }) =>
      plainDescriptor(`${mediaTypes.layer}${layerSuffix[blob.compression]}`, blob.digest, blob.sizeBytes),
    ),
  });
  return { digest: digestOf(bytes), bytes };
}

function plainDescriptor(mediaType: string, digest: string, sizeBytes: number): Descriptor {
  return { mediaType, digest, sizeBytes, platform: undefined, annotations: {} };
}

function keepBlob(work: Work, blob: { readonly digest: string; readonly bytes: string | Uint8Array }): void {
  writeFile(join(work.request.work, 'blobs', hexOf(blob.digest)), blob.bytes);
}

async function unpackRootFileSystem(
  work: Work,
  opened: Opened,
  options: { readonly name: string | undefined; readonly run: RunDocument },
): Promise<UnpackedImage> {
  const { source, whole } = opened;
  if (options.name === undefined || whole === undefined) {
    throw new CoveyError(
      'bad-argument',
      `Cannot import ${source.what} without a name: it is a root file system, which has none`,
      {
        hint: 'covey image import FILE NAME:TAG',
      },
    );
  }
  const layer = await unpackOnce(work, { part: whole, what: source.what, expected: undefined });
  // The time of the youngest file and not of today: the same archive is the same image on every node.
  const config = Buffer.from(
    renderConfig({
      platform: work.platform,
      createdAtMs: opened.latestMs,
      diffId: layer.diffId,
      comment: 'imported by covey from a root file system',
      run: options.run,
    }),
  );
  const described = { digest: digestOf(config), bytes: config };
  const manifest = makeManifest(described, [layer]);
  keepBlob(work, described);
  keepBlob(work, manifest);
  return {
    names: [options.name],
    digest: manifest.digest,
    config: described.digest,
    diffIds: [layer.diffId],
    layerBlobs: [layer.blob.digest],
    origins: [],
  };
}
