/**
 * One layer: its bytes are hashed, decompressed, hashed again, filtered and given to tar, in one pass and with bounded
 * memory. The tree counts only when every digest was right.
 *
 * Runs in the unpacking child. Not here: which entries may be (layer-filter.ts), which layers there are (archive.ts).
 */
import { Buffer } from 'node:buffer';
import { createHash, type Hash } from 'node:crypto';
import { join } from 'node:path';
import { codeOf } from '../../errors.js';
import { type ArchivePart, type PlannedLayer, wrongDigest } from './archive.js';
import { type LayerFilter, type LayerSummary, layerEntriesMax, openLayerFilter, padding } from './layer-filter.js';
import { openTarReader, type TarReader } from './tar-reader.js';
import {
  type Compression,
  decompress,
  type FileWriter,
  isNoSpace,
  isUncompressed,
  link,
  makeDirectory,
  noSpace,
  openWriter,
  remove,
  rename,
  type SpaceGuard,
  streamPart,
  writeFile,
} from './unpack-io.js';
import { hexOf, type LayerRecord, type UnpackKernel } from './unpack-protocol.js';
import { startTar, type TarProcess } from './unpack-tar.js';

/** Decompressed data may be this much more than the compressed, and a bit for the small ones. */
const ratioMax = 200;
const ratioFreeBytes = 2 ** 30;

/** Where the bytes of a layer come from; hashed on the way. */
export interface LayerSource {
  readonly sizeBytes: number;
  /** Once. */
  readonly stream: () => AsyncIterable<Buffer>;
  /** Of all the bytes: what `stream` did not get to is read now. */
  readonly digest: () => Promise<string>;
  /** Plain tar, as far as was seen. */
  readonly isUncompressed: () => boolean;
}

export interface LayerJob {
  readonly source: LayerSource;
  /** A file of the work folder that holds just these bytes: the blob may be a second name of it. */
  readonly ownFile: string | undefined;
  /** Of the files that are not done yet: of layers at work side by side each has its own. */
  readonly building: string;
  /** For messages. */
  readonly what: string;
  /** Folder for the tree, the blob and layer.json. */
  readonly work: string;
  readonly guard: SpaceGuard;
  readonly kernel: UnpackKernel;
  readonly expected: Pick<PlannedLayer, 'diffId' | 'descriptor'> | undefined;
  /** This process has a network: what unpacks must not. */
  readonly isOnline: boolean;
  /** The tree is wanted; else the bytes are only checked. */
  readonly isWanted: boolean;
  readonly onBytes: (bytes: number) => void;
}

export interface UnpackedLayer {
  readonly diffId: string;
  readonly blob: { readonly digest: string; readonly sizeBytes: number; readonly compression: Compression };
}

/** Leaves `<work>/blobs/<hex>` and, when wanted, `<work>/layers/<hex>`. */
export async function unpackLayer(job: LayerJob): Promise<UnpackedLayer> {
  const building = join(job.work, job.building);
  const blobFile = `${building}.blob`;
  makeDirectory(join(building, 'fs'), 0o755);
  try {
    const layer = await readLayer(job, { tree: join(building, 'fs'), blobFile });
    checkDigests(job, layer);
    rename(blobFile, join(job.work, 'blobs', hexOf(layer.blob.digest)));
    if (layer.summary === undefined) remove(building);
    else
      finishTree({
        kernel: job.kernel,
        building,
        layer,
        summary: layer.summary,
        to: join(job.work, 'layers', hexOf(layer.diffId)),
      });
    return { diffId: layer.diffId, blob: layer.blob };
  } catch (cause) {
    if (isNoSpace(cause)) throw noSpace(job.work, cause);
    // What did not come to its end has no digest to complain of.
    if (codeOf(cause) !== 'no-space' && !codeOf(cause).startsWith('registry-')) await preferDigestError(job);
    throw cause;
  }
}

function checkDigests(job: LayerJob, layer: UnpackedLayer): void {
  const { expected } = job;
  if (expected?.descriptor !== undefined && expected.descriptor.digest !== layer.blob.digest) {
    throw wrongDigest(job.what, expected.descriptor.digest, layer.blob.digest);
  }
  if (expected !== undefined && expected.diffId !== layer.diffId)
    throw wrongDigest(job.what, expected.diffId, layer.diffId);
}

/** Damaged bytes fail in many ways; that they are not those that were named is what people have to know. */
async function preferDigestError({ expected, source, what }: LayerJob): Promise<void> {
  if (expected === undefined) return;
  const found = await source.digest();
  const wanted = expected.descriptor?.digest ?? (source.isUncompressed() ? expected.diffId : undefined);
  if (wanted !== undefined && found !== wanted) throw wrongDigest(what, wanted, found);
}

