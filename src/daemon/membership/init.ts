/**
 * `covey init`: a root CA, a cluster, this node as its first manager.
 *
 * Keeps true: the key of the root is in the store before node.json says that this node is a member; an init that was cut
 * short leaves a mark, and the next one starts over. A store without a mark and without node.json is never touched.
 *
 * Called by the Local service.
 *
 * Not here: opening the store and the parts of a manager (daemon/node.ts, handed in as `start`).
 */
import { CoveyError } from '../../errors.js';
import type { Cluster, ClusterSpec, InitRequest, InitResponse, Node, UnlockKeys } from '../../gen/types.js';
import { type ClusterId, type NodeId, newId } from '../../ids.js';
import { newPeerId } from '../../raft/membership.js';
import type { Write } from '../../raft/store.js';
import { parsePrefix } from '../allocate/prefix.js';
import { roleUnits, tlsNameOf } from '../ca/identity.js';
import { identityOf, toPem } from '../ca/pem.js';
import { digestOf, renderToken } from '../ca/token.js';
import { makeJoinToken } from '../ca/tokens.js';
import { encryptedFromStart } from '../encryption/plan.js';
import { refuseWithoutMeans } from '../encryption/request.js';
import { makeUnlockKey, renderUnlockKey } from '../keys/unlock-key.js';
import { defaultClusterSpec } from '../tables.js';
import {
  isInitUnfinished,
  type MembershipFiles,
  markInit,
  removeMembership,
  saveIdentity,
  saveMembership,
} from './files.js';
import type { Establish, Member, MembershipOptions } from './types.js';

export interface InitOptions extends MembershipOptions, Establish {
  /** VXLAN network identifiers that follow from the id of a cluster. */
  readonly vnisOf: (clusterId: ClusterId) => { readonly overlay: number; readonly ingress: number };
  readonly dataPort: number;
}

export async function initCluster(
  options: InitOptions,
  request: InitRequest,
  signal: AbortSignal,
): Promise<InitResponse> {
  const place: MembershipFiles = { files: options.host.files, dataDir: options.dataDir, keys: options.keys };
  await clearUnfinished(place);
  await markInit(place);
  try {
    const made = await makeCluster(options, request);
    await saveIdentity(place, made.member.identity);
    await options.start(made.member, { bootstrap: made.bootstrap, signal });
    await saveMembership(place, made.member.membership);
    options.log.info('cluster made', {
      cluster: made.member.membership.clusterId,
      node: made.member.membership.nodeName,
    });
    return made.response;
  } catch (error) {
    await removeMembership(place);
    throw error;
  }
}

export async function clearUnfinished(place: MembershipFiles): Promise<void> {
  if (await isInitUnfinished(place)) return removeMembership(place);
  const store = `${place.dataDir}/raft`;
  if ((await place.files.list(store)).length === 0) return;
  throw new CoveyError('state-damaged', 'Cannot make a cluster here', {
    state: `"${store}" holds the state of a cluster, but node.json is gone`,
    hint: `bring "${place.dataDir}/node.json" back, or move "${store}" away`,
  });
}

interface MadeCluster {
  readonly member: Member;
  readonly bootstrap: readonly Write[];
  readonly response: InitResponse;
}

async function makeCluster(options: InitOptions, request: InitRequest): Promise<MadeCluster> {
  const { host } = options;
  const nowMs = host.clock.wallMs();
  const { advertiseAddress, dataPathAddress } = request;
  const description = await options.describe({ advertiseAddress, dataPathAddress });
  if (request.encrypt === true) refuseWithoutMeans([{ spec: { name: description.hostname }, description }]);
  const clusterId = newId<ClusterId>(host.random.bytes);
  const nodeId = newId<NodeId>(host.random.bytes);
  const raftId = newPeerId(host.random.bytes, () => false);
  const nodeName = request.name === '' ? description.hostname : request.name;
  const certificateDays = request.certificateDays === 0 ? defaultClusterSpec.certificateDays : request.certificateDays;
  const validUntilMs = nowMs + certificateDays * 86_400_000;
  const { root, identity } = await makeFirstIdentity(options, { clusterId, nodeId, nowMs, validUntilMs });
  const token = makeJoinToken({
    role: 'worker',
    expiresMs: 0,
    usesMax: 0,
    labels: {},
    nowMs,
    randomBytes: host.random.bytes,
  });
  const unlock =
    request.autolock === true ? { key: makeUnlockKey(host.random.bytes), madeAtMs: nowMs, former: [] } : undefined;
  const cluster = clusterOf(options, { request, clusterId, root, certificateDays, unlock });
  const node: Omit<Node, 'meta'> = {
    id: nodeId,
    spec: { name: nodeName, labels: request.labels, availability: 'active' },
    role: 'manager',
    description,
    status: { state: 'unknown', sinceMs: nowMs, message: 'has made the cluster; no session yet' },
    tunnelIndex: 1,
    certificateExpiresAtMs: validUntilMs,
    raftId,
    demoting: false,
  };
  return {
    member: {
      membership: {
        clusterId,
        nodeId,
        nodeName,
        role: 'manager',
        raftId,
        advertiseAddress,
        dataPathAddress,
        labels: request.labels,
        joinedAtMs: nowMs,
      },
      identity,
    },
    bootstrap: [
      { kind: 'put', table: 'cluster', object: cluster },
      { kind: 'put', table: 'node', object: node },
      { kind: 'put', table: 'joinToken', object: token.object },
    ],
    response: {
      clusterId,
      nodeId,
      nodeName,
      address: description.addresses[0] ?? '',
      workerToken: renderToken({ rootDigest: digestOf(root.certificate), secret: token.secret }),
      unlockKey: unlock && renderUnlockKey(unlock.key),
    },
  };
}

