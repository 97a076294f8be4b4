/**
 * The one port for everything between nodes: TLS 1.3, a client certificate asked for but not demanded, every call checked
 * against the role table before its handler runs. Certificates are swapped under open streams.
 *
 * A caller without a certificate of this cluster is anonymous (it may only Join). One with a certificate is who the
 * certificate says, in the role that the store says: a removed node is refused, a demoted one has its new role.
 *
 * Not here: the rows of the table (roles.ts), ending streams of nodes that were removed while they ran (dispatcher/).
 */
import type { SecureContextOptions } from 'node:tls';
import grpc from '@grpc/grpc-js';
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { NodeRole } from '../../gen/types.js';
import { addService, type Caller, type FindCaller, type Handlers, statusOf } from '../../grpc.js';
import { promptCall } from '../../grpc-prompt.js';
import type { Clock } from '../../host.js';
import type { Wire } from '../../wire.js';
import { shownChain } from '../ca/authority.js';
import { findRole, type IdentityHolder, type NodeIdentity } from '../ca/identity.js';
import { removedError, type Standing } from '../ca/removal.js';
import { messageMaxBytes } from './client.js';
import { endEveryMs, type OldRoots, oldRootError, openOldRoots, resumed, type Shown } from './old-roots.js';
import { type RolesByPath, refusalOf, rolesOf } from './roles.js';

export interface ClusterServerOptions {
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  readonly identity: IdentityHolder;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly services: { readonly [Name in keyof Services]?: Handlers<Services[Name]> };
  /** The role of a member; undefined when nothing is known of the node. */
  readonly findMember: (nodeId: string, certified: NodeRole) => Standing | undefined;
  /** Roots that the cluster has replaced (DER), shown so that a joiner with an old token can be told. */
  readonly retired?: () => readonly Uint8Array[];
}

export interface ClusterServer extends AsyncDisposable {
  readonly port: number;
  /** The roots that the cluster has replaced have changed. */
  readonly showRoots: () => void;
  /** Ends what a node that was removed still has open. */
  readonly endCallsOf: (nodeId: string) => void;
}

const closeGraceMs = 500;

export async function openClusterServer(options: ClusterServerOptions): Promise<ClusterServer> {
  const names = Object.keys(options.services) as (keyof Services)[];
  const rows = rolesOf(names);
  const context = (): SecureContextOptions => contextOf(options.identity.current(), options.retired?.() ?? []);
  const credentials = new NodeServerCredentials(context());
  const calls: OpenCalls = new Map();
  const oldRoots = openOldRoots(options.identity, () => endOldCalls(calls, oldRoots, options.clock));
  const server = new grpc.Server({
    interceptors: [guard(rows, { ...options, oldRoots }, calls)],
    'grpc.max_receive_message_length': messageMaxBytes,
    'grpc.max_send_message_length': messageMaxBytes,
    // Peers that vanished without a word are noticed by their session; this frees their sockets. Each ping costs 350 bytes on
    // the wire, which on a metered link are paid for.
    'grpc.keepalive_time_ms': 300_000,
    'grpc.keepalive_timeout_ms': 20_000,
  });
  for (const name of names) addHandlers(server, name, options);
  const port = await bind(server, options, credentials);
  const rotation = options.identity.onChange(() => credentials.rotate(context()));
  return {
    port,
    showRoots: () => credentials.rotate(context()),
    endCallsOf: nodeId => {
      for (const { end } of calls.get(nodeId) ?? []) end(removedError(nodeId));
    },
    [Symbol.asyncDispose]: async () => {
      rotation[Symbol.dispose]();
      oldRoots[Symbol.dispose]();
      await closeServer(server, { clock: options.clock, graceMs: closeGraceMs });
    },
  };
}

/** Waits for open calls, then ends what is left. */
export function closeServer(
  server: grpc.Server,
  options: { readonly clock: Clock; readonly graceMs: number },
): Promise<void> {
  return new Promise(resolve => {
    const force = options.clock.after(options.graceMs, () => server.forceShutdown());
    server.tryShutdown(() => {
      force.cancel();
      resolve();
    });
  });
}

/** grpc-js offers "certificate demanded" and "not asked for"; this asks and leaves the decision to the guard. */
class NodeServerCredentials extends grpc.ServerCredentials {
  constructor(context: SecureContextOptions) {
    super({ requestCert: true, rejectUnauthorized: false }, context);
  }

  rotate(context: SecureContextOptions): void {
    this.updateSecureContextOptions(context);
  }

  override _equals(other: grpc.ServerCredentials): boolean {
    return this === other;
  }
}

