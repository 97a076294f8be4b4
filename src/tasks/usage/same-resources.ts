/**
 * Whether two wishes for resources are the same; fields that are undefined count as absent.
 *
 * Used where a wish is compared with what is in effect (limits-watch.ts, controller.ts).
 */
import { isDeepStrictEqual } from 'node:util';
import type { LimitsSeen, Resources } from '../../gen/types.js';

export function sameResources(left: Resources | undefined, right: Resources | undefined): boolean {
  return left === right || isDeepStrictEqual(plain(left), plain(right));
}

function plain(resources: Resources | undefined): unknown {
  return resources === undefined ? undefined : JSON.parse(JSON.stringify(resources));
}

export function isSeenSame(left: LimitsSeen, right: LimitsSeen): boolean {
  return sameResources(left.inEffect, right.inEffect) && isDeepStrictEqual(left.warnings, right.warnings);
}
