/**
 * Whether two wishes for resources are the same; fields that are undefined count as absent.
 *
 * Used where a wish is compared with what is in effect (limits-watch.ts, controller.ts).
 */
import { isDeepStrictEqual } from 'node:util';
import type { LimitsSeen, Resources, Task } from '../../gen/types.js';

export function sameResources(left: Resources | undefined, right: Resources | undefined): boolean {
  return left === right || isDeepStrictEqual(plain(left), plain(right));
}

function plain(resources: Resources | undefined): unknown {
  return resources === undefined ? undefined : JSON.parse(JSON.stringify(resources));
}

export function isSeenSame(left: LimitsSeen, right: LimitsSeen): boolean {
  return sameResources(left.inEffect, right.inEffect) && isDeepStrictEqual(left.warnings, right.warnings);
}

/** Whether both say the same of what may change in a task that lives. */
export function sameOrder(left: Task, right: Task): boolean {
  return (
    left.desired === right.desired &&
    left.stopAfterDisconnectMs === right.stopAfterDisconnectMs &&
    sameResources(left.spec.limits, right.spec.limits)
  );
}
