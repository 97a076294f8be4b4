/**
 * PEM and DER of certificates and keys, and what a certificate says, through node:crypto (no extra package).
 *
 * Not here: making certificates (x509.ts).
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { NodeRole } from '../../gen/types.js';
import { asId } from '../../ids.js';
import { findRole, type NodeIdentity } from './identity.js';

/** `COVEY SEALED KEY`: the PEM of a private key, under a key of the node (daemon/keys). */
type PemLabel = 'CERTIFICATE' | 'PRIVATE KEY' | 'COVEY SEALED KEY';

export function toPem(der: Uint8Array, label: PemLabel): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n');
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

/** All blocks of that label in a PEM text. */
export function findPems(text: string, label: PemLabel): readonly string[] {
  const blocks = text.matchAll(new RegExp(`-----BEGIN ${label}-----[\\s\\S]*?-----END ${label}-----`, 'g'));
  return [...blocks].map(([block]) => `${block}\n`);
}

/** The bytes in one block. */
export function toDer(pem: string): Uint8Array {
  return new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64'));
}

export interface CertificateFacts {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly role: NodeRole | undefined;
  readonly validFromMs: number;
  readonly validUntilMs: number;
}

/** What a node certificate (PEM or DER) says about its holder. */
export function readCertificate(certificate: string | Uint8Array): CertificateFacts {
  const parsed = new X509Certificate(certificate);
  const subject = new Map(
    parsed.subject.split('\n').map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  return {
    nodeId: subject.get('CN') ?? '',
    clusterId: subject.get('O') ?? '',
    role: findRole(subject.get('OU')),
    validFromMs: parsed.validFromDate.getTime(),
    validUntilMs: parsed.validToDate.getTime(),
  };
}

/**
 * The identity that certificate, key and root (PEM) make up: the certificate may be followed by those between it and a root,
 * and there may be several roots. Throws state-damaged when they do not belong together.
 */
export function identityOf(parts: {
  readonly certificate: string;
  readonly key: string;
  readonly root: string;
}): NodeIdentity {
  const certificate = new X509Certificate(parts.certificate);
  return identityWithout(
    parts,
    certificate.checkPrivateKey(createPrivateKey(parts.key)) ? undefined : 'the key is not that of the certificate',
  );
}

/** The same as long as the private key is locked up: it proves nothing to anybody. */
export function lockedIdentityOf(parts: { readonly certificate: string; readonly root: string }): NodeIdentity {
  return identityWithout({ ...parts, key: '' }, undefined);
}

function identityWithout(
  parts: { readonly certificate: string; readonly key: string; readonly root: string },
  keyFlaw: string | undefined,
): NodeIdentity {
  const facts = readCertificate(parts.certificate);
  const flaw =
    facts.role === undefined
      ? 'the certificate names no role'
      : (keyFlaw ?? (isSigned(parts) ? undefined : 'the certificate is not signed by a root'));
  if (flaw !== undefined || facts.role === undefined) {
    throw new CoveyError('state-damaged', 'Cannot use the identity of this node', { state: flaw });
  }
  return {
    ...parts,
    clusterId: asId(facts.clusterId),
    nodeId: asId(facts.nodeId),
    role: facts.role,
    validFromMs: facts.validFromMs,
    validUntilMs: facts.validUntilMs,
  };
}

/** By a root, or by one whose certificate is signed by a root. */
function isSigned({ certificate, root }: { readonly certificate: string; readonly root: string }): boolean {
  const [own, ...between] = findPems(certificate, 'CERTIFICATE').map(one => new X509Certificate(one));
  const roots = findPems(root, 'CERTIFICATE').map(one => new X509Certificate(one));
  const trusted = [...roots, ...between.filter(one => roots.some(({ publicKey }) => one.verify(publicKey)))];
  return own !== undefined && trusted.some(({ publicKey }) => own.verify(publicKey));
}
