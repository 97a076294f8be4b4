/**
 * Changes of a network that may be in use: labels, more addresses, the way out, who may join.
 *
 * Added prefixes stand beside those that were asked for, so that a stack file deployed again finds nothing changed.
 *
 * Called by control.ts. Not here: making and removing networks (networks.ts), who may talk to whom (policy.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Network, UpdateNetworkRequest } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { fixedNetworks } from '../tables.js';
import { getObject } from './find.js';
import { checkSubnetsFree } from './networks.js';
import { type ControlHandlers, changeOnce, type Parts } from './parts.js';
import { checkNetworkSpec } from './validate.js';

export function updateNetworkOf(parts: Parts): ControlHandlers['updateNetwork'] {
  const { store } = parts;
  return async (request, context) => {
    const { id } = getObject(store.view(), 'network', request.network);
    await changeOnce(parts, context, view => {
      const network = getObject(view, 'network', id);
      if (request.version !== 0 && request.version !== network.meta.version) {
        throw new CoveyError(
          'stale-version',
          `Cannot update network "${network.spec.name}": it was changed meanwhile`,
          {
            state: `version ${request.version} was read, it has ${network.meta.version} now`,
          },
        );
      }
      return [{ kind: 'put', table: 'network', object: networkAfter(view, network, request) }];
    });
    return getObject(store.view(), 'network', id);
  };
}

/** Pure. Throws when it can't be. */
export function networkAfter(view: View, network: Network, request: UpdateNetworkRequest): Network {
  const { spec } = network;
  const what = `Cannot update network "${spec.name}"`;
  const isFixed = Object.hasOwn(fixedNetworks, spec.name);
  if (isFixed && request.internal !== undefined) {
    throw new CoveyError('bad-argument', `${what}: services that name no network are on it`, {
      hint: 'make another one: covey network create --internal NAME',
    });
  }
  if (spec.driver !== 'overlay' && (request.internal ?? request.attachable) !== undefined) {
    throw new CoveyError('bad-argument', `${what}: the driver ${spec.driver} has nothing to close or to join`);
  }
  const labels = { ...spec.labels, ...request.labelsAdd };
  for (const key of request.labelsRemove) delete labels[key];
  const internal = request.internal ?? spec.internal;
  const attachable = request.attachable ?? spec.attachable;
  const next = { ...spec, labels, internal, attachable };
  const added = request.subnetsAdd.filter(subnet => !network.subnets.includes(subnet));
  checkNetworkSpec({ ...next, subnets: added }, 'network');
  checkSubnetsFree(view, added, what);
  return { ...network, spec: next, subnets: [...network.subnets, ...added] };
}
