/**
 * Networks of this node: container links, the routed overlay to other nodes, load balancing and isolation rules, and the
 * resolver that containers ask.
 *
 * Keeps true: the kernel's links, routes and nftables objects that carry the prefix ("covey") are exactly what the last plan
 * said. Nothing without that prefix is ever touched, but for what `changes()` lists and `removeEverything()` undoes.
 *
 * Not here: which address a task has (daemon/allocate), which tables a node gets (daemon/dispatcher).
 */
export type {
  ClusterVnis,
  HostChange,
  NetworkAttached,
  NetworkHost,
  NetworkIdentity,
  NetworkOptions,
  NetworkStack,
} from './types.js';
export { vnisOf } from './vnis.js';
