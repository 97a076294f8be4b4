/**
 * Certificates: the root, a node's request, a node's certificate. The only file that knows @peculiar/x509 and the one file
 * that loads reflect-metadata, which that package needs first. Always imported late (`await import('./x509.js')`): it costs
 * 120 ms and 9 MiB, and a worker needs it only when it joins and renews.
 *
 * Not here: who may have a certificate (issue.ts), reading certificates (node:crypto does that).
 */
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { RandomBytes } from '../../ids.js';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** A node whose clock is behind, or is set back by an hour, takes what was just issued. */
const backdatedMs = 2 * hourMs;
const rootYears = 20;

/** DER of a certificate, and its key as PKCS#8. */
export interface CertificateAndKey {
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
}

/** A root, and its key signed by the root that it is to replace. */
export async function makeSuccessor(options: {
  readonly organization: string;
  readonly nowMs: number;
  readonly randomBytes: RandomBytes;
  readonly predecessor: CertificateAndKey;
}): Promise<CertificateAndKey & { readonly cross: Uint8Array }> {
  const root = await makeRoot(options);
  return { ...root, cross: await crossSign({ ...options, certificate: root.certificate }) };
}

/** The key of a root's certificate, under the same name, signed by the root that it is to replace. */
export async function crossSign(options: {
  readonly certificate: Uint8Array;
  readonly predecessor: CertificateAndKey;
  readonly nowMs: number;
  readonly randomBytes: RandomBytes;
}): Promise<Uint8Array> {
  const root = new x509.X509Certificate(copyOf(options.certificate));
  const old = new x509.X509Certificate(copyOf(options.predecessor.certificate));
  const signingKey = await crypto.subtle.importKey('pkcs8', copyOf(options.predecessor.key), algorithm, false, [
    'sign',
  ]);
  const own = root.getExtension(x509.SubjectKeyIdentifierExtension);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(options.randomBytes),
    issuer: old.subject,
    subject: root.subject,
    notBefore: new Date(options.nowMs - backdatedMs),
    notAfter: new Date(Math.min(root.notAfter.getTime(), old.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey: root.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      own ?? (await x509.SubjectKeyIdentifierExtension.create(root.publicKey)),
      await signerIdentifier(old),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

/** Names the key of the signer as the signer's own certificate does. */
async function signerIdentifier(signer: x509.X509Certificate): Promise<x509.Extension> {
  const known = signer.getExtension(x509.SubjectKeyIdentifierExtension);
  return known
    ? new x509.AuthorityKeyIdentifierExtension(known.keyId)
    : await x509.AuthorityKeyIdentifierExtension.create(signer.publicKey);
}

export async function makeRoot(options: {
  readonly organization: string;
  readonly nowMs: number;
  readonly randomBytes: RandomBytes;
}): Promise<CertificateAndKey> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(options.randomBytes),
    name: [{ CN: ['covey-ca'] }, { O: [options.organization] }],
    notBefore: new Date(options.nowMs - backdatedMs),
    notAfter: new Date(options.nowMs + rootYears * 365.25 * dayMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: new Uint8Array(certificate.rawData), key: await exportKey(keys.privateKey) };
}

/** A new key and a PKCS#10 request for it. The key never leaves this machine. */
export async function makeRequest(): Promise<{ readonly request: Uint8Array; readonly key: Uint8Array }> {
  const key = await makeKey();
  return { request: await makeRequestFor(key), key };
}

/** A new key, PKCS#8. */
export async function makeKey(): Promise<Uint8Array> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  return exportKey(keys.privateKey);
}

/** The request for a key that was made before: a joiner may ask again. */
export async function makeRequestFor(key: Uint8Array): Promise<Uint8Array> {
  const privateKey = await crypto.subtle.importKey('pkcs8', copyOf(key), algorithm, true, ['sign']);
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', privateKey);
  const jwk = { kty, crv, x, y } as webcrypto.JsonWebKey;
  const publicKey = await crypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: ['covey-node'] }],
    keys: { privateKey, publicKey },
    signingAlgorithm: algorithm,
  });
  return new Uint8Array(request.rawData);
}

export interface ReadRequest {
  /** DER of the public key (SPKI). */
  readonly publicKey: Uint8Array;
}

/** undefined when the bytes are no request, or not signed by the key in it, or the key is not P-256. */
export async function findRequest(request: Uint8Array): Promise<ReadRequest | undefined> {
  const parsed = await parsedRequest(request);
  return parsed === undefined ? undefined : { publicKey: new Uint8Array(parsed.publicKey.rawData) };
}

export interface NodeCertificateOptions {
  readonly root: CertificateAndKey;
  readonly request: Uint8Array;
  readonly nodeId: string;
  readonly clusterId: string;
  /** OU: the role. */
  readonly unit: string;
  readonly dnsName: string;
  readonly nowMs: number;
  readonly validUntilMs: number;
  readonly randomBytes: RandomBytes;
}

/** DER of the certificate for the key of a request that findRequest accepted. Begins an hour ago: clocks differ. */
export async function issueCertificate(options: NodeCertificateOptions): Promise<Uint8Array> {
  const root = new x509.X509Certificate(copyOf(options.root.certificate));
  const signingKey = await crypto.subtle.importKey('pkcs8', copyOf(options.root.key), algorithm, false, ['sign']);
  const { publicKey } = new x509.Pkcs10CertificateRequest(copyOf(options.request));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(options.randomBytes),
    issuer: root.subject,
    subject: [{ CN: [options.nodeId] }, { O: [options.clusterId] }, { OU: [options.unit] }],
    notBefore: new Date(options.nowMs - backdatedMs),
    notAfter: new Date(Math.min(options.validUntilMs, root.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: options.dnsName }]),
      await signerIdentifier(root),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

async function parsedRequest(request: Uint8Array): Promise<x509.Pkcs10CertificateRequest | undefined> {
  try {
    const parsed = new x509.Pkcs10CertificateRequest(copyOf(request));
    const { name, namedCurve } = parsed.publicKey.algorithm as webcrypto.EcKeyAlgorithm;
    if (name !== 'ECDSA' || namedCurve !== 'P-256') return undefined;
    return (await parsed.verify()) ? parsed : undefined;
  } catch {
    // Bytes of an unknown caller: whatever the parser stumbles over, it is no request.
    return undefined;
  }
}

async function exportKey(key: CryptoKey): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.exportKey('pkcs8', key));
}

/** 127 random bits, hexadecimal: positive whatever the encoder does with the top bit. */
function serialNumber(randomBytes: RandomBytes): string {
  const bytes = Buffer.from(randomBytes(16));
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes.toString('hex');
}

/** The package wants an ArrayBuffer of its own, not a view into a pool. */
function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