function finishTree(place: {
  readonly kernel: UnpackKernel;
  readonly building: string;
  readonly layer: UnpackedLayer;
  readonly summary: LayerSummary;
  readonly to: string;
}): void {
  const { summary } = place;
  for (const path of summary.opaque) {
    if (path === '') continue; // of the root: overlayfs does not look there, so mount.ts leaves out what is below
    const bytes = Buffer.concat([Buffer.from(join(place.building, 'fs/')), Buffer.from(path, 'latin1')]);
    place.kernel.setAttribute(bytes, 'trusted.overlay.opaque', 'y');
  }
  const record: LayerRecord = {
    diffId: place.layer.diffId,
    entries: summary.entries,
    bytes: summary.bytes,
    root: summary.root,
    isOpaque: summary.opaque.includes(''),
  };
  writeFile(join(place.building, 'layer.json'), JSON.stringify(record));
  rename(place.building, place.to);
}

interface ReadLayer extends UnpackedLayer {
  /** Of the tree, when one was made. */
  readonly summary: LayerSummary | undefined;
}

async function readLayer(
  job: LayerJob,
  place: { readonly tree: string; readonly blobFile: string },
): Promise<ReadLayer> {
  const { source, ownFile } = job;
  const diffHash = createHash('sha256');
  if (ownFile !== undefined) link(ownFile, place.blobFile);
  using blob = ownFile !== undefined ? undefined : openWriter(place.blobFile);
  const { compression, chunks } = await decompress(tapped(job, blob), job.what);
  const hashed = hashing(chunks, diffHash);
  const summary = job.isWanted ? await unpackTree(hashed, job, place.tree) : await drain(hashed);
  return {
    summary,
    diffId: `sha256:${diffHash.digest('hex')}`,
    blob: { digest: await source.digest(), sizeBytes: source.sizeBytes, compression },
  };
}

async function* tapped(job: LayerJob, blob: FileWriter | undefined): AsyncGenerator<Buffer> {
  for await (const chunk of job.source.stream()) {
    if (blob !== undefined) job.guard.take(chunk.length);
    blob?.write(chunk);
    job.onBytes(chunk.length);
    yield chunk;
  }
}

/** The bytes of a part of a file, which can be read again. */
export function partSource(part: ArchivePart): LayerSource {
  const hash = createHash('sha256');
  let head: Buffer | undefined;
  let isDone = false;
  return {
    sizeBytes: part.sizeBytes,
    stream: async function* () {
      for await (const chunk of streamPart(part)) {
        head ??= chunk;
        hash.update(chunk);
        yield chunk;
      }
      isDone = true;
    },
    digest: async () => {
      if (isDone) return `sha256:${hash.copy().digest('hex')}`;
      const again = createHash('sha256');
      for await (const chunk of streamPart(part)) {
        head ??= chunk;
        again.update(chunk);
      }
      return `sha256:${again.digest('hex')}`;
    },
    isUncompressed: () => head === undefined || isUncompressed(head),
  };
}

async function* hashing(chunks: AsyncIterable<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

async function drain(chunks: AsyncIterable<Buffer>): Promise<undefined> {
  for await (const _chunk of chunks);
}

async function unpackTree(chunks: AsyncIterable<Buffer>, job: LayerJob, tree: string): Promise<LayerSummary> {
  const bytesMax = ratioFreeBytes + ratioMax * job.source.sizeBytes;
  const filter = openLayerFilter({ entriesMax: layerEntriesMax, bytesMax });
  const tar = startTar(tree, { offline: job.isOnline, makePipe: job.kernel.makePipe });
  try {
    await feed({ chunks, job, filter, tar });
    const { tail, summary } = filter.finish();
    await tar.write(tail);
    await tar.finish();
    return summary;
  } catch (error) {
    tar.kill();
    throw error;
  }
}

async function feed(flow: {
  readonly chunks: AsyncIterable<Buffer>;
  readonly job: LayerJob;
  readonly filter: LayerFilter;
  readonly tar: TarProcess;
}): Promise<void> {
  let out: Uint8Array[] = [];
  const reader = filteringReader(flow.filter, { what: flow.job.what, out: piece => void out.push(piece) });
  for await (const chunk of flow.chunks) {
    reader.push(chunk);
    flow.job.guard.take(chunk.length);
    await flow.tar.write(out);
    out = [];
  }
  reader.finish();
}

/** Entries through the filter, their data behind them; entries that the filter drops, without theirs. */
export function filteringReader(
  filter: LayerFilter,
  options: { readonly what: string; readonly out: (piece: Uint8Array) => void },
): TarReader {
  let isKept = false;
  let left = 0;
  let size = 0;
  return openTarReader(
    {
      entry: entry => {
        const header = filter.entry(entry);
        isKept = header !== undefined;
        left = entry.sizeBytes;
        size = entry.sizeBytes;
        if (header !== undefined) options.out(header);
      },
      data: piece => {
        if (!isKept) return;
        options.out(piece);
        left -= piece.length;
        if (left === 0 && size % 512 !== 0) options.out(padding(size));
      },
    },
    { what: options.what, code: 'image-layer' },
  );
}
