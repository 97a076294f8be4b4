/**
 * One certificate for one node: whom it names comes from the store, for how long from the cluster, by whom from its authority.
 *
 * Keeps true: nothing is signed while the clock of this machine is plainly wrong, because such a certificate could not be used.
 *
 * Called by issue.ts (Join, Renew, Recover) and by a manager for itself (self-issue). Not here: who may have one.
 */
import { X509Certificate } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { Cluster, Node, RenewResponse } from '../../gen/types.js';
import type { Clock, Random } from '../../host.js';
import { intermediatesOf, rootsOf, signerOf } from './authority.js';
import { roleUnits, tlsNameOf } from './identity.js';

export interface Grant extends RenewResponse {
  readonly validUntilMs: number;
}

export interface GrantParts {
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly random: Pick<Random, 'bytes'>;
}

const dayMs = 86_400_000;

export async function grantCertificate(
  { clock, random }: GrantParts,
  wanted: {
    readonly cluster: Cluster;
    readonly node: Pick<Node, 'id' | 'role'>;
    /** PKCS#10, checked. */
    readonly request: Uint8Array;
  },
): Promise<Grant> {
  const { cluster, node } = wanted;
  const nowMs = clock.wallMs();
  const root = signerOf(cluster);
  refuseInsaneClock(root.certificate, nowMs);
  const validUntilMs = nowMs + cluster.spec.certificateDays * dayMs;
  const { issueCertificate } = await import('./x509.js');
  const certificate = await issueCertificate({
    root,
    request: wanted.request,
    nodeId: node.id,
    clusterId: cluster.id,
    unit: roleUnits[node.role],
    dnsName: tlsNameOf(node.id),
    nowMs,
    validUntilMs,
    randomBytes: random.bytes,
  });
  return {
    certificate,
    rootCertificate: cluster.rootCertificate,
    intermediates: intermediatesOf(cluster),
    roots: rootsOf(cluster),
    validUntilMs,
  };
}

function refuseInsaneClock(root: Uint8Array, nowMs: number): void {
  const validFromMs = new X509Certificate(root).validFromDate.getTime();
  if (nowMs >= validFromMs) return;
  throw new CoveyError('clock-not-set', 'Cannot sign certificates', {
    state: `the clock of this manager says ${new Date(nowMs).toISOString()}, the root of the cluster was made ${new Date(validFromMs).toISOString()}`,
    hint: 'set the clock: chronyc makestep',
  });
}

/** The public key (SPKI, DER) that a request asks a certificate for. */
export async function requestedKey(request: Uint8Array): Promise<Uint8Array> {
  const { findRequest } = await import('./x509.js');
  const found = await findRequest(request);
  if (found === undefined) {
    throw new CoveyError('bad-argument', 'Cannot use the certificate request', {
      state: 'it is not a PKCS#10 request for a P-256 key, signed by that key',
    });
  }
  return found.publicKey;
}
