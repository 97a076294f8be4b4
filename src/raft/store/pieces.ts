/**
 * Work that is larger than one transaction: `decide` says all that is left to do, the first part of it is stored, and it is
 * asked again, until it says nothing. For work that needs no atomicity as a whole; what belongs together is given as a group.
 *
 * Called by the loops of daemon/manager.ts. Not here: the limits themselves (open.ts).
 */
import { CoveyError, codeOf } from '../../errors.js';
import type { Store, UpdateOptions, View, Write } from '../store.js';
import { changesMax } from './open.js';

/** Writes that are stored together or not at all. */
export type Group = readonly Write[];

/** Pieces of one call; more means that decide never comes to an end. */
const piecesMax = 10_000;

export async function updateInPieces(
  store: Pick<Store, 'update'>,
  decide: (view: View) => readonly Group[],
  options: UpdateOptions,
): Promise<void> {
  let limit = changesMax;
  for (let piece = 0; piece < piecesMax; piece++) {
    let rest = 0;
    try {
      await store.update(view => {
        const groups = decide(view);
        const { writes, taken } = firstPiece(groups, limit);
        rest = groups.length - taken;
        return writes;
      }, options);
      if (rest === 0) return;
      limit = Math.min(changesMax, limit * 2);
    } catch (error) {
      if (codeOf(error) !== 'too-large' || limit === 1) throw error;
      limit = Math.max(1, Math.floor(limit / 2));
    }
  }
  throw new CoveyError('bug', 'Cannot store work in pieces: there is always more to do');
}

/** As many whole groups as fit; at least one. */
function firstPiece(
  groups: readonly Group[],
  limit: number,
): { readonly writes: readonly Write[]; readonly taken: number } {
  const writes: Write[] = [];
  let taken = 0;
  for (const group of groups) {
    if (taken > 0 && writes.length + group.length > limit) break;
    writes.push(...group);
    taken += 1;
  }
  return { writes, taken };
}
