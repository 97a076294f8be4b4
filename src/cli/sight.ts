/**
 * Reads of a cluster's state as the user wants them (--consistent, --stale), and what is to be told of an answer that is old.
 *
 * Keeps true: whoever sees an old answer is told so, once a command: people by a line on standard error, programs by the
 * field "asOf" of each record, which is there only then.
 *
 * Called by context.ts; client.ts sends the wish along. Not here: deciding how old an answer is (daemon/sight.ts).
 */
import { CoveyError } from '../errors.js';
import type { AsOf } from '../gen/types.js';
import type { Flags } from './flags.js';
import { renderAge, renderTime } from './output/values.js';

export type ReadWish = 'consistent' | 'stale' | undefined;

export function readWishOf(flags: Flags): ReadWish {
  const [consistent, stale] = [flags.isOn('consistent'), flags.isOn('stale')];
  if (consistent && stale) {
    throw new CoveyError('bad-argument', 'Cannot read both ways', { hint: 'give --consistent or --stale' });
  }
  return consistent ? 'consistent' : stale ? 'stale' : undefined;
}

/** "as of 2026-11-30T17:03:12Z, 34 s ago; no leader: 1 of 3 managers answer here, 2 are needed". */
export function renderAsOf({ atMs, why }: AsOf, nowMs: number): string {
  if (atMs === 0) return `of unknown age; ${why}`;
  return `as of ${renderTime(atMs)}, ${renderAge(Math.max(0, nowMs - atMs))} ago; ${why}`;
}
