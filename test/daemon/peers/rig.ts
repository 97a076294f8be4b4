/** Managers of one cluster on 127.0.0.1, with real certificates, servers and links between them. */
import { holdIdentity, type NodeIdentity, roleUnits, tlsNameOf } from '../../../src/daemon/ca/identity.js';
import { identityOf, toPem } from '../../../src/daemon/ca/pem.js';
import { issueCertificate, makeRequest, makeRoot } from '../../../src/daemon/ca/x509.js';
import { peerHandlers } from '../../../src/daemon/peers/serve.js';
import { openPeerTransport, type PeerAddress, type PeerTransport } from '../../../src/daemon/peers/transport.js';
import { openClusterServer } from '../../../src/daemon/rpc/cluster-server.js';
import type { CoveyError } from '../../../src/errors.js';
import type { GroupHistory } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import type { PeerId } from '../../../src/raft/core/types.js';
import type { Arrivals } from '../../../src/raft/transport.js';
import { type ProtocolRange, peerProtocols } from '../../../src/version.js';
import { silent, testLifetime, wire } from '../node-fixtures.js';

const { clock, random } = linuxHost;
const root = await makeRoot({ organization: 'cluster', nowMs: clock.wallMs(), randomBytes: random.bytes });

const nodeOf = (peer: PeerId): string => `node${peer}`;

async function managerIdentity(nodeId: string): Promise<NodeIdentity> {
  const { request, key } = await makeRequest();
  const certificate = await issueCertificate({
    root,
    request,
    nodeId,
    clusterId: 'cluster',
    unit: roleUnits.manager,
    dnsName: tlsNameOf(nodeId),
    nowMs: clock.wallMs(),
    validUntilMs: clock.wallMs() + 86_400_000,
    randomBytes: random.bytes,
  });
  return identityOf({
    certificate: toPem(certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(root.certificate, 'CERTIFICATE'),
  });
}

export interface Peer extends AsyncDisposable {
  readonly id: PeerId;
  readonly port: number;
  readonly transport: PeerTransport;
  /** Ends the server; the links go on trying. */
  readonly stopServer: () => Promise<void>;
  readonly startServer: () => Promise<void>;
}

export interface PeerOptions {
  /** Ports by member; a member that is not in it cannot be found. */
  readonly book: Map<PeerId, number>;
  readonly arrivals: () => Arrivals;
  readonly onUnreachable?: (peer: PeerId) => void;
  /** What another version of covey speaks. */
  readonly protocols?: ProtocolRange;
  /** Nodes of members that live elsewhere than their number says. */
  readonly homes?: ReadonlyMap<PeerId, string>;
  readonly history?: () => GroupHistory;
  readonly onSuperseded?: (error: CoveyError) => void;
  /** Another node's certificate. */
  readonly as?: string;
}

export async function openPeer(id: PeerId, options: PeerOptions): Promise<Peer> {
  const lifetime = testLifetime();
  const identity = holdIdentity(await managerIdentity(options.as ?? nodeOf(id)));
  const findPeer = (peer: PeerId): PeerAddress | undefined => {
    const port = options.book.get(peer);
    return port === undefined
      ? undefined
      : { nodeId: options.homes?.get(peer) ?? nodeOf(peer), addresses: [`127.0.0.1:${port}`] };
  };
  const protocols = options.protocols ?? peerProtocols;
  const history = (): GroupHistory => options.history?.() ?? { generation: 0, removed: [] };
  const raft = peerHandlers({
    own: id,
    wire,
    clock,
    log: silent,
    arrivals: options.arrivals,
    findNode: nodeOf,
    protocols,
    history,
  });
  const open = (port: number) =>
    openClusterServer({
      host: '127.0.0.1',
      port,
      identity,
      wire,
      clock,
      findMember: (_, certified) => certified,
      services: { Raft: raft },
    });
  let server = await open(0);
  const { port } = server;
  if (options.as === undefined) options.book.set(id, port);
  const transport = openPeerTransport({
    own: id,
    findPeer,
    protocols,
    history,
    onUnreachable: options.onUnreachable ?? (() => undefined),
    onSuperseded: options.onSuperseded ?? (() => undefined),
    isLeader: () => false,
    turnAfter: () => 0,
    onEnded: () => undefined,
    isLeaderless: () => false,
    onLeaderless: () => undefined,
    identity,
    wire,
    clock,
    random,
    log: silent,
    lifetime,
  });
  return {
    id,
    port,
    transport,
    stopServer: async () => {
      await server[Symbol.asyncDispose]();
    },
    startServer: async () => {
      server = await open(port);
    },
    [Symbol.asyncDispose]: async () => {
      await lifetime[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
