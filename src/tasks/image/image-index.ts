/**
 * What images a node has, in memory, and the one file that says so on disk. Names point to manifests' digests; an image keeps
 * what a task start needs at hand. Pure: the file is read and replaced by store.ts.
 *
 * Not here: blobs and layers (store.ts), what a name is (reference.ts).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import { countAt, type JsonPlace, objectsAt, parseJson, textAt, textsAt } from './json.js';
import type { ImageConfig } from './oci.js';
import { findFullName, isDigest, parseReference, renderName, withDefaultTag } from './reference.js';
import type { UnpackedImage } from './unpack-protocol.js';

/** A line of the file. The names of an image are a part of it: they change together. */
export type IndexEntry = UnpackedImage;

export interface StoredImage extends IndexEntry {
  readonly parsed: ImageConfig;
  /** Of the data of all files of all layers. */
  readonly sizeBytes: number;
}

const version = 1;

export function renderIndex(entries: readonly IndexEntry[]): string {
  const images = entries.map(({ names, digest, config, diffIds, layerBlobs, origins }) => ({
    names,
    digest,
    config,
    diffIds,
    layerBlobs,
    origins,
  }));
  return `${JSON.stringify({ version, checksum: checksumOf(images), images }, undefined, 1)}\n`;
}

function checksumOf(images: unknown): string {
  return createHash('sha256').update(JSON.stringify(images)).digest('hex');
}

/** Throws state-damaged. */
export function parseIndexFile(path: string, text: string): readonly IndexEntry[] {
  try {
    const place = parseJson(path, text);
    if (countAt(place, 'version') > version)
      throw new CoveyError('newer-schema', `Its version is ${countAt(place, 'version')}`);
    const checksum = textAt(place, 'checksum') ?? '';
    if (checksum !== checksumOf(place.value['images']))
      throw new CoveyError('state-damaged', 'Its checksum does not fit its content');
    return objectsAt(place, 'images').map(parseEntry);
  } catch (cause) {
    throw new CoveyError('state-damaged', `Cannot read the index of images "${path}"`, {
      hint: 'move the images folder away and import the images again',
      cause,
    });
  }
}

function parseEntry(place: JsonPlace): IndexEntry {
  const entry = {
    names: textsAt(place, 'names'),
    digest: textAt(place, 'digest') ?? '',
    config: textAt(place, 'config') ?? '',
    diffIds: textsAt(place, 'diffIds'),
    layerBlobs: textsAt(place, 'layerBlobs'),
    origins: textsAt(place, 'origins'),
  };
  const digests = [entry.digest, entry.config, ...entry.diffIds, ...entry.layerBlobs];
  if (digests.every(isDigest)) return entry;
  throw new CoveyError('state-damaged', `${place.what} holds what is no digest`);
}

/** The entries after images came in: a name is taken from whoever had it; an image that was there gains names. */
export function withImages(entries: readonly IndexEntry[], added: readonly IndexEntry[]): readonly IndexEntry[] {
  const taken = new Set(added.flatMap(image => image.names));
  const kept = new Map(
    entries.map(entry => [entry.digest, { ...entry, names: entry.names.filter(name => !taken.has(name)) }]),
  );
  for (const image of added) {
    const names = [...new Set([...(kept.get(image.digest)?.names ?? []), ...image.names])].sort();
    const origins = [...new Set([...(kept.get(image.digest)?.origins ?? []), ...image.origins])].sort();
    kept.set(image.digest, { ...image, names, origins });
  }
  return [...kept.values()];
}

export type Removal =
  | { readonly kind: 'untag'; readonly entries: readonly IndexEntry[]; readonly untagged: readonly string[] }
  | {
      readonly kind: 'delete';
      readonly entries: readonly IndexEntry[];
      readonly untagged: readonly string[];
      readonly image: IndexEntry;
    };

/** A name takes itself away, and the image with the last one; an id takes the image with all names. */
export function planRemoval(entries: readonly IndexEntry[], image: IndexEntry, reference: string): Removal {
  const name = findFullName(reference);
  const isByName = name !== undefined && image.names.includes(name);
  if (isByName && image.names.length > 1) {
    const rest = { ...image, names: image.names.filter(other => other !== name) };
    return {
      kind: 'untag',
      untagged: [name],
      entries: entries.map(entry => (entry.digest === image.digest ? rest : entry)),
    };
  }
  return {
    kind: 'delete',
    untagged: image.names,
    image,
    entries: entries.filter(entry => entry.digest !== image.digest),
  };
}

const idPrefixMin = 4;

/**
 * By name, by digest (with or without a name before it), or by the beginning of the digest of manifest or config. Throws
 * image-bad-name for what can be none of these, and ambiguous.
 */
export function findImage<Entry extends IndexEntry>(entries: Iterable<Entry>, reference: string): Entry | undefined {
  const all = [...entries];
  const prefix = /^(?:sha256:)?([0-9a-f]+)$/.exec(reference)?.[1];
  const name = findFullName(reference);
  const byName = name === undefined ? undefined : all.find(entry => entry.names.includes(name));
  if (byName !== undefined) return byName;
  if (prefix !== undefined && prefix.length >= idPrefixMin && prefix.length <= 64) {
    const fits = (digest: string): boolean => digest.startsWith(`sha256:${prefix}`);
    const found = all.filter(entry => fits(entry.digest) || fits(entry.config));
    if (found.length > 1)
      throw new CoveyError('ambiguous', `Cannot tell which image "${reference}" is: ${found.length} ids begin so`);
    if (found[0] !== undefined || reference.startsWith('sha256:') || prefix.length === 64) return found[0];
  }
  const parsed = withDefaultTag(parseReference(reference));
  if (parsed.digest === undefined) return all.find(entry => entry.names.includes(renderName(parsed)));
  return all.find(
    entry => entry.digest === parsed.digest || entry.origins.some(origin => origin.endsWith(`@${parsed.digest}`)),
  );
}

export function imageNotFound(reference: string, entries: Iterable<IndexEntry>): CoveyError {
  const count = [...entries].length;
  return new CoveyError('image-not-found', `Cannot find image "${reference}" on this node`, {
    state: count === 0 ? 'there are no images yet' : `${count} other ${count === 1 ? 'image is' : 'images are'} there`,
    hint: 'covey image ls lists them; covey image pull and covey image import bring one',
  });
}