/** What networks get their prefixes from, or why that can't be. */
export function poolOf(
  request: Pick<InitRequest, 'pool' | 'poolPieceBits'>,
): Pick<ClusterSpec, 'pool' | 'poolPieceBits'> {
  const pool = request.pool || defaultClusterSpec.pool;
  const prefix = parsePrefix(pool);
  const what = `Cannot give networks addresses from "${pool}"`;
  if (prefix === undefined) {
    throw new CoveyError(
      'bad-argument',
      `${what}: it is no IPv4 prefix, such as 10.64.0.0/12, with zeros after its length`,
    );
  }
  const poolPieceBits = request.poolPieceBits || Math.max(defaultClusterSpec.poolPieceBits, prefix.bits);
  if (poolPieceBits < prefix.bits || poolPieceBits > 29) {
    throw new CoveyError('bad-argument', `${what} in pieces of /${poolPieceBits}`, {
      state: `pieces are from /${prefix.bits} (all of it) to /29`,
      hint: 'give another --default-addr-pool-mask-length',
    });
  }
  return { pool, poolPieceBits };
}

function clusterOf(
  options: InitOptions,
  parts: {
    readonly request: InitRequest;
    readonly clusterId: ClusterId;
    readonly root: { readonly certificate: Uint8Array; readonly key: Uint8Array };
    readonly certificateDays: number;
    readonly unlock: UnlockKeys | undefined;
  },
): Omit<Cluster, 'meta'> {
  const { request, clusterId, root, certificateDays, unlock } = parts;
  const vnis = options.vnisOf(clusterId);
  return {
    id: clusterId,
    spec: {
      ...poolOf(request),
      taskHistoryMax: defaultClusterSpec.taskHistoryMax,
      certificateDays,
      heartbeatMs: request.heartbeatMs === 0 ? defaultClusterSpec.heartbeatMs : request.heartbeatMs,
      lostAfterMs: request.lostAfterMs === 0 ? defaultClusterSpec.lostAfterMs : request.lostAfterMs,
      dataPort: options.dataPort,
      encrypt: request.encrypt,
    },
    ...(request.encrypt === true ? { encryption: encryptedFromStart(options.host.clock.wallMs()) } : {}),
    rootCertificate: root.certificate,
    rootKey: root.key,
    vniOverlay: vnis.overlay,
    vniIngress: vnis.ingress,
    tunnelIndexLast: 1,
    unlock,
  };
}

async function makeFirstIdentity(
  options: InitOptions,
  wanted: {
    readonly clusterId: ClusterId;
    readonly nodeId: NodeId;
    readonly nowMs: number;
    readonly validUntilMs: number;
  },
): Promise<{
  readonly root: { readonly certificate: Uint8Array; readonly key: Uint8Array };
  readonly identity: Member['identity'];
}> {
  const { issueCertificate, makeRequest, makeRoot } = await import('../ca/x509.js');
  const randomBytes = options.host.random.bytes;
  const root = await makeRoot({ organization: wanted.clusterId, nowMs: wanted.nowMs, randomBytes });
  const { request, key } = await makeRequest();
  const certificate = await issueCertificate({
    ...wanted,
    root,
    request,
    unit: roleUnits.manager,
    dnsName: tlsNameOf(wanted.nodeId),
    randomBytes,
  });
  const identity = identityOf({
    certificate: toPem(certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(root.certificate, 'CERTIFICATE'),
  });
  return { root, identity };
}
