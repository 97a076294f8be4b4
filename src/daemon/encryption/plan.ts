/**
 * How the tunnels of a cluster become encrypted, get new keys, and go in the clear again: one step after the other, each
 * confirmed by every node that is there before the next one.
 *
 *     step          epochs   sends with    nodes, before they confirm
 *     (in the clear)  -        -
 *     1 keys          1        -           make a device and a key, tell the public half
 *     2 prepared      1        -           know the keys of all others
 *     3 active        1        1           send encrypted
 *     (months)
 *     4 keys         1 2       1
 *     5 prepared     1 2       1
 *     6 active       1 2       2           still receive with both
 *     7 done          2        2           forget the old key
 *
 * Keeps true: nobody sends with a key that somebody who is there does not know; nobody forgets one that somebody sends with. A
 * node that comes back gets keys and tables before anything of its own counts.
 *
 * Pure. Not here: the loop (loop.ts), the node's half (netns/secure-plane.ts), the request of people (control/cluster.ts).
 */
import type { Cluster, Encryption, Node } from '../../gen/types.js';

export type EncryptionPlan =
  | { readonly kind: 'none' }
  /** Until then nothing is to be done. */
  | { readonly kind: 'rest'; readonly untilMs: number }
  | { readonly kind: 'wait'; readonly missing: readonly Node[] }
  | { readonly kind: 'step'; readonly encryption: Encryption };

export const rotateDefaultMs = 30 * 86_400_000;

export function planEncryption(cluster: Cluster, nodes: Iterable<Node>, nowMs: number): EncryptionPlan {
  const { spec, encryption = inTheClear } = cluster;
  const wanted = spec.encrypt === true;
  if (!wanted && encryption.epochs.length === 0) return { kind: 'none' };
  const missing = nodesBehind(encryption, nodes);
  if (missing.length > 0) return { kind: 'wait', missing };
  const next = (change: Partial<Encryption>): EncryptionPlan => ({
    kind: 'step',
    encryption: { ...encryption, ...change, step: encryption.step + 1 },
  });
  if (!wanted) return next({ active: 0, epochs: [], prepared: false, sinceMs: nowMs });
  const newest = encryption.epochs.at(-1);
  if (newest === undefined) {
    // Port and addresses of even epochs are those of tunnels in the clear.
    const epoch = encryption.last + (encryption.last % 2 === 0 ? 1 : 2);
    return next({ epochs: [epoch], last: epoch, prepared: false });
  }
  if (newest !== encryption.active) {
    return encryption.prepared
      ? next({ active: newest, prepared: false, sinceMs: nowMs, askedMs: undefined })
      : next({ prepared: true });
  }
  if (encryption.epochs.length > 1) return next({ epochs: [newest] });
  const dueMs = encryption.sinceMs + (spec.encryptRotateMs ?? rotateDefaultMs);
  if (encryption.askedMs === undefined && nowMs < dueMs) return { kind: 'rest', untilMs: dueMs };
  const epoch = encryption.last + 1;
  return next({ epochs: [newest, epoch], last: epoch });
}

const inTheClear: Encryption = { step: 0, active: 0, epochs: [], sinceMs: 0, last: 0, prepared: false };

/** That are there, can encrypt, and have not confirmed the step yet. */
function nodesBehind(encryption: Encryption, nodes: Iterable<Node>): readonly Node[] {
  return [...nodes].filter(({ status, description: { tunnel } }) => {
    if (status.state !== 'ready' || tunnel === undefined || tunnel.means === 'none') return false;
    const hasKeys = encryption.epochs.every(epoch => tunnel.keys.some(key => key.epoch === epoch));
    return tunnel.step < encryption.step || !hasKeys;
  });
}

/** Of a cluster that is made so. */
export function encryptedFromStart(nowMs: number): Encryption {
  return { step: 1, active: 1, epochs: [1], sinceMs: nowMs, last: 1, prepared: false };
}
