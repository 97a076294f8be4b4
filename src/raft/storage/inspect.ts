/**
 * Looks at a log without changing it, and mends one that was refused when its owner accepts what is lost.
 *
 * `inspectLog` reads segment by segment and stops at nothing: it says what is good and where the damage is. `repairLog`
 * keeps everything before the damage and sets the rest aside under `*.damaged`; entries that were acknowledged may be
 * among that, so it is for the last manager alone, or for looking.
 *
 * Called by: daemon/repair.ts, with no daemon on the data directory.
 */
import { CoveyError } from '../../errors.js';
import { type Disk, readWholeFile, SECTOR_BYTES } from './disk.js';
import type { Chain } from './frame.js';
import { clearKeyring, type Keyring } from './keyring.js';
import { scanFrames, type Tail } from './scan.js';
import {
  decodeSegmentHead,
  findSegmentNumber,
  type LogIdentity,
  type Manifest,
  readManifest,
  writeManifest,
} from './segment.js';

interface SegmentReport {
  readonly name: string;
  readonly frames: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly sizeBytes: number;
  /** What follows the good frames; the end of a segment that has a successor never counts. */
  readonly tail: Tail;
}

export interface LogReport {
  readonly identity: LogIdentity | undefined;
  readonly segments: readonly SegmentReport[];
  /** The first thing that is wrong, with file and offset; undefined when the log can be used. */
  readonly damage: { readonly name: string; readonly offset: number; readonly why: string } | undefined;
}

/** What `wal/` under a storage folder holds. */
export function inspectLog(disk: Disk, folder: string, keyring: Keyring = clearKeyring): LogReport {
  const manifest = readManifest(disk, folder);
  if (!manifest)
    return { identity: undefined, segments: [], damage: { name: 'manifest', offset: 0, why: 'it is missing' } };
  const segments: SegmentReport[] = [];
  let damage: LogReport['damage'];
  let chain: Chain | undefined;
  for (let number = manifest.firstSegment; number <= manifest.lastSegment; number += 1) {
    const found = inspectSegment(disk, folder, { manifest, number, chain, keyring });
    if (found.report) segments.push(found.report);
    if (found.damage) damage ??= found.damage;
    chain = found.chain;
  }
  return { identity: manifest.identity, segments, damage };
}

/** Ends the log before its first damage. Returns what was set aside. */
export function repairLog(disk: Disk, folder: string, keyring: Keyring = clearKeyring): readonly string[] {
  const { damage } = inspectLog(disk, folder, keyring);
  const manifest = readManifest(disk, folder);
  if (!damage || !manifest) return [];
  const broken = findSegmentNumber(damage.name) ?? manifest.lastSegment + 1;
  const goodHead = damage.offset >= SECTOR_BYTES;
  const lastSegment = goodHead ? broken : broken - 1;
  if (lastSegment < manifest.firstSegment) {
    throw new CoveyError(
      'log-damaged',
      `Cannot repair the Raft log in "${folder}": nothing before the damage is left`,
      {
        state: `${damage.name}, offset ${damage.offset}: ${damage.why}`,
      },
    );
  }
  const aside: string[] = [];
  for (const name of disk.list(folder)) {
    const number = findSegmentNumber(name);
    if (number === undefined || number < broken) continue;
    if (number === broken && goodHead) copyWithout(disk, `${folder}/${name}`, damage.offset);
    else disk.rename(`${folder}/${name}`, `${folder}/${name}.damaged`);
    aside.push(`${name}.damaged`);
  }
  disk.syncFolder(folder);
  writeManifest(disk, folder, { ...manifest, lastSegment });
  return aside;
}

function inspectSegment(
  disk: Disk,
  folder: string,
  at: {
    readonly manifest: Manifest;
    readonly number: number;
    readonly chain: Chain | undefined;
    readonly keyring: Keyring;
  },
): { readonly report?: SegmentReport; readonly damage?: LogReport['damage']; readonly chain: Chain | undefined } {
  const name = disk.list(folder).find(one => findSegmentNumber(one) === at.number);
  if (!name) return { damage: { name: `segment ${at.number}`, offset: 0, why: 'it is missing' }, chain: undefined };
  const bytes = readWholeFile(disk, `${folder}/${name}`);
  try {
    const head = decodeSegmentHead(bytes, name, at.keyring);
    const scan = scanFrames(bytes, SECTOR_BYTES, head.after);
    const report = {
      name,
      frames: scan.frames.length,
      firstSeq: head.after.seq + 1,
      lastSeq: scan.chain.seq,
      sizeBytes: bytes.length,
      tail: scan.tail,
    };
    const broken = at.chain && at.chain.seq < head.after.seq;
    if (broken)
      return {
        report,
        damage: { name, offset: 0, why: `frames ${at.chain.seq + 1} to ${head.after.seq} are missing before it` },
        chain: scan.chain,
      };
    if (scan.tail.kind === 'damaged')
      return { report, damage: { name, offset: scan.tail.at, why: scan.tail.why }, chain: scan.chain };
    return { report, chain: scan.chain };
  } catch (error) {
    const why = error instanceof CoveyError && error.state ? error.state : String(error);
    return { damage: { name, offset: 0, why }, chain: undefined };
  }
}

/** Replaces the file by its good beginning; the original stays beside it. */
function copyWithout(disk: Disk, path: string, goodBytes: number): void {
  const good = readWholeFile(disk, path).subarray(0, goodBytes);
  disk.rename(path, `${path}.damaged`);
  const file = disk.open(path, 'create');
  file.write(0, good);
  file.datasync();
  file.close();
}
