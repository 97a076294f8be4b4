/**
 * What services and tasks need before a node is chosen: prefixes of networks, virtual addresses, published ports, and an
 * address for each task on each of its networks.
 *
 * Keeps true: a task is pending only when it has all of that; until then it is new, and its status says what is missing.
 *
 * Called by orchestrate/pass.ts, within its draft. ipam.ts chooses addresses, subnets.ts prefixes, ports.ts port numbers.
 */

import type { ErrorCode } from '../../errors.js';
import type { EndpointAddress, FreedAddress, Network, PortSpec, Service, Task } from '../../gen/types.js';
import type { NetworkId } from '../../ids.js';
import { isEnded } from '../../raft/store.js';
import type { Draft } from '../orchestrate/draft.js';
import { clusterSpecOf } from '../tables.js';
import { type AddressPool, ledgerAfter, openAddressPool, type WaitsFor } from './ipam.js';
import { planPorts } from './ports.js';
import { planSubnets } from './subnets.js';

export type { WaitsFor };

interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
  /** When it may have mended itself. */
  readonly retryAtMs?: number | undefined;
}

type Endpoints =
  | { readonly kind: 'endpoints'; readonly endpoints: readonly EndpointAddress[]; readonly ports: readonly PortSpec[] }
  | ({ readonly kind: 'problem' } & Problem);

export interface Allocator {
  /** Sees to the service's own addresses and ports; says what stands in the way. */
  readonly allocateService: () => Problem | undefined;
  /** Addresses for one more task of the service. */
  readonly takeEndpoints: () => Endpoints;
}

/** Of networks, by id: read once for all services of a draft. What is given back meanwhile stays in use until it is stored. */
export type AddressPools = Map<string, AddressPool>;

export function openAllocator(
  {
    draft,
    pools,
    freed,
    waitsFor,
  }: {
    readonly draft: Draft;
    readonly pools: AddressPools;
    readonly freed: readonly Freed[];
    readonly waitsFor: WaitsFor;
  },
  serviceId: string,
  nowMs: number,
): Allocator {
  let networks: readonly Network[] = [];
  let ports: readonly PortSpec[] = [];

  const take = (network: Network): { readonly endpoint: EndpointAddress } | { readonly problem: Problem } => {
    const pool = pools.get(network.id) ?? openAddressPool(network, draft.view, { justFreed: freed, waitsFor });
    pools.set(network.id, pool);
    const taken = pool.take(nowMs);
    if (taken.kind === 'address') return { endpoint: { networkId: network.id, addresses: [taken.address] } };
    return { problem: { code: 'subnet-exhausted', message: taken.message, retryAtMs: taken.retryAtMs } };
  };
  const allocateService = (): Problem | undefined => {
    const service = draft.view.find('service', serviceId);
    if (service === undefined) return undefined;
    const found = findNetworks(draft, service);
    if (found.problem !== undefined) return found.problem;
    networks = found.networks.filter(network => network.spec.driver === 'overlay');
    const planned = planPorts(service.spec.ports, service.ports, {
      others: () => othersOf(draft, service),
      nodes: () => draft.view.list('node'),
    });
    if (planned.kind === 'exhausted') return { code: 'ports-exhausted', message: planned.message };
    ports = planned.ports;
    const vips: EndpointAddress[] = [];
    for (const network of service.spec.endpointMode === 'dnsrr' ? [] : networks) {
      const present = service.vips.find(vip => vip.networkId === network.id);
      const taken = present === undefined ? take(network) : { endpoint: present };
      if ('problem' in taken) return taken.problem;
      vips.push(taken.endpoint);
    }
    const dropped = service.vips.filter(vip => !vips.includes(vip));
    if (dropped.length > 0)
      freeAddresses(
        draft,
        dropped.map(vip => ({ ...vip, atMs: nowMs })),
        nowMs,
      );
    if (dropped.length > 0 || vips.length !== service.vips.length || !samePorts(ports, service.ports)) {
      draft.put('service', { ...service, vips, ports });
    }
    return undefined;
  };
  const takeEndpoints = (): Endpoints => {
    const endpoints: EndpointAddress[] = [];
    for (const network of networks) {
      const taken = take(network);
      if ('problem' in taken) return { kind: 'problem', ...taken.problem };
      endpoints.push(taken.endpoint);
    }
    return { kind: 'endpoints', endpoints, ports: ports.filter(port => port.mode === 'host') };
  };
  return { allocateService, takeEndpoints };
}

/** The networks of a service, each with its prefixes. */
function findNetworks(
  draft: Draft,
  service: Service,
): { readonly networks: readonly Network[]; readonly problem?: Problem } {
  const networks: Network[] = [];
  for (const attachment of service.spec.task.networks) {
    const network = draft.view.find('network', attachment.network);
    if (network === undefined) {
      return {
        networks,
        problem: { code: 'network-not-found', message: `network "${attachment.network}" does not exist any more` },
      };
    }
    if (network.spec.driver !== 'overlay' || network.subnets.length > 0) {
      networks.push(network);
      continue;
    }
    const present = { networks: draft.view.list('network'), nodes: draft.view.list('node') };
    const planned = planSubnets(network, { ...present, spec: clusterSpecOf(draft.view) });
    if (planned.kind === 'exhausted')
      return { networks, problem: { code: 'subnet-exhausted', message: planned.message } };
    const ready = { ...network, subnets: planned.subnets };
    draft.put('network', ready);
    networks.push(ready);
  }
  return { networks };
}

function othersOf(draft: Draft, service: Service): readonly Service[] {
  return [...draft.view.list('service')].filter(other => other.id !== service.id);
}

function samePorts(a: readonly PortSpec[], b: readonly PortSpec[]): boolean {
  const text = (ports: readonly PortSpec[]): string =>
    ports.map(port => `${port.published}:${port.target}/${port.protocol}/${port.mode}`).join();
  return text(a) === text(b);
}

/** Addresses that are given back, and since when nobody has them. */
export type Freed = EndpointAddress & { readonly atMs: number };

/** Notes addresses that are given back in the ledgers of their networks. */
export function freeAddresses(draft: Draft, freed: readonly Freed[], nowMs: number): void {
  const byNetwork = new Map<NetworkId, FreedAddress[]>();
  for (const { networkId, addresses, atMs } of freed) {
    const list = byNetwork.get(networkId) ?? [];
    byNetwork.set(networkId, list);
    list.push(...addresses.map(address => ({ address, atMs })));
  }
  for (const [networkId, list] of byNetwork) {
    const network = draft.view.find('network', networkId);
    if (network !== undefined) draft.put('network', { ...network, ledger: ledgerAfter(network.ledger, list, nowMs) });
  }
}

/** What a task that is deleted gives back. */
export function freedBy(task: Task, nowMs: number): readonly Freed[] {
  const atMs = isEnded(task.status.state) ? task.meta.updatedAtMs : nowMs;
  return task.endpoints.map(endpoint => ({ ...endpoint, atMs }));
}
