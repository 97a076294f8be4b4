/**
 * Where in a tar archive each of its files lies, so that the documents and layers in it can be read without unpacking it.
 * Pure but for the map it fills.
 *
 * Not here: what the files mean (archive.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { ArchivePart } from './archive.js';
import { layerEntriesMax } from './layer-filter.js';
import type { TarEntry } from './tar-header.js';

type Member =
  | { readonly kind: 'file'; readonly part: ArchivePart }
  | { readonly kind: 'link'; readonly path: string }
  | { readonly kind: 'twice' };

export interface ArchiveMembers {
  readonly add: (entry: TarEntry, offset: number) => void;
  readonly find: (path: string) => ArchivePart | undefined;
  /** Of the files of the archive; 0: it is empty. */
  readonly count: () => number;
  /** The latest change of any of its entries, in milliseconds. */
  readonly latestMs: () => number;
}

const linksMax = 8;

/** `file`: where the bytes of the archive lie, uncompressed. */
export function openMembers(file: string, what: string): ArchiveMembers {
  const members = new Map<string, Member>();
  let count = 0;
  let latestSeconds = 0;
  return {
    add: (entry, offset) => {
      count += 1;
      if (count > layerEntriesMax)
        throw new CoveyError('image-archive', `Cannot read ${what}: it has more than ${layerEntriesMax} entries`);
      latestSeconds = Math.max(latestSeconds, Math.floor(Number(entry.modified)));
      const path = memberPath(entry.path);
      const member = memberOf(entry, { path, file, offset });
      // What stands there twice is two things to two readers: an error only when it is asked for.
      if (member !== undefined) members.set(path, members.has(path) ? { kind: 'twice' } : member);
    },
    find: path => find(members, memberPath(path), what),
    count: () => count,
    latestMs: () => Math.min(latestSeconds * 1_000, 8.64e15),
  };
}

function memberPath(written: string): string {
  return posix.normalize(`/${written}`).slice(1);
}

function memberOf(
  entry: TarEntry,
  place: { readonly path: string; readonly file: string; readonly offset: number },
): Member | undefined {
  switch (entry.kind) {
    case 'file':
      return { kind: 'file', part: { file: place.file, offset: place.offset, sizeBytes: entry.sizeBytes } };
    case 'symlink': // old `docker save`: a layer that is the same as one before
      return { kind: 'link', path: memberPath(posix.join(posix.dirname(place.path), entry.target)) };
    case 'hard-link':
      return { kind: 'link', path: memberPath(entry.target) };
    default:
      return undefined;
  }
}

function find(members: ReadonlyMap<string, Member>, path: string, what: string): ArchivePart | undefined {
  let member = members.get(path);
  for (let links = 0; member?.kind === 'link' && links < linksMax; links += 1) member = members.get(member.path);
  if (member?.kind === 'twice')
    throw new CoveyError('image-archive', `Cannot read ${what}: "${path}" stands in it twice`);
  return member?.kind === 'file' ? member.part : undefined;
}
