/**
 * Networks of this node: container links, the routed overlay to other nodes, load balancing and isolation rules, and the
 * resolver that containers ask.
 *
 * Keeps true: the kernel's links, routes and nftables objects that carry the prefix ("covey") are exactly what the last plan
 * said. Nothing without that prefix is ever touched, but for what `changes()` lists and `removeEverything()` undoes.
 *
 * How it goes: `wanted.ts` says what has to be, from the tables and the tasks attached here -> `plan.ts` and `nft/model.ts`
 * compare it with what is -> `apply.ts` carries the steps out -> `dns/records.ts` holds names -> `dns/server.ts` answers.
 * `stack.ts` is what users call, `plane.ts` and `host-plane.ts` hold the open sockets of fabric and host.
 *
 * Not here: which address a task has (daemon/allocate), which tables a node gets (daemon/dispatcher).
 */
export type { FirewallProblem } from './legacy-firewall.js';
export { tryMeans } from './probe.js';
export { openNetworkStack } from './stack.js';
export type { HostChange, NetworkStack } from './types.js';
export { vnisOf } from './vnis.js';
