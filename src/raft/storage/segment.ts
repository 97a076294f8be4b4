/**
 * The files of a log: their names, the head of a segment, and the manifest that says which segments there are.
 *
 *     manifest                      first and last segment of the log; replaced in one step (manifest.next, sync, rename, sync)
 *     <number>-<next index>.wal     16 hex digits each; a head sector, then frames
 *     spare.wal                     the next segment, zero-filled ahead, so that a full disk can still be written to
 *     *.tmp                         being made; worth nothing after a crash
 *
 * A segment's head names the frame of its predecessor after which it takes over. What the predecessor holds beyond that
 * frame never counts: so a torn tail is left behind, not mended in place, and no synced sector is written twice.
 *
 * Not here: frames (frame.ts), reading (log-reader.ts), writing (wal.ts).
 */
import { CoveyError } from '../../errors.js';
import type { HardState } from '../core/types.js';
import type { SnapshotMarker } from './batch.js';
import { type Disk, readWholeFile, SECTOR_BYTES } from './disk.js';
import type { Chain } from './frame.js';
import type { Keyring } from './keyring.js';
import { decodeSector, encodeSector, type SectorSeal } from './sector.js';

/** Whose log it is. A log is never read under another identity. */
export interface LogIdentity {
  readonly cluster: string;
  readonly node: number;
}

export interface SegmentHead {
  readonly identity: LogIdentity;
  readonly number: number;
  /** The last frame of the predecessor that counts; its sequence is on disk. */
  readonly after: Chain;
  /** As they were when the segment began, so that its predecessors may go. */
  readonly hardState: HardState;
  readonly marker: SnapshotMarker;
}

export interface Manifest {
  readonly identity: LogIdentity;
  readonly firstSegment: number;
  readonly lastSegment: number;
}

export const noMarker: SnapshotMarker = { index: 0, term: 0, replaces: false };
export const noHardState: HardState = { term: 0, vote: 0, commit: 0 };

const SEGMENT_MAGIC = 'COVEYLOG';
const NEXT_MANIFEST = 'manifest.next';
const MANIFEST_MAGIC = 'COVEYMAN';
const segmentName = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;

export function segmentFile(number: number, nextIndex: number): string {
  const hex = (value: number) => value.toString(16).padStart(16, '0');
  return `${hex(number)}-${hex(nextIndex)}.wal`;
}

/** The number of the segment that a file name stands for. */
export function findSegmentNumber(name: string): number | undefined {
  const match = segmentName.exec(name);
  return match ? Number.parseInt(match[1]!, 16) : undefined;
}

export function encodeSegmentHead(head: SegmentHead, seal?: SectorSeal): Buffer {
  const { hardState, marker, after } = head;
  const state = [hardState.term, hardState.vote, hardState.commit, marker.index, marker.term, marker.replaces ? 1 : 0];
  const sector = {
    magic: SEGMENT_MAGIC,
    numbers: [head.number, head.identity.node, after.crc, after.seq, ...state],
    text: head.identity.cluster,
  };
  return encodeSector(sector, seal);
}

/** The head, and the id of the key that it is sealed with. */
export function decodeSegmentHead(
  bytes: Buffer,
  path: string,
  keyring: Keyring,
): SegmentHead & { readonly keyId: number } {
  const sector = decodeSector(bytes, SEGMENT_MAGIC, keyring);
  if ('why' in sector) throw damaged(path, 0, sector.why);
  const [
    number = 0,
    node = 0,
    crc = 0,
    seq = 0,
    term = 0,
    vote = 0,
    commit = 0,
    index = 0,
    markerTerm = 0,
    replaces = 0,
  ] = sector.numbers;
  return {
    identity: { cluster: sector.text, node },
    number,
    keyId: sector.keyId,
    after: { crc, seq },
    hardState: { term, vote, commit },
    marker: { index, term: markerTerm, replaces: replaces === 1 },
  };
}

export function readManifest(disk: Disk, folder: string): Manifest | undefined {
  if (!disk.list(folder).includes('manifest')) return undefined;
  const path = `${folder}/manifest`;
  const sector = decodeSector(readWholeFile(disk, path), MANIFEST_MAGIC);
  if ('why' in sector) throw damaged(path, 0, sector.why);
  const [firstSegment = 0, lastSegment = 0, node = 0] = sector.numbers;
  return { identity: { cluster: sector.text, node }, firstSegment, lastSegment };
}

/** Replaces the manifest; when this returns, the new one is what a crash leaves. */
export function writeManifest(disk: Disk, folder: string, manifest: Manifest): void {
  const { identity, firstSegment, lastSegment } = manifest;
  const bytes = encodeSector({
    magic: MANIFEST_MAGIC,
    numbers: [firstSegment, lastSegment, identity.node],
    text: identity.cluster,
  });
  const next = `${folder}/${NEXT_MANIFEST}`;
  const file = disk.open(next, disk.list(folder).includes(NEXT_MANIFEST) ? 'write' : 'create');
  try {
    file.write(0, bytes);
    file.datasync();
  } finally {
    file.close();
  }
  disk.rename(next, `${folder}/manifest`);
  disk.syncFolder(folder);
}

/** Takes the room for the next manifest ahead, so that a full disk does not stand in its way. */
export function prepareManifest(disk: Disk, folder: string): void {
  if (disk.list(folder).includes(NEXT_MANIFEST)) return;
  const file = disk.open(`${folder}/${NEXT_MANIFEST}`, 'create');
  try {
    file.write(0, Buffer.alloc(SECTOR_BYTES));
    file.datasync();
  } finally {
    file.close();
  }
}

export function checkIdentity(path: string, found: LogIdentity, wanted: LogIdentity): void {
  if (found.cluster === wanted.cluster && found.node === wanted.node) return;
  throw new CoveyError('log-foreign', `Cannot use the Raft log "${path}": it belongs to another member`, {
    state: `it is of cluster "${found.cluster}", member ${found.node}; this is cluster "${wanted.cluster}", member ${wanted.node}`,
    hint: 'put the right data directory in place, or move this one away and join again',
  });
}

/** The refusal of damage: which file, where, and what to do. */
export function damaged(path: string, offset: number, why: string): CoveyError {
  return new CoveyError('log-damaged', `Cannot read "${path}": it is damaged at offset ${offset}`, {
    state: why,
    hint: 'with other managers alive: remove this node from the cluster, move its data directory away and join again; otherwise: coveyd --repair-log look, which says what is lost',
  });
}
