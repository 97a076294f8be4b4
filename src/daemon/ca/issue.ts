/**
 * The Ca service: lets machines in, gives nodes new certificates, lets nodes go.
 *
 * Keeps true: a use of a token is counted in the same transaction that makes the node; the same request (id and key) always
 * gives the same node, so that a lost answer costs nothing; a node's role comes from the store, never from what it shows.
 *
 *     joiner                              manager
 *     root by digest of the token   ->    TLS without client certificate
 *     Join(secret, request, name)   ->    token checked, certificate made, transaction: use counted, node made
 *     certificate kept on disk      <-    node id, certificate, managers
 *     Session with the certificate  ->    node ready
 *
 * Not here: making certificates (grant.ts), who is let in with an expired one (recover.ts) or a token of its own
 * (reintroduce.ts), tokens (token.ts, tokens.ts), the joiner's half (membership/join.ts).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type {
  Cluster,
  JoinRequest,
  JoinResponse,
  ManagerAddress,
  Node,
  NodeRole,
  RenewRequest,
  RenewResponse,
} from '../../gen/types.js';
import type { CallContext, Handlers } from '../../grpc.js';
import type { Clock, Random } from '../../host.js';
import { asId, isId, type NodeId, newId } from '../../ids.js';
import { newPeerId } from '../../raft/membership.js';
import { refuseOlderManager, type Store, type View, type Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { sessionProtocols } from '../../version.js';
import type { Roles } from '../group/roles.js';
import { chooseProtocol } from '../session/protocol.js';
import { type Grant, grantCertificate, requestedKey } from './grant.js';
import { judgeRecovery } from './recover.js';
import { judgeReturn, planReturn } from './reintroduce.js';
import { isRaftIdUsed, planNodeRemoval, removedError } from './removal.js';
import { findToken, tokenRefusal } from './token.js';

export interface CaOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly managers: () => readonly ManagerAddress[];
  /** A manager that leaves is let go of first. */
  readonly roles: Pick<Roles, 'letGo'>;
  /** Resolves when the other nodes no longer send traffic to a node that leaves. */
  readonly settled: (options: { readonly timeoutMs: number; readonly signal: AbortSignal }) => Promise<void>;
}

const joinsAtOnceMax = 16;
const joinRequestMaxBytes = 65_536;
const removalWritesMax = 150;
const settleMs = 1_000;

export function caHandlers(options: CaOptions): Handlers<Services['Ca']> {
  let joining = 0;
  /** Calls that anybody may make. */
  const bounded = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (joining >= joinsAtOnceMax) {
      throw new CoveyError('too-many', 'Cannot join now', { state: `${joining} machines join at this moment` });
    }
    joining += 1;
    try {
      return await work();
    } finally {
      joining -= 1;
    }
  };
  return {
    join: (request, context) => bounded(() => join(options, request, context)),
    renew: async ({ certificateRequest }, context) => {
      const nodeId = callingNode(context);
      return await renewNode(options, { nodeId, certificateRequest }, context.signal);
    },
    recover: ({ certificate, certificateRequest }, context) =>
      bounded(async () => {
        const shown = { certificate, requestedKey: await requestedKey(certificateRequest) };
        const node = judgeRecovery(options.store.view(), { ...shown, nowMs: options.clock.wallMs() });
        options.log.info('certificate that had expired is renewed', { node: node.spec.name });
        return await renewFor(options, { node, request: certificateRequest }, context.signal);
      }),
    leave: async (_request, context) => {
      const nodeId = callingNode(context);
      await options.roles.letGo(nodeId, { principal: `node:${nodeId}`, signal: context.signal });
      await removeNode(options, nodeId, context.signal);
      await options.settled({ timeoutMs: settleMs, signal: context.signal });
      return {};
    },
  };
}

