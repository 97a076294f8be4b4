/**
 * `covey join`: from an address and a token to a node that is ready.
 *
 * Keeps true: nothing is trusted before the root's digest matched the token; key and request id are on disk before they are
 * used, so that asking again, even after a crash, gives the same node and costs no second use of the token; an attempt that
 * fails leaves nothing on either side.
 *
 * Called by the Local service. The chart of the exchange is in ca/issue.ts.
 *
 * Not here: the manager's half (ca/issue.ts), the parts of a node (daemon/node.ts, handed in as `start`).
 */
import { CoveyError, codeOf } from '../../errors.js';
import type { JoinClusterRequest, JoinClusterResponse, JoinResponse, NodeDescription } from '../../gen/types.js';
import { newId } from '../../ids.js';
import { deadline } from '../../lifetime.js';
import { sessionProtocols } from '../../version.js';
import { joinHostPort } from '../addresses.js';
import { rootsText } from '../ca/authority.js';
import { type NodeIdentity, tlsNameOf } from '../ca/identity.js';
import { identityOf, toPem } from '../ca/pem.js';
import { type ParsedToken, parseToken } from '../ca/token.js';
import { parseHostPort } from '../config.js';
import { connectToManager } from '../rpc/client.js';
import { type FetchedRoot, fetchRoot } from '../rpc/root-fetch.js';
import { saveFirstManagers, withReached } from '../session/memory.js';
import {
  findAttempt,
  type JoinAttempt,
  type MembershipFiles,
  removeMembership,
  saveAttempt,
  saveIdentity,
  saveMembership,
} from './files.js';
import { askToLeave } from './leave.js';
import type { Establish, Member, MembershipOptions } from './types.js';

export interface JoinOptions extends MembershipOptions, Establish {
  readonly portDefault: number;
}

/** With the rest of the command a refusal is told within 2 s where neither resolver nor manager answers, else within 5 s. */
const rootLimits = { connectMs: 1_700, handshakeMs: 4_000 };
const connectMs = 2_000;
const callMs = 10_000;
const asksMax = 3;
const leaveAfterFailureMs = 3_000;

export async function joinCluster(
  options: JoinOptions,
  request: JoinClusterRequest,
  signal: AbortSignal,
): Promise<JoinClusterResponse> {
  const place: MembershipFiles = { files: options.host.files, dataDir: options.dataDir, keys: options.keys };
  const token = parseToken(request.token);
  let member: Member | undefined;
  let reached: { readonly address: string; readonly nodeId: string } | undefined;
  try {
    const asked = await askForIdentity(options, { place, token, request, nodeId: undefined }, signal);
    reached = { address: asked.at, nodeId: asked.root.nodeId };
    member = memberOf({ ...asked, request, nowMs: options.host.clock.wallMs() });
    await saveIdentity(place, member.identity);
    await saveFirstManagers({ ...place, wire: options.wire }, withReached(asked.answer.managers, reached));
    await saveMembership(place, member.membership);
    await options.start(member, { bootstrap: [], signal });
  } catch (error) {
    // A node that was there before stays in the cluster.
    if (member !== undefined && reached !== undefined && token.returns !== true)
      await takeBack(options, member, reached);
    // When no answer came the manager may have made the node: the same request, repeated, finds it.
    if (member !== undefined || codeOf(error) !== 'no-connection') await removeMembership(place);
    throw error;
  }
  const { clusterId, nodeId, nodeName, role } = member.membership;
  options.log.info('joined', { cluster: clusterId, node: nodeName, role });
  return { clusterId, nodeId, nodeName, role };
}

interface Asked {
  readonly answer: JoinResponse;
  readonly identity: NodeIdentity;
  /** "host:port" of the manager that answered. */
  readonly at: string;
  readonly root: FetchedRoot;
}

/** From a token and an address to a certificate for a key that was made here. */
export async function askForIdentity(
  options: JoinOptions,
  asking: {
    readonly place: MembershipFiles;
    readonly token: ParsedToken;
    readonly request: JoinClusterRequest;
    /** The node that this machine is already. */
    readonly nodeId: string | undefined;
  },
  signal: AbortSignal,
): Promise<Asked> {
  const { token, request, nodeId } = asking;
  const { host, port } = parseHostPort(request.address, options.portDefault);
  const at = joinHostPort(host, port);
  const { advertiseAddress, dataPathAddress } = request;
  const { clock } = options.host;
  // Loading the certificate code takes 120 ms; meanwhile the manager answers.
  const x509 = import('../ca/x509.js');
  const root = await fetchRoot({ host, port, rootDigest: token.rootDigest, clock, ...rootLimits, signal });
  const description = await options.describe({ advertiseAddress, dataPathAddress });
  const attempt = await beginAttempt(options, { ...asking, makeKey: (await x509).makeKey });
  const certificateRequest = await (await x509).makeRequestFor(attempt.key);
  const answer = await askToJoin(options, {
    at,
    root,
    token,
    attempt,
    certificateRequest,
    description,
    request,
    nodeId,
    signal,
  });
  return { answer, identity: identityFrom(answer, { root, attempt }), at, root };
}

