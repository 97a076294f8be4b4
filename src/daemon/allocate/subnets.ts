/**
 * Prefixes of networks: as asked, or the next piece of the cluster's pool that no network and no host has.
 *
 * Called by allocate/index.ts and control/. Not here: addresses within a network (ipam.ts), what hosts have (clashes.ts).
 */
import type { ClusterSpec, Network, Node } from '../../gen/types.js';
import { defaultClusterSpec } from '../tables.js';
import { findClash, renderClash, takenByNodes } from './clashes.js';
import { findFreePiece, overlap, type Prefix, parsePrefix, renderPrefix } from './prefix.js';

export type Subnets =
  | { readonly kind: 'subnets'; readonly subnets: readonly string[] }
  | { readonly kind: 'exhausted'; readonly message: string };

export interface Present {
  readonly networks: Iterable<Network>;
  readonly nodes: Iterable<Node>;
  readonly spec: ClusterSpec | undefined;
}

export function planSubnets(network: Network, { networks, nodes, spec }: Present): Subnets {
  if (network.spec.driver !== 'overlay') return { kind: 'subnets', subnets: [] };
  if (network.spec.subnets.length > 0) return { kind: 'subnets', subnets: network.spec.subnets };
  const poolText = spec?.pool || defaultClusterSpec.pool;
  const bits = spec?.poolPieceBits || defaultClusterSpec.poolPieceBits;
  const pool = parsePrefix(poolText);
  const taken = prefixesOf(networks);
  const present = [...nodes];
  const piece = pool && findFreePiece(pool, bits, [...taken, ...takenByNodes(present)]);
  if (piece !== undefined) return { kind: 'subnets', subnets: [renderPrefix(piece)] };
  const message = `no free piece of /${bits} is left in the pool ${poolText} for network "${network.spec.name}"`;
  const ours = pool && findFreePiece(pool, bits, taken);
  const clash = ours && findClash([renderPrefix(ours)], present);
  return { kind: 'exhausted', message: clash === undefined ? message : `${message}: hosts have ${renderClash(clash)}` };
}

/** The network whose prefix overlaps with one of those, if there is one. */
export function findOverlap(subnets: readonly string[], networks: Iterable<Network>): Network | undefined {
  const wanted = subnets.flatMap(text => parsePrefix(text) ?? []);
  return [...networks].find(network =>
    prefixesOf([network]).some(taken => wanted.some(prefix => overlap(prefix, taken))),
  );
}

function prefixesOf(networks: Iterable<Network>): readonly Prefix[] {
  return [...networks]
    .flatMap(({ subnets, spec }) => [...subnets, ...spec.subnets])
    .flatMap(text => parsePrefix(text) ?? []);
}