/** The chain that is shown holds the root, so that a joiner can compare its digest. */
function contextOf(identity: NodeIdentity, retired: readonly Uint8Array[]): SecureContextOptions {
  return {
    minVersion: 'TLSv1.3',
    ca: identity.root,
    cert: shownChain(identity, retired),
    key: identity.key,
  };
}

interface OpenCall {
  readonly path: string;
  readonly shown: Shown | undefined;
  readonly end: (error: CoveyError) => void;
}

/** By the id of the node. */
type OpenCalls = Map<string, Set<OpenCall>>;

/** Of those that are opened anew by themselves. */
function endOldCalls(calls: OpenCalls, oldRoots: OldRoots, clock: Clock): void {
  const old = [...calls.values()]
    .flatMap(open => [...open])
    .filter(({ path, shown }) => resumed.has(path) && shown !== undefined && oldRoots.isReplaced(shown));
  for (const [at, { end }] of old.entries()) clock.after(at * endEveryMs, () => end(oldRootError()));
}

function addHandlers<Name extends keyof Services>(
  server: grpc.Server,
  name: Name,
  options: ClusterServerOptions,
): void {
  const handlers = options.services[name];
  if (handlers === undefined) return;
  const findCaller: FindCaller = call => callerOf(call.getAuthContext(), call.getPeer(), options.findMember);
  addService(server, name, { wire: options.wire, handlers, findCaller });
}

function guard(
  rows: RolesByPath,
  options: ClusterServerOptions & { readonly oldRoots: OldRoots },
  calls: OpenCalls,
): grpc.ServerInterceptor {
  return (method, call) => {
    let closed = (): void => undefined;
    return promptCall(method, call, {
      start: next =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            const caller = callerOf(call.getAuthContext(), call.getPeer(), options.findMember);
            const refusal = withClock(refusalOf(caller, method.path, rows), options.clock.wallMs());
            const end = (error: CoveyError): void => call.sendStatus(statusOf(error, options.wire));
            if (refusal !== undefined) return end(refusal);
            const shown = call.getAuthContext().sslPeerCertificate;
            if (shown !== undefined && options.oldRoots.isReplaced(shown)) return end(oldRootError());
            if (caller.kind === 'node') closed = noted(calls, caller.nodeId, { path: method.path, shown, end });
            pass(metadata);
          },
          onCancel: () => closed(),
        }),
      sendStatus: (status, next) => {
        closed();
        next(status);
      },
    });
  };
}

/** A certificate that is out of its time is none: the clock says so to whoever wonders. */
function withClock(refusal: CoveyError | undefined, nowMs: number): CoveyError | undefined {
  if (refusal?.code !== 'no-certificate') return refusal;
  const state = `${refusal.state}; the clock of this manager says ${new Date(nowMs).toISOString()}`;
  return new CoveyError(refusal.code, refusal.message, { state, hint: refusal.hint });
}

/** Remembers what ends the call until what it returns is called. */
function noted(calls: OpenCalls, nodeId: string, call: OpenCall): () => void {
  const open = calls.get(nodeId) ?? new Set();
  calls.set(nodeId, open);
  open.add(call);
  return () => {
    open.delete(call);
    if (open.size === 0 && calls.get(nodeId) === open) calls.delete(nodeId);
  };
}

/** Who is at the other end. The role of a node of which nothing is known is empty. */
function callerOf(
  auth: ReturnType<grpc.ServerInterceptingCallInterface['getAuthContext']>,
  peer: string,
  findMember: ClusterServerOptions['findMember'],
): Caller {
  // Only there when the chain was verified against our root and is in its time of validity.
  const certificate = auth.sslPeerCertificate;
  const nodeId = certificate?.subject.CN;
  const unit = certificate?.subject.OU;
  const certified = findRole(String(unit));
  if (certificate === undefined || nodeId === undefined || certified === undefined) {
    return { kind: 'anonymous', address: peer };
  }
  return {
    kind: 'node',
    nodeId: String(nodeId),
    clusterId: String(certificate.subject.O),
    role: findMember(String(nodeId), certified) ?? '',
    certified,
    serial: certificate.serialNumber,
    peer,
  };
}

function bind(
  server: grpc.Server,
  options: ClusterServerOptions,
  credentials: grpc.ServerCredentials,
): Promise<number> {
  const address = `${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) return resolve(port);
      const inUse = error.message.includes('EADDRINUSE');
      const code = inUse ? 'port-in-use' : 'bad-config';
      reject(
        new CoveyError(code, `Cannot listen on "${address}"`, {
          state: error.message,
          hint: inUse ? `ss -lntp 'sport = :${options.port}'` : 'choose an address of this machine with --listen',
        }),
      );
    });
  });
}
