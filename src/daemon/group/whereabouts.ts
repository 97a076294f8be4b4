/**
 * Where nodes are, beyond what the store says: a store is changed by a leader only, and while managers look for each other at
 * addresses of before there is none. What a manager says of itself counts first (its certificate proves who says it), then what is
 * stored, then what others or people believe; a wrong address costs a second, because whoever answers there has to be that node.
 *
 * Told by peers/ (hello and its answer), by people (covey node update --addr) and by the node's own description. Used wherever a
 * manager is dialled. Not here: dialling, the store.
 */
import type { ManagerAddress } from '../../gen/types.js';

export interface Whereabouts {
  /** This node's own addresses, as it says them. */
  readonly own: () => readonly string[];
  readonly setOwn: (addresses: readonly string[]) => void;
  /** The node itself, or a person, says so. Counts until the store says something new. */
  readonly said: (nodeId: string, addresses: readonly string[]) => void;
  /** The store says something new of the node. */
  readonly stored: (nodeId: string) => void;
  /** Somebody else believes so. */
  readonly believed: (nodeId: string, addresses: readonly string[]) => void;
  /** All that is worth a try, the best first. */
  readonly of: (nodeId: string, stored: readonly string[]) => readonly string[];
  readonly withAll: (managers: readonly ManagerAddress[]) => readonly ManagerAddress[];
}

interface Known {
  said: readonly string[];
  believed: readonly string[];
}

const addressesMax = 8;
const nodesMax = 1_024;

export function openWhereabouts(): Whereabouts {
  const nodes = new Map<string, Known>();
  let own: readonly string[] = [];
  const knownOf = (nodeId: string): Known => {
    const known = nodes.get(nodeId) ?? { said: [], believed: [] };
    nodes.delete(nodeId);
    nodes.set(nodeId, known);
    for (const oldest of nodes.keys()) if (nodes.size > nodesMax) nodes.delete(oldest);
    return known;
  };
  const of: Whereabouts['of'] = (nodeId, stored) => {
    const known = nodes.get(nodeId);
    if (known === undefined) return stored;
    return [...new Set([...known.said, ...stored, ...known.believed])].slice(0, addressesMax);
  };
  return {
    own: () => own,
    setOwn: addresses => {
      own = addresses;
    },
    said: (nodeId, addresses) => {
      knownOf(nodeId).said = addresses.slice(0, addressesMax);
    },
    stored: nodeId => {
      const known = nodes.get(nodeId);
      if (known !== undefined) known.said = [];
    },
    believed: (nodeId, addresses) => {
      const known = knownOf(nodeId);
      known.believed = [...new Set([...addresses, ...known.believed])].slice(0, addressesMax);
    },
    of,
    withAll: managers => managers.map(one => ({ ...one, addresses: of(one.nodeId, one.addresses) })),
  };
}
