/**
 * Connections whose certificate was checked when they were made, by a root that has been replaced since. Once this node believes
 * the new root alone, they carry no new call, and those streams that their callers open anew by themselves are ended.
 *
 *     the rotation has ended ──► this node drops the old root ──► sessions and links of managers, one after another: ended, and
 *                                                                 called anew within half a second, with the new certificate
 *                                                              └► other streams (exec, logs): go on to their end
 *
 * Called by cluster-server.ts. Not here: the rotation (ca/rotation.ts), which root is believed (ca/renewal.ts).
 */
import { X509Certificate } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { IdentityHolder } from '../ca/identity.js';
import { findPems } from '../ca/pem.js';

export interface Shown {
  readonly raw: Uint8Array;
  readonly fingerprint256: string;
}

export interface OldRoots extends Disposable {
  /** No root that is believed now has signed it. */
  readonly isReplaced: (shown: Shown) => boolean;
}

/** Streams that their callers open anew, without anybody noticing. */
export const resumed: ReadonlySet<string> = new Set(['/covey.v1.Dispatcher/Session', '/covey.v1.Raft/Link']);
/** Between two that are ended, so that not all nodes call at the same moment. */
export const endEveryMs = 5;

/** `onDropped` is called when a root is believed no more. */
export function openOldRoots(identity: IdentityHolder, onDropped: () => void): OldRoots {
  let believed = identity.current().root;
  let hasDropped = false;
  const judged = new Map<string, boolean>();
  const listener = identity.onChange(({ root }) => {
    if (root === believed) return;
    const isDropped = findPems(believed, 'CERTIFICATE').some(pem => !root.includes(pem));
    believed = root;
    judged.clear();
    if (!isDropped) return;
    hasDropped = true;
    onDropped();
  });
  return {
    isReplaced: ({ raw, fingerprint256 }) => {
      // Nothing is checked on the way of every call as long as the handshake's answer still counts.
      if (!hasDropped) return false;
      const known = judged.get(fingerprint256);
      if (known !== undefined) return known;
      const certificate = new X509Certificate(raw);
      const roots = findPems(believed, 'CERTIFICATE').map(pem => new X509Certificate(pem));
      const isReplaced = !roots.some(root => certificate.verify(root.publicKey));
      if (judged.size >= judgedMax) judged.clear();
      judged.set(fingerprint256, isReplaced);
      return isReplaced;
    },
    [Symbol.dispose]: () => listener[Symbol.dispose](),
  };
}

const judgedMax = 4_096;

export function oldRootError(): CoveyError {
  return new CoveyError('no-connection', 'Cannot go on with this connection', {
    state: 'the root of its certificate was replaced: a new one is made',
  });
}
