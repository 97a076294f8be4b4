/**
 * Tells what an archive holds: images of a `docker save` (old and new), of an OCI layout (as tar or directory), or one root
 * file system. The documents are read and checked here; layers are only named. No I/O of its own: `ArchiveSource` reads.
 *
 * What it decides: the OCI layout is preferred where both are there, because it knows digests; of several platforms that of
 * the node is taken; names come from the archive unless one is given.
 *
 * Not here: layers (unpack-layer.ts), the tar format (tar-reader.ts).
 */
import type { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import { parseJson, parseJsonList, textAt, textsAt } from './json.js';
import {
  checkLayerCount,
  configMaxBytes,
  type Descriptor,
  type ImageConfig,
  isIndexType,
  isManifestType,
  manifestMaxBytes,
  type Platform,
  parseConfig,
  parseIndex,
  parseManifest,
} from './oci.js';
import { choosePlatform, platformFits, renderPlatform } from './platform.js';
import { findFullName, fullName } from './reference.js';

/** A range of bytes of a file of this machine. */
export interface ArchivePart {
  readonly file: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface ArchiveSource {
  /** For messages: "hello.tar". */
  readonly what: string;
  /** A regular file of the archive by its clean path; links within the archive are followed. */
  readonly find: (path: string) => ArchivePart | undefined;
  readonly read: (part: ArchivePart) => Buffer;
}

export interface PlannedLayer {
  readonly part: ArchivePart;
  readonly diffId: string;
  /** What the manifest says about the blob; undefined when the archive has no manifest. */
  readonly descriptor: Descriptor | undefined;
}

export interface PlannedImage {
  /** Full names; may be empty. */
  readonly names: readonly string[];
  /** As in the archive; undefined: to be made when the blobs of the layers are known. */
  readonly manifest: { readonly digest: string; readonly bytes: Buffer } | undefined;
  readonly config: { readonly digest: string; readonly bytes: Buffer; readonly parsed: ImageConfig };
  readonly layers: readonly PlannedLayer[];
}

export type ArchivePlan =
  | { readonly kind: 'images'; readonly images: readonly PlannedImage[] }
  | { readonly kind: 'root-file-system' };

export interface PlanOptions {
  /** Full name to give, instead of those in the archive. */
  readonly name: string | undefined;
  readonly platform: Platform;
  /** The platform was asked for, and not that of the node by default. */
  readonly hasPlatform: boolean;
}

/** Blobs of an index in an index in the index.json. */
const indexDepthMax = 2;

export function planArchive(source: ArchiveSource, options: PlanOptions): ArchivePlan {
  const index = source.find('index.json');
  const manifest = source.find('manifest.json');
  if (index !== undefined && source.find('oci-layout') !== undefined) {
    return { kind: 'images', images: named(source, planLayout(source, index, options), options) };
  }
  if (manifest !== undefined)
    return { kind: 'images', images: named(source, planDocker(source, manifest, options), options) };
  return { kind: 'root-file-system' };
}

function named(source: ArchiveSource, images: readonly PlannedImage[], options: PlanOptions): readonly PlannedImage[] {
  if (images.length === 0) throw new CoveyError('image-archive', `Cannot import ${source.what}: it holds no image`);
  if (options.name === undefined) return images;
  if (images.length > 1) {
    throw new CoveyError('bad-argument', `Cannot give one name to ${source.what}: it holds ${images.length} images`, {
      state: `they are named ${images.flatMap(image => image.names).join(', ')}`,
      hint: 'import it without a name',
    });
  }
  const name = options.name;
  return images.map(image => ({ ...image, names: [name] }));
}

function readText(
  source: ArchiveSource,
  part: ArchivePart,
  options: { readonly what: string; readonly maxBytes: number },
): Buffer {
  if (part.sizeBytes > options.maxBytes) {
    throw new CoveyError(
      'image-archive',
      `Cannot read ${options.what}: ${part.sizeBytes} bytes are more than ${options.maxBytes}`,
    );
  }
  return source.read(part);
}

// ---- OCI layout ---------------------------------------------------------------------------------------------------------

function planLayout(source: ArchiveSource, index: ArchivePart, options: PlanOptions): readonly PlannedImage[] {
  const layout = source.find('oci-layout');
  const version = layout && textAt(parseJson('oci-layout', source.read(layout).toString('utf8')), 'imageLayoutVersion');
  if (version === undefined || !/^1\./.test(version)) {
    throw new CoveyError(
      'image-archive',
      `Cannot read ${source.what}: OCI layouts of version "${version ?? ''}" are not known`,
    );
  }
  const text = readText(source, index, { what: `index.json of ${source.what}`, maxBytes: manifestMaxBytes }).toString(
    'utf8',
  );
  const groups = new Map<string, { names: Set<string>; descriptors: Descriptor[] }>();
  for (const descriptor of parseIndex(`index.json of ${source.what}`, text).filter(isImage)) {
    const name = nameIn(descriptor);
    // One manifest with several names is one image; manifests with one name are its platforms.
    const key = name === undefined ? '' : name;
    const group = groups.get(key) ?? { names: new Set<string>(), descriptors: [] };
    if (name !== undefined) group.names.add(name);
    group.descriptors.push(descriptor);
    groups.set(key, group);
  }
  const chosen = new Map<string, { names: Set<string>; descriptor: Descriptor }>();
  for (const { names, descriptors } of groups.values()) {
    const descriptor = chooseManifest(source, descriptors, { ...options, depth: 0 });
    const known = chosen.get(descriptor.digest);
    for (const name of names) known?.names.add(name);
    if (known === undefined) chosen.set(descriptor.digest, { names, descriptor });
  }
  return [...chosen.values()].map(({ names, descriptor }) =>
    planManifest(source, { names: [...names], descriptor }, options),
  );
}

/** Attestations and other artifacts stand beside images. */
function isImage(descriptor: Descriptor): boolean {
  const isAttestation = descriptor.annotations['vnd.docker.reference.type'] !== undefined;
  return !isAttestation && descriptor.platform?.architecture !== 'unknown' && isKnownType(descriptor.mediaType);
}

function isKnownType(mediaType: string): boolean {
  return isIndexType(mediaType) || isManifestType(mediaType);
}

/** A tag alone ("latest") names nothing. */
function nameIn(descriptor: Descriptor): string | undefined {
  const full = descriptor.annotations['io.containerd.image.name'];
  const short = descriptor.annotations['org.opencontainers.image.ref.name'];
  const text = full ?? (short !== undefined && /[:/]/.test(short) ? short : undefined);
  return text === undefined ? undefined : findFullName(text);
}

function chooseManifest(
  source: ArchiveSource,
  descriptors: readonly Descriptor[],
  options: PlanOptions & { readonly depth: number },
): Descriptor {
  const present = descriptors.filter(
    descriptor => isImage(descriptor) && findBlob(source, descriptor.digest) !== undefined,
  );
  const known = present.length === 0 ? descriptors : present;
  const chosen = choosePlatform(options.platform, known) ?? (known.length === 1 ? known[0] : undefined);
  if (chosen === undefined) throw noPlatform(source.what, options.platform, descriptors.filter(isImage));
  if (!isIndexType(chosen.mediaType)) return chosen;
  if (options.depth >= indexDepthMax) {
    throw new CoveyError(
      'image-archive',
      `Cannot read ${source.what}: indexes lie more than ${indexDepthMax} deep in each other`,
    );
  }
  const text = readBlob(source, chosen, manifestMaxBytes).toString('utf8');
  const inner = parseIndex(`index ${chosen.digest}`, text);
  return chooseManifest(source, inner, { ...options, depth: options.depth + 1 });
}

function noPlatform(what: string, wanted: Platform, offered: readonly Descriptor[]): CoveyError {
  const there = offered.flatMap(descriptor =>
    descriptor.platform === undefined ? [] : [renderPlatform(descriptor.platform)],
  );
  return new CoveyError('image-platform', `Cannot use ${what}: it has no variant for ${renderPlatform(wanted)}`, {
    state: `it has ${there.length === 0 ? 'none' : [...new Set(there)].join(', ')}`,
    hint: 'import an archive made for this platform, or name another with --platform',
  });
}

function planManifest(
  source: ArchiveSource,
  chosen: { readonly names: readonly string[]; readonly descriptor: Descriptor },
  options: PlanOptions,
): PlannedImage {
  const bytes = readBlob(source, chosen.descriptor, manifestMaxBytes);
  const manifest = parseManifest(`manifest ${chosen.descriptor.digest}`, bytes.toString('utf8'));
  const configBytes = readBlob(source, manifest.config, configMaxBytes);
  const parsed = parseConfig(`config ${manifest.config.digest}`, configBytes.toString('utf8'));
  checkConfig(source, { parsed, layers: manifest.layers.length }, options);
  return {
    names: chosen.names,
    manifest: { digest: chosen.descriptor.digest, bytes },
    config: { digest: manifest.config.digest, bytes: configBytes, parsed },
    layers: manifest.layers.map((descriptor, at) => ({
      part: getBlob(source, descriptor),
      diffId: parsed.diffIds[at] ?? '',
      descriptor,
    })),
  };
}

function checkConfig(
  source: ArchiveSource,
  image: { readonly parsed: ImageConfig; readonly layers: number },
  options: PlanOptions,
): void {
  const { platform, diffIds } = image.parsed;
  checkLayerCount(source.what, image.layers);
  if (diffIds.length !== image.layers) {
    throw new CoveyError(
      'image-archive',
      `Cannot use ${source.what}: its config names ${diffIds.length} layers, its manifest ${image.layers}`,
    );
  }
  if (platform.architecture !== '' && !platformFits(options.platform, platform)) {
    throw new CoveyError('image-platform', `Cannot use ${source.what}: it is made for ${renderPlatform(platform)}`, {
      state: `${options.hasPlatform ? 'asked for is' : 'this node is'} ${renderPlatform(options.platform)}`,
      hint: `--platform ${renderPlatform(platform)} takes it nevertheless`,
    });
  }
}

function findBlob(source: ArchiveSource, digest: string): ArchivePart | undefined {
  return source.find(`blobs/${digest.replace(':', '/')}`);
}

function getBlob(source: ArchiveSource, descriptor: Descriptor): ArchivePart {
  const part = findBlob(source, descriptor.digest);
  if (part === undefined)
    throw new CoveyError('image-archive', `Cannot read ${source.what}: the blob ${descriptor.digest} is not in it`);
  if (part.sizeBytes !== descriptor.sizeBytes) {
    throw new CoveyError(
      'image-digest',
      `Cannot use the blob ${descriptor.digest} of ${source.what}: it has the wrong length`,
      {
        state: `${part.sizeBytes} bytes instead of ${descriptor.sizeBytes}`,
      },
    );
  }
  return part;
}

function readBlob(source: ArchiveSource, descriptor: Descriptor, maxBytes: number): Buffer {
  const bytes = readText(source, getBlob(source, descriptor), { what: `blob ${descriptor.digest}`, maxBytes });
  const found = digestOf(bytes);
  if (found !== descriptor.digest)
    throw wrongDigest(`blob ${descriptor.digest} of ${source.what}`, descriptor.digest, found);
  return bytes;
}

export function digestOf(bytes: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function wrongDigest(what: string, wanted: string, found: string): CoveyError {
  return new CoveyError('image-digest', `Cannot use ${what}: its content has another digest`, {
    state: `it should be ${wanted}, it is ${found}`,
  });
}

// ---- docker-archive -----------------------------------------------------------------------------------------------------

function planDocker(source: ArchiveSource, manifest: ArchivePart, options: PlanOptions): readonly PlannedImage[] {
  const what = `manifest.json of ${source.what}`;
  const text = readText(source, manifest, { what, maxBytes: manifestMaxBytes }).toString('utf8');
  return parseJsonList(what, text).map(place => {
    const configPath = textAt(place, 'Config') ?? '';
    const configPart = getMember(source, configPath);
    const bytes = readText(source, configPart, { what: `"${configPath}"`, maxBytes: configMaxBytes });
    const digest = digestOf(bytes);
    // Docker names the config by its digest: a check for free.
    const hex = /^(?:blobs\/sha256\/)?([0-9a-f]{64})(?:\.json)?$/.exec(configPath)?.[1];
    if (hex !== undefined && digest !== `sha256:${hex}`)
      throw wrongDigest(`"${configPath}" of ${source.what}`, `sha256:${hex}`, digest);
    const parsed = parseConfig(`"${configPath}" of ${source.what}`, bytes.toString('utf8'));
    const paths = textsAt(place, 'Layers');
    checkConfig(source, { parsed, layers: paths.length }, options);
    return {
      names: [...new Set(textsAt(place, 'RepoTags').map(fullName))],
      manifest: undefined,
      config: { digest, bytes, parsed },
      layers: paths.map((path, at) => ({
        part: getMember(source, path),
        diffId: parsed.diffIds[at] ?? '',
        descriptor: undefined,
      })),
    };
  });
}

function getMember(source: ArchiveSource, path: string): ArchivePart {
  const part = source.find(posix.normalize(path));
  if (part === undefined) throw new CoveyError('image-archive', `Cannot read ${source.what}: "${path}" is not in it`);
  return part;
}
