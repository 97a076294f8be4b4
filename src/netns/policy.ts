/**
 * Networks with a policy, as elements of packet rules: each service that may connect to something has a number, its addresses
 * lead to the number, and the number with the address of the other side (and the port, where the rule names some) lets pass.
 *
 * Pure; called by wanted.ts. Not here: what labels come to (the managers), the rules that read the sets (nft/skeleton.ts).
 */
import type { TableEndpoint } from '../gen/types.js';
import type { NetworkId, ServiceId } from '../ids.js';
import { isAddressV4 } from './ip.js';
import type { RuleSets } from './nft/model.js';
import type { Index } from './wanted.js';

export function fillPolicies(
  sets: Pick<RuleSets, 'groups' | 'allowed' | 'allowed-ports'>,
  { networks, endpointsOf }: Pick<Index, 'networks' | 'endpointsOf'>,
): void {
  const closed = networks.filter(network => network.closed);
  const callers = new Set(closed.flatMap(network => network.allowed.map(way => way.fromService)));
  const groups = new Map([...callers].sort().map((serviceId, at) => [serviceId, at + 1]));
  const addresses = (serviceId: ServiceId, networkId: NetworkId): string[] =>
    addressesOn(networkId, endpointsOf.get(serviceId) ?? []);
  for (const { networkId, allowed } of closed) {
    for (const { fromService, toService, ports } of allowed) {
      const group = groups.get(fromService);
      for (const address of addresses(fromService, networkId)) sets.groups.set(address, String(group));
      for (const address of addresses(toService, networkId)) {
        if (ports.length === 0) sets.allowed.set(`${group} . ${address}`, '');
        for (const { protocol, first, last } of ports) {
          const range = first === last ? String(first) : `${first}-${last}`;
          sets['allowed-ports'].set(`${group} . ${address} . ${protocol} . ${range}`, '');
        }
      }
    }
  }
}

function addressesOn(networkId: NetworkId, endpoints: readonly TableEndpoint[]): string[] {
  return endpoints
    .flatMap(endpoint => endpoint.addresses.filter(one => one.networkId === networkId))
    .flatMap(one => one.addresses.filter(isAddressV4));
}