async function join(options: CaOptions, request: JoinRequest, context: CallContext): Promise<JoinResponse> {
  const { store, clock, log } = options;
  checkShape(request);
  chooseProtocol({ min: request.protocolMin, max: request.protocolMax }, sessionProtocols);
  const cluster = getCluster(store.view());
  const token = findToken(store.view().list('joinToken'), request.secret);
  if (token === undefined) throw refused(tokenRefusal(undefined, clock.wallMs()));
  const publicKey = await requestedKey(request.certificateRequest);
  const comer =
    token.nodeId === undefined
      ? { id: nodeIdOf({ clusterId: cluster.id, requestId: request.requestId, publicKey }), role: token.role }
      : judgeReturn(store.view(), token, request);
  // Made before the transaction, so that nothing can fail after it; thrown away when the transaction is refused.
  const grant = await grantCertificate(options, { cluster, node: comer, request: request.certificateRequest });
  const { validUntilMs } = grant;
  const isUsed = (id: number): boolean => isRaftIdUsed(store.view(), id);
  const raftId = comer.role === 'manager' ? newPeerId(options.random.bytes, isUsed) : 0;
  await store.update(
    view =>
      token.nodeId === undefined
        ? planJoin(view, { ...comer, request, nodeId: comer.id, raftId, validUntilMs, nowMs: clock.wallMs() })
        : planReturn(view, { ...request, validUntilMs, nowMs: clock.wallMs() }),
    { principal: `node:${comer.id}`, signal: context.signal },
  );
  const node = store.view().find('node', comer.id);
  const name = node?.spec.name ?? request.name;
  log.info(token.nodeId === undefined ? 'node joined' : 'node came back', {
    node: name,
    id: comer.id,
    role: comer.role,
  });
  return {
    ...grant,
    nodeId: comer.id,
    clusterId: cluster.id,
    role: comer.role,
    managers: options.managers(),
    raftId: node?.raftId ?? 0,
    name,
  };
}

/** A new certificate for the key of the request; the caller knows who asks. */
export async function renewNode(
  options: CaOptions,
  { nodeId, certificateRequest }: RenewRequest & { readonly nodeId: NodeId },
  signal: AbortSignal,
): Promise<RenewResponse> {
  const node = options.store.view().find('node', nodeId);
  if (node === undefined) throw removedError(nodeId);
  await requestedKey(certificateRequest);
  return await renewFor(options, { node, request: certificateRequest }, signal);
}

/** A certificate for a node that is there, and when it ends. */
async function renewFor(
  options: CaOptions,
  { node, request }: { readonly node: Node; readonly request: Uint8Array },
  signal: AbortSignal,
): Promise<Grant> {
  const cluster = getCluster(options.store.view());
  const grant = await grantCertificate(options, { cluster, node, request });
  await options.store.update(view => planExpiry(view, node.id, grant.validUntilMs), {
    principal: `node:${node.id}`,
    signal,
  });
  options.log.info('certificate renewed', { node: node.spec.name });
  return grant;
}

/** What a join writes: the node, the use of the token, the tunnel index. Nothing when the node is there already. */
export function planJoin(
  view: View,
  joiner: {
    readonly request: JoinRequest;
    readonly nodeId: NodeId;
    readonly role: NodeRole;
    readonly raftId: number;
    readonly validUntilMs: number;
    readonly nowMs: number;
  },
): readonly Write[] {
  const { request, nodeId, nowMs } = joiner;
  if (view.find('node', nodeId) !== undefined) return [];
  if (view.find('removedNode', nodeId) !== undefined) throw removedError(nodeId);
  if (joiner.role === 'manager') refuseOlderManager(view, request, 'Cannot join as a manager');
  const token = findToken(view.list('joinToken'), request.secret);
  const refusal = tokenRefusal(token, nowMs);
  if (refusal !== undefined) throw refusal;
  if (token === undefined || token.nodeId !== undefined || token.role !== joiner.role)
    throw refused(tokenRefusal(undefined, nowMs));
  const namesake = view.findByName('node', request.name);
  if (namesake !== undefined) {
    throw new CoveyError('name-in-use', `Cannot join as "${request.name}"`, {
      state: `node ${namesake.id} has that name and is ${namesake.status.state}`,
      hint: 'covey join --name ANOTHER …',
    });
  }
  const cluster = getCluster(view);
  const tunnelIndex = freeTunnelIndex(view, cluster.tunnelIndexLast);
  const node: Omit<Node, 'meta'> = {
    id: nodeId,
    spec: { name: request.name, labels: request.labels, availability: 'active' },
    role: joiner.role,
    description: request.description,
    status: { state: 'unknown', sinceMs: nowMs, message: 'has joined; no session yet' },
    tunnelIndex,
    certificateExpiresAtMs: joiner.validUntilMs,
    raftId: joiner.raftId,
    demoting: false,
  };
  return [
    { kind: 'put', table: 'node', object: node },
    { kind: 'put', table: 'joinToken', object: { ...token, uses: token.uses + 1 } },
    { kind: 'put', table: 'cluster', object: { ...cluster, tunnelIndexLast: tunnelIndex } },
  ];
}

