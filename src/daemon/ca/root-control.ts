/**
 * The root certificate as administrators see it: shown, replaced, with who is still missing.
 *
 * Called by Control (daemon/control.ts). Not here: how a replacement goes (rotation.ts).
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { RootStatus, RotateRootRequest } from '../../gen/types.js';
import type { Handlers } from '../../grpc.js';
import type { Clock, Random } from '../../host.js';
import type { Store, View } from '../../raft/store.js';
import { principalOf } from '../rpc/roles.js';
import { getCluster } from './issue.js';
import { nodesBehind, rotationPending, withRotation } from './rotation.js';

export type RootHandlers = Pick<Handlers<Services['Control']>, 'getRootStatus' | 'rotateRoot'>;

interface RootParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
}

export function rootHandlers(parts: RootParts): RootHandlers {
  const { store, clock } = parts;
  return {
    getRootStatus: async () => statusOf(store.view()),
    rotateRoot: async (request, context) => {
      const before = getCluster(store.view());
      const isUnderWay = before.authority?.rotation !== undefined;
      if (isUnderWay && request.certificate !== '') throw rotationPending();
      if (isUnderWay && !request.withoutAbsent) return statusOf(store.view());
      const root = await makeNextRoot(parts, request);
      await store.update(
        view => {
          const cluster = getCluster(view);
          if (cluster.authority?.rotation !== undefined && !request.withoutAbsent) return [];
          const object = withRotation(cluster, { ...request, root, nowMs: clock.wallMs() });
          return [{ kind: 'put', table: 'cluster', object }];
        },
        { principal: principalOf(context.caller), signal: context.signal, once: context.once },
      );
      return statusOf(store.view());
    },
  };
}

function statusOf(view: View): RootStatus {
  const cluster = getCluster(view);
  const rotation = cluster.authority?.rotation;
  const behind = rotation === undefined ? [] : nodesBehind(view, cluster);
  return {
    certificate: cluster.rootCertificate,
    rotating: rotation !== undefined,
    startedAtMs: rotation?.startedAtMs ?? 0,
    nodesTotal: view.count('node'),
    nodesDone: view.count('node') - behind.length,
    missing: behind.map(({ id, spec, status }) => ({ nodeId: id, name: spec.name, state: status.state })),
  };
}

async function makeNextRoot({ store, clock, random }: RootParts, request: RotateRootRequest) {
  const { crossSign, makeSuccessor } = await import('./x509.js');
  const cluster = getCluster(store.view());
  const by = {
    predecessor: { certificate: cluster.rootCertificate, key: cluster.rootKey },
    nowMs: clock.wallMs(),
    randomBytes: random.bytes,
  };
  if (request.certificate === '') return await makeSuccessor({ ...by, organization: cluster.id });
  const given = checkRoot(request, { nowMs: by.nowMs, present: cluster.rootCertificate });
  return { ...given, cross: await crossSign({ ...by, certificate: given.certificate }) };
}

/** A root and its key that were made elsewhere: PEM. */
function checkRoot(
  request: Pick<RotateRootRequest, 'certificate' | 'key'>,
  { nowMs, present }: { readonly nowMs: number; readonly present: Uint8Array },
): { readonly certificate: Uint8Array; readonly key: Uint8Array } {
  const { certificate, key } = readRoot(request);
  const { asymmetricKeyType, asymmetricKeyDetails } = key;
  const flaw = !certificate.ca
    ? 'the certificate is not that of an authority'
    : !certificate.verify(certificate.publicKey)
      ? 'the certificate did not sign itself: it is no root'
      : !certificate.checkPrivateKey(key)
        ? 'the key is not that of the certificate'
        : asymmetricKeyType !== 'ec' || asymmetricKeyDetails?.namedCurve !== 'prime256v1'
          ? `its key is ${asymmetricKeyType} ${asymmetricKeyDetails?.namedCurve ?? ''}, not ECDSA on P-256`
          : certificate.validFromDate.getTime() > nowMs || certificate.validToDate.getTime() < nowMs
            ? `it is valid from ${certificate.validFrom} to ${certificate.validTo}`
            : Buffer.from(present).equals(certificate.raw)
              ? 'it is the present root'
              : undefined;
  if (flaw !== undefined) throw new CoveyError('bad-root', 'Cannot use this certificate as the root', { state: flaw });
  return {
    certificate: new Uint8Array(certificate.raw),
    key: new Uint8Array(key.export({ type: 'pkcs8', format: 'der' })),
  };
}

function readRoot({ certificate, key }: Pick<RotateRootRequest, 'certificate' | 'key'>) {
  try {
    return { certificate: new X509Certificate(certificate), key: createPrivateKey(key) };
  } catch (cause) {
    throw new CoveyError('bad-root', 'Cannot read the root certificate and its key', {
      state: 'both have to be PEM, the key without a password',
      cause,
    });
  }
}