/** The attempt on disk when it was made for the same root, else a new one. */
async function beginAttempt(
  options: JoinOptions,
  begin: { readonly place: MembershipFiles; readonly token: ParsedToken; readonly makeKey: () => Promise<Uint8Array> },
): Promise<JoinAttempt> {
  const rootDigest = Buffer.from(begin.token.rootDigest).toString('hex');
  const left = await findAttempt(begin.place);
  if (left?.rootDigest === rootDigest) return left;
  const attempt = { requestId: newId<string>(options.host.random.bytes), key: await begin.makeKey(), rootDigest };
  await saveAttempt(begin.place, attempt);
  return attempt;
}

interface Asking {
  readonly at: string;
  readonly root: FetchedRoot;
  readonly token: ParsedToken;
  readonly attempt: JoinAttempt;
  readonly certificateRequest: Uint8Array;
  readonly description: NodeDescription;
  readonly request: JoinClusterRequest;
  readonly nodeId: string | undefined;
  readonly signal: AbortSignal;
}

/** Asks again when the answer was lost: the same request gives the same node. */
async function askToJoin(options: JoinOptions, asking: Asking): Promise<JoinResponse> {
  for (let asks = 1; ; asks += 1) {
    try {
      return await askOnce(options, asking);
    } catch (error) {
      if (asks >= asksMax || codeOf(error) !== 'no-connection') throw error;
    }
  }
}

async function askOnce(options: JoinOptions, asking: Asking): Promise<JoinResponse> {
  await using manager = await connectToManager({
    address: asking.at,
    nodeId: asking.root.nodeId,
    clusterId: undefined,
    root: toPem(asking.root.root, 'CERTIFICATE'),
    client: undefined,
    wire: options.wire,
    clock: options.host.clock,
    timeoutMs: connectMs,
    signal: asking.signal,
  });
  return await manager.calls('Ca').join(
    {
      secret: asking.token.secret,
      certificateRequest: asking.certificateRequest,
      name: nameFor(asking.request, asking.description),
      labels: asking.request.labels,
      description: asking.description,
      requestId: asking.attempt.requestId,
      protocolMin: sessionProtocols.min,
      protocolMax: sessionProtocols.max,
      nodeId: asking.nodeId,
    },
    { timeoutMs: callMs, signal: asking.signal },
  );
}

function nameFor(request: JoinClusterRequest, description: NodeDescription): string {
  return request.name === '' ? description.hostname : request.name;
}

function identityFrom(
  answer: JoinResponse,
  { root, attempt }: { readonly root: FetchedRoot; readonly attempt: JoinAttempt },
): NodeIdentity {
  const identity = identityOf({
    certificate: [answer.certificate, ...answer.intermediates].map(one => toPem(one, 'CERTIFICATE')).join(''),
    key: toPem(attempt.key, 'PRIVATE KEY'),
    root: rootsText(answer.roots.length === 0 ? [root.root] : answer.roots),
  });
  if (identity.nodeId !== answer.nodeId || identity.clusterId !== answer.clusterId) {
    throw new CoveyError('wrong-ca', 'Cannot use the certificate that the manager gave', {
      state: `it is for ${tlsNameOf(identity.nodeId)}, the answer says ${answer.nodeId}`,
    });
  }
  return identity;
}

function memberOf(
  parts: Asked & {
    readonly request: JoinClusterRequest;
    readonly nowMs: number;
  },
): Member {
  const { answer, identity, request } = parts;
  return {
    identity,
    membership: {
      clusterId: answer.clusterId,
      nodeId: answer.nodeId,
      nodeName: answer.name,
      role: answer.role,
      raftId: answer.raftId,
      advertiseAddress: request.advertiseAddress,
      dataPathAddress: request.dataPathAddress,
      labels: request.labels,
      joinedAtMs: parts.nowMs,
    },
  };
}

/** The node object of an attempt that failed after the manager had made it. */
async function takeBack(
  options: JoinOptions,
  member: Member,
  manager: { readonly address: string; readonly nodeId: string },
): Promise<void> {
  using limit = deadline(options.host.clock, {
    ms: leaveAfterFailureMs,
    parent: new AbortController().signal,
    reason: () => new CoveyError('timeout', 'Cannot take the node back in time'),
  });
  try {
    await askToLeave(options, { identity: member.identity, manager, signal: limit.signal });
  } catch (error) {
    // The failure that is reported is the one that came first; the node shows as never seen and can be removed.
    options.log.warn('node of the failed join not removed', { error, node: member.membership.nodeId });
  }
}
