/**
 * The documents of the OCI image specification (and Docker's twins of them) as domain types: descriptor, manifest, index,
 * config. Pure: text in, checked values out; and the other way for images that are made here from a root file system.
 *
 * Not here: where the bytes come from (archive.ts), whether digests are right (unpack-child.ts).
 */
import { CoveyError } from '../../errors.js';
import type { ImageHealthcheck, ImageRunConfig } from '../images.js';
import { countAt, type JsonPlace, objectAt, objectsAt, parseJson, textAt, textMapAt, textsAt } from './json.js';
import { isDigest } from './reference.js';

export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const;

export const manifestMaxBytes = 4 * 2 ** 20;
export const configMaxBytes = 8 * 2 ** 20;
/** Docker stops at 127, the kernel at 500. */
const layersMax = 200;

const layerType =
  /^application\/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar(?:\+(?:gzip|zstd))?|docker\.image\.rootfs(?:\.foreign)?\.diff\.tar(?:\.gzip|\.zstd)?)$/;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly platform: Platform | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface ImageConfig {
  readonly platform: Platform;
  /** 0 when the config does not say. */
  readonly createdAtMs: number;
  readonly run: ImageRunConfig;
  readonly diffIds: readonly string[];
}

export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.index || mediaType === mediaTypes.dockerIndex;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.manifest || mediaType === mediaTypes.dockerManifest;
}

export function parseIndex(what: string, text: string): readonly Descriptor[] {
  const place = parseJson(what, text);
  const mediaType = textAt(place, 'mediaType') ?? mediaTypes.index;
  if (!isIndexType(mediaType) || place.value['layers'] !== undefined) throw confused(what, mediaType);
  return objectsAt(place, 'manifests').map(parseDescriptor);
}

export function parseManifest(what: string, text: string): Manifest {
  const place = parseJson(what, text);
  const mediaType = textAt(place, 'mediaType') ?? mediaTypes.manifest;
  // One document must not be an index to one reader and a manifest to another.
  if (!isManifestType(mediaType) || place.value['manifests'] !== undefined) throw confused(what, mediaType);
  const config = objectAt(place, 'config');
  if (config === undefined) throw new CoveyError('image-archive', `Cannot read ${what}: it names no config`);
  const manifest = { config: parseDescriptor(config), layers: objectsAt(place, 'layers').map(parseDescriptor) };
  if (manifest.config.mediaType !== mediaTypes.config && manifest.config.mediaType !== mediaTypes.dockerConfig) {
    throw new CoveyError('image-archive', `Cannot use ${what}: it is no container image`, {
      state: `its config is of type "${manifest.config.mediaType}"`,
    });
  }
  checkLayerCount(what, manifest.layers.length);
  for (const layer of manifest.layers) {
    if (layerType.test(layer.mediaType)) continue;
    throw new CoveyError('image-archive', `Cannot unpack ${what}: layers of type "${layer.mediaType}" are not known`);
  }
  return manifest;
}

export function checkLayerCount(what: string, count: number): void {
  if (count <= layersMax) return;
  throw new CoveyError('image-layer', `Cannot use ${what}: ${count} layers are more than ${layersMax}`);
}

function confused(what: string, mediaType: string): CoveyError {
  return new CoveyError(
    'image-archive',
    `Cannot read ${what}: its type "${mediaType}" does not fit its content or its place`,
  );
}

function parseDescriptor(place: JsonPlace): Descriptor {
  const digest = textAt(place, 'digest') ?? '';
  if (!isDigest(digest))
    throw new CoveyError('image-archive', `Cannot read ${place.what}: its digest is not sha256:<64 hex>`);
  const platform = objectAt(place, 'platform');
  return {
    mediaType: textAt(place, 'mediaType') ?? '',
    digest,
    sizeBytes: countAt(place, 'size'),
    platform: platform === undefined ? undefined : parsePlatformOf(platform),
    annotations: textMapAt(place, 'annotations'),
  };
}

function parsePlatformOf(place: JsonPlace): Platform {
  return {
    os: textAt(place, 'os') ?? '',
    architecture: textAt(place, 'architecture') ?? '',
    variant: textAt(place, 'variant') ?? '',
  };
}

export function parseConfig(what: string, text: string): ImageConfig {
  const place = parseJson(what, text);
  const rootfs = objectAt(place, 'rootfs');
  const diffIds = rootfs === undefined ? [] : textsAt(rootfs, 'diff_ids');
  const bad = diffIds.find(id => !isDigest(id));
  if (bad !== undefined)
    throw new CoveyError('image-archive', `Cannot read ${what}: diff_ids holds "${bad.slice(0, 80)}"`);
  const created = Date.parse(textAt(place, 'created') ?? '');
  const platform = parsePlatformOf(place);
  return {
    platform: { ...platform, os: platform.os === '' ? 'linux' : platform.os },
    createdAtMs: Number.isFinite(created) ? Math.max(0, created) : 0,
    run: parseRun(objectAt(place, 'config') ?? { what, value: {} }),
    diffIds,
  };
}

function parseRun(place: JsonPlace): ImageRunConfig {
  const volumes = objectAt(place, 'Volumes');
  return {
    entrypoint: textsAt(place, 'Entrypoint', { single: true }),
    command: textsAt(place, 'Cmd', { single: true }),
    env: textsAt(place, 'Env'),
    user: textAt(place, 'User') ?? '',
    workingDir: textAt(place, 'WorkingDir') ?? '',
    stopSignal: textAt(place, 'StopSignal') ?? '',
    volumes: volumes === undefined ? [] : Object.keys(volumes.value).sort(),
    healthcheck: parseHealthcheck(objectAt(place, 'Healthcheck')),
  };
}

function parseHealthcheck(place: JsonPlace | undefined): ImageHealthcheck | undefined {
  if (place === undefined) return undefined;
  const test = textsAt(place, 'Test');
  if (test.length === 0) return undefined;
  return {
    test,
    intervalMs: milliseconds(place, 'Interval'),
    timeoutMs: milliseconds(place, 'Timeout'),
    startPeriodMs: milliseconds(place, 'StartPeriod'),
    startIntervalMs: milliseconds(place, 'StartInterval'),
    retries: countAt(place, 'Retries'),
  };
}

/** Docker keeps nanoseconds. What is asked for but shorter than a millisecond is one. */
function milliseconds(place: JsonPlace, key: string): number {
  const nanoseconds = countAt(place, key);
  return nanoseconds === 0 ? 0 : Math.max(1, Math.round(nanoseconds / 1_000_000));
}

/** A manifest for an image that came without one. The same parts give the same bytes, and so the same digest. */
export function renderManifest(parts: { readonly config: Descriptor; readonly layers: readonly Descriptor[] }): string {
  const plain = ({ mediaType, digest, sizeBytes }: Descriptor): object => ({ mediaType, digest, size: sizeBytes });
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: plain(parts.config),
    layers: parts.layers.map(plain),
  });
}

/** The config of an image of one layer, made from a root file system. */
export function renderConfig(options: {
  readonly platform: Platform;
  readonly createdAtMs: number;
  readonly diffId: string;
  readonly comment: string;
  /** The "config" object as changes.ts made it. */
  readonly run: object;
}): string {
  const created = new Date(options.createdAtMs).toISOString();
  return JSON.stringify({
    created,
    architecture: options.platform.architecture,
    ...(options.platform.variant === '' ? {} : { variant: options.platform.variant }),
    os: options.platform.os,
    config: options.run,
    rootfs: { type: 'layers', diff_ids: [options.diffId] },
    history: [{ created, comment: options.comment }],
  });
}
