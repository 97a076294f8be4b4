/**
 * Addresses of one network: who has which, and which is next.
 *
 * An address that was given back is not given again for 10 s, nor before every node has acknowledged that its last owner is gone,
 * so that no connection, answer of a resolver or conntrack entry of that one leads to the next; and then the one that has been
 * free for longest comes first. When addresses were given back stands in the network's ledger and in tasks that have ended, hence
 * an election forgets nothing.
 *
 * Called by allocate/index.ts and orchestrate/pass.ts. Not here: prefixes of networks (subnets.ts), ports (ports.ts).
 */
import type { AddressLedger, EndpointAddress, FreedAddress, Network } from '../../gen/types.js';
import { isEnded, type View } from '../../raft/store.js';
import { parseAddress, parsePrefix, renderAddress, sizeOf } from './prefix.js';

export const reuseDelayMs = 10_000;
/** Longest ledger kept beyond the delay; addresses freed earlier than all in it count as never used. */
const ledgerMax = 512;
/** Network address and the one behind it, and broadcast, are left alone: programs have opinions on them. */
const firstOffset = 2;

type Taken =
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'exhausted'; readonly message: string; readonly retryAtMs: number | undefined };

export interface AddressPool {
  readonly take: (nowMs: number) => Taken;
  readonly usedCount: number;
}

/** Given back, and not in the ledger yet. */
type JustFreed = EndpointAddress & { readonly atMs: number };

/** Nodes that may still lead to what had the address before; undefined: none. */
export type WaitsFor = (address: string) => readonly string[] | undefined;

export interface PoolOptions {
  readonly justFreed: readonly JustFreed[];
  readonly waitsFor: WaitsFor;
}

/** Reads who has an address of the network. */
export function openAddressPool(
  network: Network,
  view: View,
  { justFreed, waitsFor }: PoolOptions = { justFreed: [], waitsFor: () => undefined },
): AddressPool {
  const subnets = network.subnets.flatMap(text => parsePrefix(text) ?? []);
  const { used, freed } = survey(network, view, justFreed);
  const queue = [...freed].sort((a, b) => a[1] - b[1]);
  let cursor: { subnet: number; offset: number } = { subnet: 0, offset: firstOffset };
  let waiting = 0;
  const late = new Set<string>();
  let lateCount = 0;

  const nextUnused = (): number | undefined => {
    for (;;) {
      const subnet = subnets[cursor.subnet];
      if (subnet === undefined) return undefined;
      if (cursor.offset >= sizeOf(subnet.bits) - 1) {
        cursor = { subnet: cursor.subnet + 1, offset: firstOffset };
        continue;
      }
      const address = subnet.base + cursor.offset;
      cursor = { ...cursor, offset: cursor.offset + 1 };
      if (!used.has(address) && !freed.has(address)) return address;
    }
  };
  const nextFreed = (nowMs: number): number | undefined => {
    for (;;) {
      const [address, freedAtMs] = queue[waiting] ?? [];
      if (address === undefined || freedAtMs === undefined || freedAtMs + reuseDelayMs > nowMs) return undefined;
      waiting += 1;
      if (used.has(address)) continue;
      const nodes = waitsFor(renderAddress(address));
      if (nodes === undefined) return address;
      lateCount += 1;
      for (const node of nodes) late.add(node);
    }
  };
  return {
    get usedCount() {
      return used.size;
    },
    take: nowMs => {
      const address = nextUnused() ?? nextFreed(nowMs);
      if (address === undefined) {
        const resting = queue.slice(waiting);
        const names = [...late].map(id => view.find('node', id)?.spec.name ?? id);
        return exhausted(network, {
          used: used.size,
          queue: resting,
          late: { count: lateCount, names },
          nowMs,
        });
      }
      used.add(address);
      return { kind: 'address', address: renderAddress(address) };
    },
  };
}

/** Addresses in use, and when those that are not were given back. */
function survey(
  network: Network,
  view: View,
  justFreed: readonly JustFreed[],
): { readonly used: Set<number>; readonly freed: Map<number, number> } {
  const used = new Set<number>();
  const freed = new Map<number, number>();
  const free = (text: string, atMs: number): void => {
    const address = parseAddress(text);
    if (address !== undefined) freed.set(address, Math.max(atMs, freed.get(address) ?? 0));
  };
  for (const { address, atMs } of network.ledger?.freed ?? []) free(address, atMs);
  for (const { networkId, addresses, atMs } of justFreed)
    if (networkId === network.id) for (const text of addresses) free(text, atMs);
  for (const task of view.list('task')) {
    for (const { networkId, addresses } of task.endpoints) {
      if (networkId !== network.id) continue;
      if (isEnded(task.status.state)) for (const text of addresses) free(text, task.meta.updatedAtMs);
      else addAll(used, addresses);
    }
  }
  for (const service of view.list('service')) {
    for (const vip of service.vips) if (vip.networkId === network.id) addAll(used, vip.addresses);
  }
  for (const address of used) freed.delete(address);
  return { used, freed };
}

function addAll(set: Set<number>, addresses: readonly string[]): void {
  for (const text of addresses) {
    const address = parseAddress(text);
    if (address !== undefined) set.add(address);
  }
}

/** That tasks and services can have. */
export function addressCount(subnets: readonly string[]): number {
  const prefixes = subnets.flatMap(text => parsePrefix(text) ?? []);
  return prefixes.reduce((sum, { bits }) => sum + Math.max(0, sizeOf(bits) - firstOffset - 1), 0);
}

interface Exhaustion {
  readonly used: number;
  readonly queue: readonly (readonly [number, number])[];
  /** Addresses that nodes have not acknowledged the end of, and those nodes. */
  readonly late: { readonly count: number; readonly names: readonly string[] };
  readonly nowMs: number;
}

const lookAgainMs = 1_000;

function exhausted(network: Network, { used, queue, late, nowMs }: Exhaustion): Taken {
  const total = addressCount(network.subnets);
  const soon = queue.length === 0 ? '' : `, ${queue.length} free again within ${reuseDelayMs / 1_000} s`;
  const waits = late.count === 0 ? '' : `, ${late.count} until ${late.names.join(', ') || 'the nodes'} let them go`;
  const message = `no free address on network "${network.spec.name}": ${network.subnets.join(', ')}: ${used} of ${total} in use${soon}${waits}`;
  const times = [
    ...queue.slice(0, 1).map(([, atMs]) => atMs + reuseDelayMs),
    ...(late.count > 0 ? [nowMs + lookAgainMs] : []),
  ];
  return { kind: 'exhausted', message, retryAtMs: times.length === 0 ? undefined : Math.min(...times) };
}

/** The ledger after more addresses were given back: those within the delay all stay, of the older ones the youngest. */
export function ledgerAfter(
  ledger: AddressLedger | undefined,
  freed: readonly FreedAddress[],
  nowMs: number,
): AddressLedger {
  const latest = new Map<string, number>();
  for (const { address, atMs } of [...(ledger?.freed ?? []), ...freed]) {
    latest.set(address, Math.max(atMs, latest.get(address) ?? 0));
  }
  const sorted = [...latest].map(([address, atMs]) => ({ address, atMs })).sort((a, b) => a.atMs - b.atMs);
  const young = sorted.filter(({ atMs }) => atMs + reuseDelayMs > nowMs).length;
  return { freed: sorted.slice(-Math.max(young, ledgerMax)) };
}
