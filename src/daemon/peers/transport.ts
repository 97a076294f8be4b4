/**
 * The way from this manager to the other members of the Raft group: two lanes to each, "append" for entries and "control" for
 * all else, and a connection for a snapshot while one is on its way.
 *
 * Keeps true: sending never waits and never throws; what could not be sent is reported, and Raft repeats it; who answers is
 * the node that the address book names, proved by its certificate.
 *
 * Called by daemon/group.ts, which hands it to raft/group-log.ts. Not here: the other end (serve.ts), one lane (link.ts),
 * snapshots (snapshots.ts), the words (codec.ts).
 */
import { asCoveyError, CoveyError, codeOf } from '../../errors.js';
import type { GroupHistory, RaftHello, RaftReceipt } from '../../gen/types.js';
import type { Clock, Random } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import type { Message, PeerId } from '../../raft/core/types.js';
import type { Transport } from '../../raft/transport.js';
import type { Logger } from '../../telemetry.js';
import type { ProtocolRange } from '../../version.js';
import type { Wire } from '../../wire.js';
import type { IdentityHolder } from '../ca/index.js';
import { defaultPort, parseHostPort } from '../config.js';
import type { Whereabouts } from '../group/whereabouts.js';
import { connectToManager, isRefused, type ManagerClient } from '../rpc/index.js';
import { toWire } from './codec.js';
import { watchEnds } from './ended.js';
import { type Link, type LinkStream, openLink } from './link.js';
import { watchReunions } from './reunion.js';
import { sendSnapshot } from './snapshots.js';

/** Where a member lives. */
export interface PeerAddress {
  readonly nodeId: string;
  readonly addresses: readonly string[];
}

export interface PeerTransportOptions {
  readonly own: PeerId;
  /** The address book; undefined: nobody knows (yet) where that member is. */
  readonly findPeer: (peer: PeerId) => PeerAddress | undefined;
  /** Versions of this exchange that are spoken here. */
  readonly protocols: ProtocolRange;
  readonly history: () => GroupHistory;
  readonly onUnreachable: (peer: PeerId) => void;
  /** A member of this group says that it is of a newer one, without this member. */
  readonly onSuperseded: (error: CoveyError) => void;
  readonly isLeader: (peer: PeerId) => boolean;
  readonly isLeaderless: () => boolean;
  /** How many managers ask for votes before this one; when that one has ended, it does not count. */
  readonly turnAfter: (peer: PeerId | undefined) => number;
  /** The process of the leader has ended, as its machine says. */
  readonly onEnded: (peer: PeerId) => void;
  /** A member is reached again, and nobody leads. */
  readonly onLeaderless: () => void;
  readonly whereabouts?: Pick<Whereabouts, 'own' | 'believed'>;
  readonly identity: IdentityHolder;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly lifetime: Lifetime;
}

export interface PeerTransport extends Transport {
  /** Links to all others are closed; they open again if anything is to be said to them. */
  readonly keepOnly: (peers: readonly PeerId[]) => void;
  /** Members whose links carry at the moment. */
  readonly reached: () => ReadonlySet<PeerId>;
}

const connectMs = 1_000;

type Lane = 'control' | 'append';

interface Peer {
  readonly links: Map<Lane, Link>;
  readonly scope: Lifetime;
  readonly connected: Set<LinkStream>;
  /** The problem that was told last: the same is not told twice. */
  told: string;
  /** Which of its addresses is tried next. */
  turn: number;
}

