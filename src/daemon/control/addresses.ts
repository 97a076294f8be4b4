/**
 * Floating addresses as people ask for them.
 *
 * Called by control.ts. Not here: which node has one (orchestrate/floating.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Node } from '../../gen/types.js';
import { asId, type NodeId } from '../../ids.js';
import type { View } from '../../raft/store.js';
import { parseAddress } from '../allocate/prefix.js';
import { floatingOf, isOnNetwork, withFloating } from '../orchestrate/floating.js';
import { refuseAt } from './check.js';
import { getObject } from './find.js';
import { type ControlHandlers, changeOnce, type Parts, removeOnce } from './parts.js';

const addressesMax = 64;

type AddressHandlers = Pick<ControlHandlers, 'listAddresses' | 'addAddress' | 'removeAddress'>;

export function addressHandlers(parts: Parts): AddressHandlers {
  const { store, clock } = parts;
  return {
    listAddresses: async () => ({ addresses: floatingOf(clusterOf(store.view())) }),
    addAddress: async ({ address, service: object }, context) => {
      checkAddress(address);
      await changeOnce(parts, context, view => {
        const cluster = clusterOf(view);
        const service = getObject(view, 'service', object);
        const present = floatingOf(cluster).find(one => one.address === address);
        if (present?.serviceId === service.id) return [];
        checkFree(view, address);
        if (present !== undefined) throw taken(view, address, present.serviceId);
        const list = floatingOf(cluster);
        if (list.length >= addressesMax) {
          refuseAt('address')(`the cluster has ${list.length} floating addresses, which is the most`);
        }
        const added = {
          address,
          serviceId: service.id,
          nodeId: asId<NodeId>(''),
          sinceMs: clock.wallMs(),
          message: 'a node is being chosen',
        };
        return [{ kind: 'put', table: 'cluster', object: withFloating(cluster, [...list, added]) }];
      });
      const made = floatingOf(clusterOf(store.view())).find(one => one.address === address);
      if (made === undefined) throw unknownAddress(store.view(), address);
      return made;
    },
    removeAddress: async ({ object: address }, context) => {
      await removeOnce(parts, context, view => {
        const cluster = clusterOf(view);
        const list = floatingOf(cluster).filter(one => one.address !== address);
        if (list.length === floatingOf(cluster).length) throw unknownAddress(view, address);
        return { id: address, writes: [{ kind: 'put', table: 'cluster', object: withFloating(cluster, list) }] };
      });
      return { id: address };
    },
  };
}

function clusterOf(view: View) {
  const [cluster] = view.list('cluster');
  if (cluster === undefined) throw new CoveyError('bug', 'Cannot find the object of the cluster');
  return cluster;
}

function checkAddress(address: string): void {
  const number = parseAddress(address);
  const refuse = refuseAt('address');
  if (number === undefined) refuse(`"${address}" is no IPv4 address (published ports have no IPv6)`);
  else if (number < 0x01000000 || number >= 0xe0000000 || number >>> 24 === 127)
    refuse(`"${address}" is no address of a host`);
}

/** Not one that a node has for itself, and one that some node could have. */
function checkFree(view: View, address: string): void {
  const what = `Cannot add address ${address}`;
  const nodes = [...view.list('node')].filter(node => node.status.state !== 'left');
  const owner = nodes.find(({ description }) => ownAddresses(description).has(address));
  if (owner !== undefined) throw new CoveyError('bad-argument', `${what}: it is node ${owner.spec.name}'s own`);
  if (nodes.some(node => isOnNetwork(node, address))) return;
  const networks = new Set(nodes.flatMap(({ description }) => description.network?.prefixes ?? []));
  throw new CoveyError('bad-argument', `${what}: no node is on its network`, {
    state: `links of ${nodes.length} nodes are on ${[...networks].slice(0, 8).join(', ')}`,
  });
}

function ownAddresses({ dataAddresses, addresses, network }: Node['description']): ReadonlySet<string> {
  const own = [...dataAddresses, ...addresses.map(text => text.replace(/:\d+$/, ''))];
  return new Set([
    ...own,
    ...(network?.prefixes ?? []).filter(text => !text.endsWith('/32')).map(text => text.split('/')[0] ?? ''),
  ]);
}

function taken(view: View, address: string, serviceId: string): CoveyError {
  const name = view.find('service', serviceId)?.spec.name ?? serviceId;
  return new CoveyError('already-exists', `Cannot add address ${address}: service "${name}" has it`, {
    hint: `covey address rm ${address}`,
  });
}

function unknownAddress(view: View, address: string): CoveyError {
  return new CoveyError('not-found', `Cannot find floating address "${address}"`, {
    state: `${floatingOf(clusterOf(view)).length} exist`,
    hint: 'covey address ls',
  });
}
