/**
 * The VXLAN network identifiers of a cluster, derived from its id: two clusters on one underlay, or on one host, do not meet.
 */
import type { ClusterId } from '../ids.js';
import type { ClusterVnis } from './types.js';

/** Below this lie the identifiers that others number from 1 or 4096 upwards. */
const vniMin = 0x100000;
const vniCount = 0x1000000 - vniMin;

/** An even identifier and the odd one after it, by FNV-1a over the id. */
export function vnisOf(clusterId: ClusterId): ClusterVnis {
  let hash = 0x811c9dc5;
  for (const character of clusterId) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  const overlay = vniMin + ((hash % vniCount) & ~1);
  return { overlay, ingress: overlay + 1 };
}
