/**
 * Nodes whose certificate has expired, because they were off for too long: who proves to have the key of one gets a new one, if
 * the node is known, was not removed, and the certificate has not been over for longer than the cluster's grace.
 *
 *     node                                         manager
 *     TLS without certificate, root checked   ->
 *     Recover(old certificate,
 *             request signed by its key)      ->   certificate by a root of ours? same key? node known? within the grace?
 *                                             <-   a certificate for that key
 *
 * Pure, but for the signatures that are checked. Called by issue.ts. Not here: the node's half (renewal.ts), coming back without
 * the key or later (reintroduce.ts).
 */
import { X509Certificate } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { Node } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { rootsOf } from './authority.js';
import { type CertificateFacts, readCertificate } from './pem.js';
import { graceMsOf, removedError } from './removal.js';
import { equalBytes } from './token.js';

const dayMs = 86_400_000;

/** The node that the certificate and the key stand for; throws what is against it. */
export function judgeRecovery(
  view: View,
  shown: { readonly certificate: Uint8Array; readonly requestedKey: Uint8Array; readonly nowMs: number },
): Node {
  const certificate = parsed(shown.certificate);
  const roots = [...view.list('cluster')].flatMap(rootsOf).map(root => new X509Certificate(root));
  if (!roots.some(root => certificate.verify(root.publicKey))) {
    throw new CoveyError('no-certificate', 'Cannot renew this certificate', {
      state: 'no root that this cluster trusts has signed it; the root may have been replaced while the node was away',
      hint: 'covey token node NAME   (on a manager)',
    });
  }
  const key = certificate.publicKey.export({ type: 'spki', format: 'der' });
  if (!equalBytes(key, shown.requestedKey)) {
    throw new CoveyError('bad-argument', 'Cannot renew this certificate', {
      state: 'the request is for another key than that of the certificate',
    });
  }
  const facts = readCertificate(shown.certificate);
  const node = view.find('node', facts.nodeId);
  if (node === undefined) throw removedError(facts.nodeId);
  refuseLate(view, { node, facts, nowMs: shown.nowMs });
  return node;
}

function refuseLate(
  view: View,
  { node, facts, nowMs }: { readonly node: Node; readonly facts: CertificateFacts; readonly nowMs: number },
): void {
  const graceMs = graceMsOf(view);
  const overMs = nowMs - facts.validUntilMs;
  if (overMs <= graceMs) return;
  throw new CoveyError('certificate-expired', `Cannot renew the certificate of node "${node.spec.name}"`, {
    state: `it ended ${Math.floor(overMs / dayMs)} days ago; by its key alone it is renewed for ${Math.round(graceMs / dayMs)} days`,
    hint: `covey token node ${node.spec.name}   (on a manager), then covey join with it on ${node.spec.name}`,
  });
}

function parsed(certificate: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch (cause) {
    throw new CoveyError('bad-argument', 'Cannot read the certificate to renew', { cause });
  }
}
