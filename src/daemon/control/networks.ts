/**
 * Networks, secrets and configs as people ask for them.
 *
 * Called by control.ts. Not here: those of a stack (stacks.ts), addresses (allocate/).
 */
import { CoveyError } from '../../errors.js';
import type { Config, Network, NetworkSpec, Secret } from '../../gen/types.js';
import type { NetworkId } from '../../ids.js';
import { isEnded, type View } from '../../raft/store.js';
import { findClash, renderClash } from '../allocate/clashes.js';
import { openAddressPool } from '../allocate/ipam.js';
import { findOverlap, planSubnets } from '../allocate/subnets.js';
import { newIdFor } from '../control-once.js';
import { clusterSpecOf, fixedNetworks } from '../tables.js';
import { getObject, selectObjects } from './find.js';
import { type Change, type ControlHandlers, changeOnce, type Parts, removeOnce } from './parts.js';
import { checkNetworkSpec } from './validate.js';

type NetworkHandlers = Pick<
  ControlHandlers,
  'listNetworks' | 'createNetwork' | 'removeNetwork' | 'listSecrets' | 'listConfigs'
>;

export function networkHandlers(parts: Parts): NetworkHandlers {
  const { store, random } = parts;
  return {
    listNetworks: async request => {
      const view = store.view();
      const networks = selectObjects(view, 'network', request);
      const used = Object.fromEntries(networks.map(network => [network.id, openAddressPool(network, view).usedCount]));
      return { networks, used };
    },
    createNetwork: async ({ spec }, context) => {
      checkNetworkSpec(spec, 'spec');
      const id = newIdFor<NetworkId>(context, random);
      await changeOnce(parts, context, view => [
        { kind: 'put', table: 'network', object: planNetwork(view, spec, id) },
      ]);
      return getObject(store.view(), 'network', id);
    },
    removeNetwork: async ({ object }, context) => {
      const { id } = await removeOnce(parts, context, view => {
        const network = getObject(view, 'network', object);
        checkUnused(view, network);
        return { id: network.id, writes: [{ kind: 'delete', table: 'network', id: network.id }] };
      });
      return { id: id ?? object };
    },
    listSecrets: async request => ({ secrets: selectObjects(store.view(), 'secret', request).map(withoutData) }),
    listConfigs: async request => ({ configs: selectObjects(store.view(), 'config', request).map(withoutData) }),
  };
}

/** A new network with its prefixes, or why there can't be one. */
export function planNetwork(view: View, spec: NetworkSpec, id: NetworkId): Change<'network'> {
  const what = `Cannot create network "${spec.name}"`;
  const present = view.findByName('network', spec.name);
  if (present !== undefined) {
    const state = present.removing === true ? 'one of that name is being removed' : `it has the id ${present.id}`;
    throw new CoveyError('already-exists', `${what}: the name is taken`, { state });
  }
  checkSubnetsFree(view, spec.subnets, what);
  const draft: Network = { id, spec, subnets: [], meta: { version: 0, createdAtMs: 0, updatedAtMs: 0, owner: '' } };
  const taken = { networks: view.list('network'), nodes: view.list('node') };
  const planned = planSubnets(draft, { ...taken, spec: clusterSpecOf(view) });
  if (planned.kind === 'exhausted') throw new CoveyError('subnet-exhausted', what, { state: planned.message });
  return { id, spec, subnets: planned.subnets };
}

/** Neither another network nor a host may have them. */
export function checkSubnetsFree(view: View, subnets: readonly string[], what: string): void {
  const obstacle = findOverlap(subnets, view.list('network'));
  if (obstacle !== undefined) {
    const state = `network "${obstacle.spec.name}" has ${[...obstacle.subnets, ...obstacle.spec.subnets].join(', ')}`;
    throw new CoveyError('subnet-conflict', `${what}: its subnet overlaps with another`, { state });
  }
  const clash = findClash(subnets, view.list('node'));
  if (clash === undefined) return;
  throw new CoveyError('subnet-conflict', `${what}: its containers could not reach what a host has there`, {
    state: `route ${renderClash(clash)}`,
    hint: 'give another --subnet, or none to get one of the pool',
  });
}

function checkUnused(view: View, network: Network): void {
  const what = `Cannot remove network "${network.spec.name}"`;
  if (Object.hasOwn(fixedNetworks, network.spec.name)) {
    throw new CoveyError('network-in-use', `${what}: every cluster has it`);
  }
  const users = [...view.list('service')].filter(({ spec }) =>
    spec.task.networks.some(({ network: id }) => id === network.id),
  );
  if (users.length > 0) {
    const names = users.slice(0, 5).map(service => service.spec.name);
    const state = `${users.length} services are attached: ${names.join(', ')}${users.length > 5 ? ', …' : ''}`;
    throw new CoveyError('network-in-use', `${what}: services are attached to it`, { state, hint: 'covey service rm' });
  }
  const tasks = [...view.list('task')].filter(
    task => !isEnded(task.status.state) && task.endpoints.some(({ networkId }) => networkId === network.id),
  );
  if (tasks.length > 0) {
    throw new CoveyError('network-in-use', `${what}: tasks still have addresses of it`, {
      state: `${tasks.length} tasks are stopping`,
    });
  }
}

function withoutData<Object extends Secret | Config>(object: Object): Object {
  return { ...object, data: new Uint8Array(0) };
}
