/**
 * What this node is and how it proves it: ids, role, certificate, key, root. One value, replaced whole by each renewal, so
 * that certificate and key never disagree.
 *
 * Read by rpc/ (servers and clients take the present one at each connection); kept by membership/files.ts on disk.
 *
 * Not here: issuing certificates (authority.ts), renewing (renewal.ts).
 */
import type { NodeRole } from '../../gen/types.js';
import type { ClusterId, NodeId } from '../../ids.js';

export interface NodeIdentity {
  readonly clusterId: ClusterId;
  readonly nodeId: NodeId;
  readonly role: NodeRole;
  /** PEM, as TLS wants them. */
  readonly certificate: string;
  readonly key: string;
  readonly root: string;
  /** Validity of the certificate, Unix milliseconds. */
  readonly validFromMs: number;
  readonly validUntilMs: number;
}

export interface IdentityHolder {
  readonly current: () => NodeIdentity;
  /** Replaces it and tells the listeners. */
  readonly replace: (identity: NodeIdentity) => void;
  readonly onChange: (listener: (identity: NodeIdentity) => void) => Disposable;
}

export function holdIdentity(first: NodeIdentity): IdentityHolder {
  let current = first;
  const listeners = new Set<(identity: NodeIdentity) => void>();
  return {
    current: () => current,
    replace: identity => {
      current = identity;
      for (const listener of listeners) listener(identity);
    },
    onChange: listener => {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  };
}

/** The name in the certificate (SAN) by which a node is addressed in TLS, whatever its addresses are. */
export function tlsNameOf(nodeId: string): string {
  return `${nodeId}.covey`;
}

export const roleUnits = { manager: 'covey-manager', worker: 'covey-worker' } as const;

/** The role that a certificate's OU stands for; undefined when it stands for none. */
export function findRole(unit: string | undefined): NodeRole | undefined {
  if (unit === roleUnits.manager) return 'manager';
  return unit === roleUnits.worker ? 'worker' : undefined;
}
