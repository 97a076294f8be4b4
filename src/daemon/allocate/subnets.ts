/**
 * Prefixes of networks: as asked, or the next free piece of the cluster's pool.
 *
 * Called by allocate/index.ts and control/. Not here: addresses within a network (ipam.ts).
 */
import type { ClusterSpec, Network } from '../../gen/types.js';
import { defaultClusterSpec } from '../tables.js';
import { findFreePiece, overlap, type Prefix, parsePrefix, renderPrefix } from './prefix.js';

export type Subnets =
  | { readonly kind: 'subnets'; readonly subnets: readonly string[] }
  | { readonly kind: 'exhausted'; readonly message: string };

export function planSubnets(network: Network, networks: Iterable<Network>, spec: ClusterSpec | undefined): Subnets {
  if (network.spec.driver !== 'overlay') return { kind: 'subnets', subnets: [] };
  if (network.spec.subnets.length > 0) return { kind: 'subnets', subnets: network.spec.subnets };
  const poolText = spec?.pool || defaultClusterSpec.pool;
  const bits = spec?.poolPieceBits || defaultClusterSpec.poolPieceBits;
  const pool = parsePrefix(poolText);
  const piece = pool === undefined ? undefined : findFreePiece(pool, bits, prefixesOf(networks));
  if (piece !== undefined) return { kind: 'subnets', subnets: [renderPrefix(piece)] };
  return {
    kind: 'exhausted',
    message: `no free piece of /${bits} is left in the pool ${poolText} for network "${network.spec.name}"`,
  };
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
