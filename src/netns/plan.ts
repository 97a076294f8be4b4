/**
 * From wanted and seen to ordered steps: what packets will need comes first, what nothing needs any more goes last, so that at
 * no moment a rule sends packets to where there is no way.
 *
 * Pure. Carried out by apply.ts: the steps of `before`, then the packet rules in one transaction, then those of `after`.
 *
 * Not here: what is wanted (wanted.ts), how packet rules differ (nft/model.ts).
 */
import { type FabricObject, type FabricObjects, isSame } from './fabric-object.js';

export interface FabricPlan {
  readonly before: readonly FabricObject[];
  /** Former values that cannot be replaced in their place: removed once the new ones are there. */
  readonly replaced: readonly FabricObject[];
  readonly after: readonly FabricObject[];
}

/** A route needs its gateway's neighbour, a rule its table. */
const order: readonly FabricObject['kind'][] = ['address', 'forwarding', 'neighbour', 'route', 'rule'];

export function planFabric(wanted: FabricObjects, seen: FabricObjects): FabricPlan {
  const before: FabricObject[] = [];
  const replaced: FabricObject[] = [];
  const after: FabricObject[] = [];
  for (const [key, object] of wanted) {
    const there = seen.get(key);
    if (there !== undefined && isSame(object, there)) continue;
    if (there?.kind === 'rule') replaced.push(there);
    before.push(object);
  }
  for (const [key, object] of seen) if (!wanted.has(key)) after.push(object);
  const rank = (object: FabricObject): number => order.indexOf(object.kind);
  return {
    before: before.sort((a, b) => rank(a) - rank(b)),
    replaced,
    after: after.sort((a, b) => rank(b) - rank(a)),
  };
}
