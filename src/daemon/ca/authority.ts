/**
 * Who signs certificates of the cluster at present, and whom its nodes trust: the root, and while it is being replaced the new
 * one too.
 *
 *     before            root R1 signs                        nodes trust R1
 *     rotation          R2 signs; shown with R2-by-R1        nodes trust R1 and R2; who trusts R1 alone accepts R2-by-R1
 *     after             R2 signs                             nodes trust R2; R1 is remembered to tell old tokens what they are
 *
 * Pure, over the cluster's object. Used by grant.ts, the dispatcher (what nodes are told) and the server (what it shows).
 *
 * Not here: when a rotation begins and ends (rotation.ts), making certificates (x509.ts).
 */
import { X509Certificate } from 'node:crypto';
import type { Cluster, NodeDescription, Trust } from '../../gen/types.js';
import type { NodeIdentity } from './identity.js';
import { findPems, toDer, toPem } from './pem.js';
import { digestOf, equalBytes } from './token.js';

export interface Signer {
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
}

type Roots = Pick<Cluster, 'rootCertificate' | 'rootKey' | 'authority'>;

export function signerOf({ rootCertificate, rootKey, authority }: Roots): Signer {
  const rotation = authority?.rotation;
  if (rotation === undefined) return { certificate: rootCertificate, key: rootKey };
  return { certificate: rotation.rootCertificate, key: rotation.rootKey };
}

/** Shown beside a certificate that is made now. */
export function intermediatesOf({ authority }: Pick<Roots, 'authority'>): readonly Uint8Array[] {
  return authority?.rotation === undefined ? [] : [authority.rotation.crossCertificate];
}

export function rootsOf({ rootCertificate, authority }: Pick<Roots, 'rootCertificate' | 'authority'>): Uint8Array[] {
  return authority?.rotation === undefined ? [rootCertificate] : [rootCertificate, authority.rotation.rootCertificate];
}

/** What nodes are told. */
export function trustOf(cluster: Roots): Trust {
  return { roots: rootsOf(cluster), signer: keyDigestOf(signerOf(cluster).certificate) };
}

/** SHA-256 of the public key in a certificate. */
function keyDigestOf(certificate: string | Uint8Array): Uint8Array {
  return digestOf(new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' }));
}

/**
 * SHA-256 of the public key that signed the node's own certificate. Its signer is among the certificates that it is shown with
 * and the roots that it trusts, else it would not be in use (pem.ts).
 */
function ownSignerOf({ certificate, root }: Pick<NodeIdentity, 'certificate' | 'root'>): Uint8Array {
  const [leaf = '', ...others] = findPems(certificate, 'CERTIFICATE');
  const own = new X509Certificate(leaf);
  const signer = [...others, ...findPems(root, 'CERTIFICATE')].find(one =>
    own.verify(new X509Certificate(one).publicKey),
  );
  return signer === undefined ? new Uint8Array(0) : keyDigestOf(signer);
}

/** What a node says of its identity in its description. */
export function certificateFactsOf(identity: NodeIdentity): NonNullable<NodeDescription['certificate']> {
  return {
    expiresAtMs: identity.validUntilMs,
    signer: ownSignerOf(identity),
    trusted: findPems(identity.root, 'CERTIFICATE').map(root => digestOf(toDer(root))),
  };
}

/** Whether the node has what it was told: its certificate is signed by the one that signs now, and it trusts all that it should. */
export function isUpToDate(certificate: NodeDescription['certificate'], trust: Trust): boolean {
  if (certificate === undefined || !equalBytes(certificate.signer, trust.signer)) return false;
  return trust.roots.every(root => certificate.trusted.some(digest => equalBytes(digest, digestOf(root))));
}

/** The roots of the trust in one text, as identities keep them. */
export function rootsText(roots: readonly Uint8Array[]): string {
  return roots.map(root => toPem(root, 'CERTIFICATE')).join('');
}

/**
 * The certificates that a manager shows, its own first. The order matters to both kinds of reader. One that trusts an old root
 * alone takes the first issuer that it finds: while a root is being replaced that has to be the one that leads to the old root.
 * A joiner walks from issuer to issuer to the first that signed itself, which is the root that tokens name; what comes behind it
 * was replaced.
 */
export function shownChain(identity: NodeIdentity, retired: readonly Uint8Array[]): string {
  const [own = '', ...intermediates] = findPems(identity.certificate, 'CERTIFICATE');
  const roots = findPems(identity.root, 'CERTIFICATE');
  const behind = retired.map(one => toPem(one, 'CERTIFICATE'));
  const chain = roots.length > 1 ? [...intermediates, ...roots] : [...roots, ...behind];
  return [own, ...new Set(chain)].join('');
}

/** Roots that were replaced, each behind the certificate of its successor's key that it signed. */
export function retiredOf({ authority }: Pick<Roots, 'authority'>): readonly Uint8Array[] {
  return (authority?.retired ?? []).flatMap(one => [one.crossCertificate, one.rootCertificate]);
}
