/**
 * The choice between two sides that each say the range of versions that they speak.
 *
 * Not here: the ranges of this program (version.ts), versions of the log's entries (raft/store), of the wire format (proto: fields are only ever added).
 */
import { CoveyError } from '../../errors.js';
import type { ProtocolRange } from '../../version.js';

/** The highest version that both speak. */
export function chooseProtocol(theirs: ProtocolRange, ours: ProtocolRange): number {
  const highest = Math.min(theirs.max, ours.max);
  if (highest >= Math.max(theirs.min, ours.min)) return highest;
  throw new CoveyError('no-common-protocol', 'Cannot agree on a version of the protocol', {
    state: `the caller speaks ${theirs.min} to ${theirs.max}, this manager ${ours.min} to ${ours.max}`,
    hint: theirs.max < ours.min ? 'update the caller' : 'update the managers',
  });
}