export const tunnelIndexMax = 16_383;

/** The next index after the last one given; at the end of the range the lowest that no node has. */
export function freeTunnelIndex(view: View, last: number): number {
  if (last < tunnelIndexMax) return last + 1;
  const used = new Set<number>();
  for (const node of view.list('node')) used.add(node.tunnelIndex);
  for (let index = 1; index <= tunnelIndexMax; index += 1) if (!used.has(index)) return index;
  throw new CoveyError('too-many', 'Cannot add a node', { state: `the cluster has ${tunnelIndexMax} nodes` });
}

/** The same for every repetition of a request: from its id and the key that it proves to have. */
export function nodeIdOf(joiner: {
  readonly clusterId: string;
  readonly requestId: string;
  readonly publicKey: Uint8Array;
}): NodeId {
  const digest = createHash('sha256')
    .update(`${joiner.clusterId}\0${joiner.requestId}\0`)
    .update(joiner.publicKey)
    .digest();
  return newId(sizeBytes => digest.subarray(0, sizeBytes));
}

function checkShape(request: JoinRequest): void {
  if (!/^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?$/.test(request.name)) {
    throw new CoveyError('bad-argument', `Cannot use "${request.name.slice(0, 80)}" as the name of a node`, {
      state: 'a name has 1 to 63 letters, digits, dots, dashes and underscores',
    });
  }
  if (!isId(request.requestId))
    throw new CoveyError('bad-argument', 'Cannot join without a request id of 25 characters');
  const sizeBytes = JSON.stringify([request.labels, request.description]).length;
  if (sizeBytes > joinRequestMaxBytes) {
    throw new CoveyError('too-large', 'Cannot join with these labels and facts', {
      state: `${sizeBytes} bytes; the limit is ${joinRequestMaxBytes}`,
    });
  }
}

function planExpiry(view: View, nodeId: NodeId, certificateExpiresAtMs: number): readonly Write[] {
  const node = view.find('node', nodeId);
  if (node === undefined) throw removedError(nodeId);
  return [{ kind: 'put', table: 'node', object: { ...node, certificateExpiresAtMs } }];
}

/** Its tasks are orphaned in pieces, then the node goes. */
async function removeNode(options: CaOptions, nodeId: NodeId, signal: AbortSignal): Promise<void> {
  let more = true;
  while (more) {
    await options.store.update(
      view => {
        const plan = planNodeRemoval(view, { nodeId, nowMs: options.clock.wallMs(), writesMax: removalWritesMax });
        more = plan.more;
        return plan.writes;
      },
      { principal: 'system:reconcile', signal },
    );
  }
  options.log.info('node left', { id: nodeId });
}

function callingNode(context: CallContext): NodeId {
  if (context.caller.kind !== 'node')
    throw new CoveyError('no-certificate', 'Cannot do that without the certificate of a node');
  return asId(context.caller.nodeId);
}

export function getCluster(view: View): Cluster {
  for (const cluster of view.list('cluster')) return cluster;
  throw new CoveyError('not-in-cluster', 'Cannot read the cluster', { state: 'the store has none' });
}

function refused(refusal: CoveyError | undefined): CoveyError {
  return refusal ?? new CoveyError('bug', 'Cannot refuse a token that is good');
}
