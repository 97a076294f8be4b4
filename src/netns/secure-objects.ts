/**
 * What encryption adds to the objects of the fabric: where the tunnels lead, addresses of the WireGuard devices, and the routes
 * to those of other nodes. Pure.
 *
 * Called by wanted.ts. Not here: the devices (secure-plane.ts), their peers (wireguard.ts).
 */
import type { TableItem, TableNode } from '../gen/types.js';
import { prioritySecure, tableSecure } from './constants.js';
import type { FabricObject } from './fabric-object.js';
import { isAddressV4 } from './ip.js';
import type { NetworkIdentity } from './types.js';
import { findEncryption, hasKey, secureAddress, secureDevice } from './wireguard.js';

/** Where VXLAN packets for the node go; undefined: nowhere, it has no key yet, or an address of the other family only. */
export function farEnd(
  node: TableNode,
  { identity, tables }: { readonly identity: NetworkIdentity; readonly tables: ReadonlyMap<string, TableItem> },
): string | undefined {
  const encryption = findEncryption(tables);
  if (encryption !== undefined && encryption.active > 0) {
    return hasKey(node, encryption) ? secureAddress(node.tunnelIndex, encryption.active) : undefined;
  }
  const isV4 = isAddressV4(identity.dataAddress);
  return node.dataAddresses.find(address => isAddressV4(address) === isV4);
}

/** Addresses of the WireGuard devices, and the ways to those of others: with the keys that are sent with, and those before. */
export function secureObjects(
  identity: NetworkIdentity,
  nodes: Iterable<TableNode>,
  epochs: readonly number[],
): FabricObject[] {
  if (epochs.length === 0) return [];
  const others = [...nodes].filter(node => node.nodeId !== identity.nodeId);
  return [
    { kind: 'rule', priority: prioritySecure, mark: 0, table: tableSecure },
    ...epochs.flatMap((epoch): FabricObject[] => {
      const device = secureDevice(epoch);
      return [
        { kind: 'address', device, prefix: `${secureAddress(identity.tunnelIndex, epoch)}/32` },
        ...others
          .filter(node => node.tunnel?.keys.some(key => key.epoch === epoch) === true)
          .map((node): FabricObject => {
            const destination = `${secureAddress(node.tunnelIndex, epoch)}/32`;
            return { kind: 'route', table: tableSecure, destination, device };
          }),
      ];
    }),
  ];
}