export function openPeerTransport(options: PeerTransportOptions): PeerTransport {
  const lifetime = options.lifetime.child('peers');
  const peers = new Map<PeerId, Peer>();
  const codec = options.wire.type('RaftMessage');
  const lookForEnd = watchEnds({
    ...options,
    lifetime,
    matters: options.isLeader,
    isRefused: async (id, signal) => {
      const address = options.findPeer(id)?.addresses[0];
      return address !== undefined && (await isRefused(parseHostPort(address, defaultPort), signal));
    },
  });
  const onReached = watchReunions({ ...options, lifetime, turn: () => options.turnAfter(undefined) });
  const peerOf = (id: PeerId): Peer => {
    const known = peers.get(id);
    if (known !== undefined) return known;
    const scope = lifetime.child(`member ${id}`);
    const peer: Peer = { links: new Map(), scope, connected: new Set(), told: '', turn: 0 };
    peers.set(id, peer);
    return peer;
  };
  const linkOf = (id: PeerId, lane: Lane): Link => {
    const peer = peerOf(id);
    const known = peer.links.get(lane);
    if (known !== undefined) return known;
    const link = openLink({
      ...options,
      name: lane,
      lifetime: peer.scope,
      connect: signal => openStream({ ...options, onReached }, { id, peer, lane }, signal),
      onBroken: error => {
        tell(options, { id, peer }, error);
        if (codeOf(error) === 'group-superseded') options.onSuperseded(asCoveyError(error));
        if (lane === 'control') peer.links.get('append')?.suspect();
        options.onUnreachable(id);
        lookForEnd(id);
      },
    });
    peer.links.set(lane, link);
    return link;
  };
  return {
    send: message => {
      if (lifetime.signal.aborted) return;
      const sent = linkOf(message.to, laneOf(message)).send(codec.encode(toWire(message)));
      if (!sent) options.onUnreachable(message.to);
    },
    sendSnapshot: (message, source, done) => {
      lifetime.run(`snapshot for ${message.to}`, async signal => {
        let stored = false;
        try {
          await using client = await connect(options, { id: message.to, turn: 0 }, signal);
          stored = await sendSnapshot({ ...options, calls: client.calls('Raft') }, { message, source, signal });
        } catch (error) {
          options.log.warn('snapshot not sent', { member: message.to, error });
        }
        done(stored);
      });
    },
    keepOnly: ids => {
      for (const [id, peer] of peers) {
        if (ids.includes(id)) continue;
        peers.delete(id);
        lifetime.run(`end of ${id}`, async () => peer.scope[Symbol.asyncDispose]());
      }
    },
    reached: () => new Set([...peers].filter(([, { connected }]) => connected.size > 0).map(([id]) => id)),
  };
}

/** Appends keep their order among themselves, also those without entries: one that overtakes others would be refused. */
function laneOf(message: Message): Lane {
  return message.kind === 'append' ? 'append' : 'control';
}

interface Target {
  readonly id: PeerId;
  readonly turn: number;
}

async function connect(options: PeerTransportOptions, { id, turn }: Target, signal: AbortSignal) {
  const found = options.findPeer(id);
  const address = found?.addresses[turn % found.addresses.length];
  if (found === undefined || address === undefined) {
    throw new CoveyError('no-connection', `Cannot reach member ${id} of the managers`, {
      state: 'no address of it is known',
    });
  }
  const { clusterId, root, certificate, key } = options.identity.current();
  return await connectToManager({
    address,
    nodeId: found.nodeId,
    clusterId,
    root,
    client: { certificate, key },
    wire: options.wire,
    clock: options.clock,
    timeoutMs: connectMs,
    signal,
  });
}

async function openStream(
  options: PeerTransportOptions & { readonly onReached: () => void },
  { id, peer, lane }: { readonly id: PeerId; readonly peer: Peer; readonly lane: Lane },
  signal: AbortSignal,
): Promise<LinkStream> {
  let client: ManagerClient;
  try {
    client = await connect(options, { id, turn: peer.turn }, signal);
  } catch (error) {
    peer.turn += 1;
    throw error;
  }
  const ending = new AbortController();
  const call = client.calls('Raft').link({ signal: ending.signal });
  let hello: RaftHello | undefined = {
    protocolMin: options.protocols.min,
    protocolMax: options.protocols.max,
    from: options.own,
    to: id,
    generation: options.history().generation,
    caller: ownAddress(options),
  };
  const stream: LinkStream = {
    send: async frame => {
      const first = hello;
      hello = undefined;
      await call.send({ ...frame, hello: first });
    },
    receipts: {
      [Symbol.asyncIterator]: async function* receipts() {
        for await (const receipt of call) {
          peer.connected.add(stream);
          believe(options, receipt);
          if (peer.told !== '') {
            options.log.info('member reached again', { member: id, lane });
            options.onReached();
          }
          peer.told = '';
          yield receipt;
        }
      },
    },
    [Symbol.asyncDispose]: async () => {
      peer.connected.delete(stream);
      ending.abort(new CoveyError('cancelled', 'Cannot go on: the link was given up'));
      await client[Symbol.asyncDispose]();
    },
  };
  return stream;
}

function ownAddress({ own, whereabouts, identity }: PeerTransportOptions): RaftHello['caller'] {
  const addresses = whereabouts?.own() ?? [];
  if (addresses.length === 0) return undefined;
  return { nodeId: identity.current().nodeId, addresses, leader: false, raftId: own };
}

function believe({ whereabouts }: PeerTransportOptions, { neighbours }: RaftReceipt): void {
  for (const { nodeId, addresses } of neighbours?.managers ?? []) whereabouts?.believed(nodeId, addresses);
}

/** One line for each new reason, not one for each attempt. */
function tell(
  { log }: PeerTransportOptions,
  { id, peer }: { readonly id: PeerId; readonly peer: Peer },
  error: unknown,
): void {
  const { code, state } = asCoveyError(error);
  const text = `${code} ${state ?? ''}`;
  if (peer.told === text) return;
  peer.told = text;
  log.warn('member not reached', { member: id, error });
}
